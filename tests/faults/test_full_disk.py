"""A disk that fills up, and a limit on file sizes: one sentence, nothing half written, everything else as before."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.counting import ROUNDS, counts
from faults.killing import in_child
from faults.material import FINGERPRINT, POOLED, batch, check_rows, check_store, ensure, everything, fill, key

from cache.artifact import convert, open_artifact, write_artifact
from cache.errors import UserError
from cache.row_store import RowStore
from cache.upkeep.compaction import compact
from cache.upkeep.exchange import export

REFUSED, DONE = 1, 2


def attempt(work: Callable[[], object], limit: int | None = None) -> bool:
    """Runs work in a child, under a limit on file sizes if there is one; whether it was refused with a sentence."""

    def limited(say: Callable[[int], None]) -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            work()
        except UserError as error:
            assert "was not written" in str(error) and "\n" not in str(error)
            say(REFUSED)
        else:
            say(DONE)

    refused = in_child(limited).said == [REFUSED]
    counts["writes refused by a full disk or a limit"] += refused
    return refused


def actions(root: Path, store: RowStore) -> dict[str, Callable[[], object]]:
    description = {"modality": "captions", "fingerprint": FINGERPRINT}
    arguments = ([str(i) for i in range(60)], [key(i) for i in range(60)], store, description)
    return {
        "append": lambda: ensure(root).append_rows(batch(range(60, 120), POOLED)),
        "compact": lambda: compact(ensure(root)),
        "zarr": lambda: write_artifact(root / "out/a.zarr", *arguments),
        "hdf5": lambda: write_artifact(root / "out/a.h5", *arguments),
        "convert": lambda: convert(open_artifact(root / "made.zarr"), root / "out/b.h5"),
        "npz": lambda: export(store, root / "out/rows.npz"),
        "safetensors": lambda: export(store, root / "out/rows.safetensors"),
    }


def prepared(root: Path) -> RowStore:
    store = fill(root, POOLED, range(30), range(30, 60))
    description = {"modality": "captions", "fingerprint": FINGERPRINT}
    write_artifact(root / "made.zarr", [str(i) for i in range(60)], [key(i) for i in range(60)], store, description)
    return store


@pytest.mark.parametrize("action", ["append", "compact", "zarr", "hdf5", "convert", "npz", "safetensors"])
def test_a_limit_on_file_sizes(tmp_path, action):
    dice = random.Random(13)
    store = prepared(tmp_path)
    work = actions(tmp_path, store)[action]
    before = everything(tmp_path)
    for _ in range(8 * ROUNDS):
        assert attempt(work, dice.randrange(0, 90_000)), "the limit was not met"
        assert everything(tmp_path) == before
    assert check_store(ensure(tmp_path), range(60), range(120)) == list(range(60))
    assert not attempt(work)
    check_rows(ensure(tmp_path), range(60))


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("action", ["append", "compact", "zarr", "hdf5", "convert", "npz", "safetensors"])
def test_a_full_disk(small_disk, action):
    dice = random.Random(14)
    store = prepared(small_disk)
    work = actions(small_disk, store)[action]
    free = shutil.disk_usage(small_disk).free
    for _ in range(4 * ROUNDS):
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * (free - dice.randrange(0, 60_000)))
        before = everything(small_disk)
        assert attempt(work), "there was room"
        assert everything(small_disk) == before
        ballast.unlink()
    assert not attempt(work)
    check_rows(ensure(small_disk), range(60))
