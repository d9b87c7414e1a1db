"""Artifacts, conversions and exports killed at random moments: a whole file or none, then the same bytes as ever."""

import random
import shutil

import pytest
from faults.counting import ROUNDS, counts
from faults.killing import in_child, kill_at_random
from faults.material import FINGERPRINT, POOLED, RAGGED, everything, fill, key

from cache.artifact import convert, open_artifact, write_artifact
from cache.upkeep.exchange import export

KILLS = 30 * ROUNDS
DESCRIPTION = {"modality": "captions", "encoder": "small", "fingerprint": FINGERPRINT}


def write(path, store, n):
    write_artifact(path, [f"row {i}" for i in range(n)], [key(i) for i in range(n)], store, DESCRIPTION)


def check_leftovers(path):
    """The next writer has cleaned what the killed one left."""
    assert [one.name for one in path.parent.iterdir() if one.name.endswith(".part")] == []


@pytest.mark.parametrize("row_format", [POOLED, RAGGED], ids=["pooled", "ragged"])
@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_writing(tmp_path, suffix, row_format):
    dice = random.Random(7)
    store = fill(tmp_path / "rows", row_format, range(30), range(30, 70))
    whole = {}
    for n in (50, 70):
        write(tmp_path / f"expected{n}{suffix}", store, n)
        whole[n] = everything(tmp_path / f"expected{n}{suffix}")
    path = tmp_path / f"out/captions{suffix}"
    write(path, store, 50)
    seconds = in_child(lambda say: write(path, store, 70)).seconds
    for attempt in range(KILLS):
        n = (50, 70)[attempt % 2]
        kill_at_random(lambda say, n=n: write(path, store, n), 1.2 * seconds, dice)
        assert not path.exists() or everything(path) in whole.values()
        counts["artifacts found whole or absent after a kill"] += 1
        if attempt % 5 == 4:
            write(path, store, n)
            assert everything(path) == whole[n]
            check_leftovers(path)


@pytest.mark.parametrize(("source", "target"), [(".zarr", ".h5"), (".h5", ".zarr")])
def test_converting(tmp_path, source, target):
    dice = random.Random(8)
    store = fill(tmp_path / "rows", RAGGED, range(60))
    write(tmp_path / f"a{source}", store, 60)
    write(tmp_path / f"expected{target}", store, 60)
    original, expected = everything(tmp_path / f"a{source}"), everything(tmp_path / f"expected{target}")
    path = tmp_path / f"out/b{target}"
    work = lambda say: convert(open_artifact(tmp_path / f"a{source}"), path)  # noqa: E731
    seconds = in_child(work).seconds
    for _ in range(KILLS):
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        kill_at_random(work, 1.2 * seconds, dice)
        assert not path.exists() or everything(path) == expected
        assert everything(tmp_path / f"a{source}") == original
        counts["artifacts found whole or absent after a kill"] += 1
    work(None)
    assert everything(path) == expected
    check_leftovers(path)


@pytest.mark.parametrize("name", ["rows.npz", "rows.safetensors"])
def test_exporting(tmp_path, name):
    dice = random.Random(9)
    store = fill(tmp_path / "rows", POOLED, range(60))
    path = tmp_path / "out" / name
    export(store, path)
    expected = path.read_bytes()
    seconds = in_child(lambda say: export(store, path)).seconds
    for _ in range(KILLS // 3):
        path.unlink(missing_ok=True)
        kill_at_random(lambda say: export(store, path), 1.2 * seconds, dice)
        assert not path.exists() or path.read_bytes() == expected
        counts["artifacts found whole or absent after a kill"] += 1
