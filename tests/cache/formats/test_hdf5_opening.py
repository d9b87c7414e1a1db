"""HDF5 files that another program has open, or was killed with, are not called damaged, and stay as they are."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from cache_samples import FINGERPRINT, FORMATS, batch, digests, keys, open_store

from cache.artifact import open_artifact, write_artifact
from cache.errors import DamageError, Unreadable, UserError

WRITER = """
import sys, time, h5py
file = h5py.File(sys.argv[1], "r+", locking=sys.argv[2] == "lock")
print("open", flush=True)
time.sleep(600)
"""


@pytest.fixture
def artifact(tmp_path) -> Path:
    store = open_store(tmp_path / "rows")
    store.append(*batch(FORMATS[0], *range(30)))
    path = tmp_path / "clips.h5"
    description = {"modality": "clips", "encoder": "tiny", "fingerprint": FINGERPRINT}
    write_artifact(path, [f"{i}" for i in range(30)], keys(*range(30)), store, description)
    return path


def writer(path: Path, locking: str) -> subprocess.Popen[str]:
    one = subprocess.Popen([sys.executable, "-c", WRITER, str(path), locking], stdout=subprocess.PIPE, text=True)
    assert one.stdout is not None and one.stdout.readline() == "open\n"
    return one


@pytest.mark.parametrize("locking", ["lock", "no lock"])
def test_every_command_says_that_it_is_open_and_leaves_it(project, hearonce, artifact, locking):
    before = len(list(artifact.parent.iterdir()))
    one = writer(artifact, locking)
    try:
        for arguments in (["info"], ["verify"], ["repair"], ["import"], ["convert", "b.zarr"], ["export", "b.npz"]):
            code, _, said = hearonce("cache", arguments[0], artifact, *arguments[1:])
            assert code == 2, arguments
            assert f"{artifact} cannot be read: another program has it open for writing" in said
            assert said.count("\n") == 1 and "damaged" not in said
    finally:
        one.kill()
        one.wait()
    assert artifact.is_file() and len(list(artifact.parent.iterdir())) == before


def test_the_others_are_verified_all_the_same(project, hearonce, artifact):
    damaged = artifact.with_name("damaged.h5")
    data = bytearray(artifact.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    one = writer(artifact, "lock")
    try:
        code, said, _ = hearonce("cache", "verify", artifact, damaged)
    finally:
        one.kill()
        one.wait()
    assert code == 3 and "damaged.h5" in said and "another program has it open for writing" in said


def test_the_mark_of_a_killed_writer_is_named_with_its_remedy(artifact):
    good = digests(artifact)
    one = writer(artifact, "lock")
    os.kill(one.pid, signal.SIGKILL)
    one.wait()
    with pytest.raises(Unreadable, match=r"or was ended before it closed it.*`h5clear -s .*clips.h5`"):
        open_artifact(artifact)
    data = bytearray(artifact.read_bytes())
    with h5py.File(artifact.with_name("other.h5"), "w", libver=("v110", "v110"), userblock_size=512):
        pass
    flags = 512 + 11  # of the superblock, as `h5clear -s` clears them; then its checksum fits again
    assert data[flags] != 0
    data[flags] = 0
    data[512 + 44 : 512 + 48] = _lookup3(bytes(data[512 : 512 + 44])).to_bytes(4, "little")
    artifact.write_bytes(data)
    assert open_artifact(artifact).verify() == [] and digests(artifact) == good


def _lookup3(data: bytes) -> int:
    """Bob Jenkins' hash, which guards HDF5's metadata."""
    mask = 0xFFFFFFFF
    rot = lambda x, k: ((x << k) | (x >> (32 - k))) & mask  # noqa: E731
    a = b = c = (0xDEADBEEF + len(data)) & mask
    while len(data) > 12:
        a, b, c = (x + int.from_bytes(data[i : i + 4], "little") & mask for x, i in ((a, 0), (b, 4), (c, 8)))
        for k in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & mask) ^ rot(c, k)
            c = (c + b) & mask
            a, b, c = b, c, a
        data = data[12:]
    data += bytes(12 - len(data))
    a, b, c = (x + int.from_bytes(data[i : i + 4], "little") & mask for x, i in ((a, 0), (b, 4), (c, 8)))
    for k in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - rot(b, k)) & mask
        a, b, c = b, c, a
    return b


@pytest.mark.parametrize("number", [11, 37, 38, 95])
def test_where_files_cannot_be_locked_they_are_read_without(artifact, monkeypatch, number):
    real = h5py.File
    text = f"Unable to synchronously open file (unable to lock file, errno = {number}, error message = 'x')"

    def refusing(source, mode, **options):
        if options.get("locking") is not False:
            raise OSError(text)
        return real(source, mode, **options)

    monkeypatch.setattr("cache.formats.hdf5_checks.h5py.File", refusing)
    if number == 11:
        with pytest.raises(Unreadable, match="open for writing"):
            open_artifact(artifact)
    else:
        assert len(open_artifact(artifact)) == 30


def test_permission_denied_is_not_damage(artifact, tmp_path):
    store = next((tmp_path / "rows").iterdir())
    segment = next((store / "segments").iterdir())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = _as_somebody_else(artifact, store, segment)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def _as_somebody_else(artifact: Path, store: Path, segment: Path) -> int:
    from cache.row_store import RowStore
    from cache.upkeep.repair import repair, verify

    if os.geteuid() == 0:  # whom no permission stops
        for one in (artifact, *store.rglob("*"), store, store.parent):
            os.chown(one, 4321, 4321)
        for one in artifact.parents:
            if stat.S_IMODE(one.stat().st_mode) & 0o055 != 0o055 and one != Path("/"):
                one.chmod(one.stat().st_mode | 0o055)
        os.setgroups([])
        os.setgid(4321)
        os.setuid(4321)
    artifact.chmod(0)
    try:
        open_artifact(artifact)
        return 2
    except UserError as error:
        if isinstance(error, DamageError) or "permission is denied" not in str(error):
            return 3
    for name in ("values/c.0.0", "zarr.json"):
        (segment / name).chmod(0)
        skipped: list[str] = []
        if verify(store, skipped=skipped) or repair(store, skipped=skipped) or len(skipped) != 2:
            return 4
        if not segment.is_dir():
            return 5
    opened = RowStore.open(store)
    if (
        opened.missing(keys(1, 2)) != keys(1, 2)
        or "permission is denied" not in opened.catalog.unreadable[segment.name]
    ):
        return 6
    return 0
