"""A store that people with different umasks share: two real users who are in one group."""

import os
import stat
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cache_samples import FORMATS, assert_rows, batch, keys, open_store

from cache.answers import Answer, AnswerStore
from cache.artifact import write_artifact
from cache.digests import DigestMemory
from cache.durable import make_folder, new_file
from cache.errors import UserError
from cache.row_store import RowStore
from cache.upkeep.compaction import compact, gc
from cache.upkeep.repair import verify

ROW, RAGGED = FORMATS[0], FORMATS[3]
GROUP, ANNA, BERT = 4400, 4401, 4402
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")


def acting(uid: int, umask: int, work: Callable[[], object]) -> None:
    """Runs something as a user of the group, in a child."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([GROUP])
            os.setgid(uid)
            os.setuid(uid)
            os.umask(umask)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "see the traceback above"


@pytest.fixture
def shared(tmp_path) -> Path:
    """A folder of the group, as the two commands of docs/cache.md make it."""
    for one in tmp_path.parents:
        if one != Path("/") and not one.stat().st_mode & 0o001:
            one.chmod(one.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    folder = tmp_path / "team"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2770)
    return folder


def append(root: Path, *numbers: int, row_format=ROW) -> None:
    open_store(root, row_format).append(*batch(row_format, *numbers))


@as_root
@pytest.mark.parametrize("umask", [0o077, 0o022])
@pytest.mark.parametrize("row_format", [ROW, RAGGED], ids=str)
def test_no_umask_shuts_anybody_out_of_a_shared_store(shared, umask, row_format):
    rows = shared / "rows"
    acting(ANNA, umask, lambda: append(rows, 1, 2, 3, row_format=row_format))
    acting(BERT, umask, lambda: append(rows, 3, 4, row_format=row_format))

    def everything() -> None:
        store = open_store(rows, row_format)
        assert_rows(store, 1, 2, 3, 4)
        assert verify(store.path) == []
        assert compact(store).segments_after == 1
        gc(store, keys(1, 2, 4))
        assert_rows(store, 4, 2, 1)
        answers = AnswerStore(shared / "answers", {"prompt": 1})
        answers.add([Answer(answers.key("a"), "a", "b", "stop", "m", 1, 1)])
        DigestMemory(shared / "digests.sqlite").remember("x", 1, "v", "d" * 32)
        made = [f"{i}" for i in range(3)]
        for suffix in (".zarr", ".h5"):
            write_artifact(shared / f"a{suffix}", made, keys(1, 2, 4), store, {"modality": "clips"})
        with new_file(shared / "audio/ab/x.flac") as temporary:
            temporary.write_bytes(b"x")

    acting(BERT, umask, everything)
    acting(ANNA, umask, lambda: (append(rows, 5, row_format=row_format), everything_of(rows, row_format)))
    for path in (shared, *shared.rglob("*")):
        mode, found = stat.S_IMODE(path.stat().st_mode), path.stat()
        assert found.st_gid == GROUP, path
        assert mode & 0o060 == 0o060, f"{path} {mode:o}"
        if path.is_dir():
            assert mode & 0o2070 == 0o2070, f"{path} {mode:o}"
        if umask == 0o077:
            assert not mode & 0o007, f"{path} {mode:o}"


def everything_of(rows: Path, row_format) -> None:
    store = open_store(rows, row_format)
    assert_rows(store, 1, 2, 4, 5)
    AnswerStore.at(next((rows.parent / "answers").iterdir())).read()
    memory = DigestMemory(rows.parent / "digests.sqlite")
    assert memory.recall("x", 1, "v") == "d" * 32
    memory.remember("y", 1, "v", "e" * 32)
    assert DigestMemory(rows.parent / "digests.sqlite").recall("y", 1, "v") == "e" * 32
    compact(store)


@as_root
def test_rows_that_somebody_does_not_share_are_named_and_computed_again(shared):
    shared.chmod(0o0770)  # no setgid bit: umasks count, as ever
    (shared / "rows").mkdir()
    os.chown(shared / "rows", 0, GROUP)
    (shared / "rows").chmod(0o777)
    acting(ANNA, 0o002, lambda: append(shared / "rows", 1))
    store = next((shared / "rows").iterdir())
    for one in (store, *store.rglob("*")):
        os.chown(one, -1, GROUP)
    acting(ANNA, 0o077, lambda: append(shared / "rows", 2, 3))
    (hidden,) = (one.name for one in (store / "segments").iterdir() if not one.stat().st_mode & 0o070)

    def others_view() -> None:
        opened = open_store(shared / "rows")
        assert opened.missing(keys(1, 2, 3)) == keys(2, 3)
        (sentence,) = opened.catalog.unreadable.values()
        assert hidden in sentence and "permission is denied" in sentence and "chmod -R g+rX" in sentence
        opened.append(*batch(ROW, 2, 3))
        assert_rows(opened, 1, 2, 3)
        compact(opened)
        gc(opened, keys(1, 2))
        skipped: list[str] = []
        assert verify(opened.path, skipped=skipped) == [] and len(skipped) == 1

    acting(BERT, 0o002, others_view)
    assert (store / "segments" / hidden).is_dir()
    acting(ANNA, 0o002, lambda: assert_rows(open_store(shared / "rows"), 1, 2, 3))


@as_root
def test_segments_that_may_not_be_removed_are_not_doubled(shared):
    shared.chmod(0o0777)
    acting(ANNA, 0o022, lambda: (append(shared / "rows", 1, 2), append(shared / "rows", 2, 3)))
    for one in (shared / "rows", *shared.glob("rows/*"), *shared.glob("rows/*/*")):
        one.chmod(0o777)
    store = next((shared / "rows").iterdir())
    before = sorted(one.name for one in (store / "segments").iterdir())

    def refused() -> None:
        with pytest.raises(UserError, match=r"somebody else's, so it was not rewritten.*chmod -R g\+rwX"):
            compact(RowStore.open(store))

    acting(BERT, 0o022, refused)
    assert sorted(one.name for one in (store / "segments").iterdir()) == before


@as_root
def test_a_store_that_is_closed_to_somebody_is_one_sentence(shared, project, hearonce):
    acting(ANNA, 0o077, lambda: append(shared / "rows", 1))
    store = next((shared / "rows").iterdir())
    store.chmod(0o700)

    def refused() -> None:
        with pytest.raises(UserError, match=r"cannot be read: permission is denied"):
            open_store(shared / "rows")
        with pytest.raises(UserError, match=r"cannot be read: permission is denied"):
            RowStore.open(store)

    acting(BERT, 0o022, refused)


def test_other_folders_keep_the_umasks_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        make_folder(tmp_path / "a/b")
        with new_file(tmp_path / "a/b/c") as temporary:
            temporary.write_bytes(b"x")
        append(tmp_path / "rows", 1)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(one.stat().st_mode) & 0o077 for one in tmp_path.rglob("*")}
    assert modes == {0o050, 0o040}
    np.testing.assert_array_equal(open_store(tmp_path / "rows").read(keys(1)), batch(ROW, 1)[1])
