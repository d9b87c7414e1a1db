"""Writers of a row store killed at random moments: what was committed stays, what was not is wanted again."""

import random
import shutil

import pytest
from faults.counting import ROUNDS, counts
from faults.killing import in_child, kill_at_random
from faults.material import POOLED, RAGGED, batch, check_store, ensure, fill, key

from cache.row_store import RowStore
from cache.upkeep.compaction import compact, gc
from cache.upkeep.exchange import merge
from cache.upkeep.repair import repair, verify

KILLS = 40 * ROUNDS


@pytest.mark.parametrize("row_format", [POOLED, RAGGED], ids=["pooled", "ragged"])
def test_committing_batches(tmp_path, row_format):
    dice = random.Random(1)
    committed: set[int] = set()

    def commit_five(say):
        store = ensure(tmp_path / "unkilled", row_format)
        for start in range(0, 15, 3):
            store.append_rows(batch(range(start, start + 3), row_format))

    within = 3 * in_child(commit_five).seconds  # a busy machine commits slowly
    for attempt in range(KILLS):
        first = attempt * 1000

        def work(say, first=first):
            store = ensure(tmp_path, row_format)
            for start in range(first, first + 1000, 3):
                again = [number for number in (first - 1000, first - 999) if number >= 0 and start == first]
                store.append_rows(batch([*range(start, start + 3), *again], row_format))
                say(start)

        ended = kill_at_random(work, within, dice, told=attempt % 3)
        committed |= {number for start in ended.said for number in range(start, start + 3)}
        counts["commits acknowledged before a kill"] += len(ended.said)
        if attempt % 5 == 4 or attempt == KILLS - 1:
            there = check_store(ensure(tmp_path, row_format), committed, range(first + 1000))
            committed |= set(there)
    assert len(committed) > KILLS
    assert not list((tmp_path / f"captions-{'ab' * 16}/scratch").glob("*"))


def test_compacting(tmp_path):
    dice = random.Random(2)
    numbers: set[int] = set(range(40))
    store = fill(tmp_path, POOLED, range(0, 20), range(15, 40))
    for attempt in range(KILLS):
        first = 100 + attempt * 8
        for start in range(first, first + 8, 2):
            store.append_rows(batch([start, start + 1, start - 1 if start > first else 3], POOLED))
        numbers |= set(range(first, first + 8))
        limit = dice.choice([20_000, 100_000, 1 << 30])
        kill_at_random(lambda say, limit=limit: compact(ensure(tmp_path), segment_bytes=limit) and None, 0.05, dice)
        assert set(check_store(ensure(tmp_path), numbers, range(first + 8))) == numbers
    compact(store)
    assert len(ensure(tmp_path).segments.names()) == 1
    assert set(check_store(ensure(tmp_path), numbers, numbers)) == numbers


def test_dropping_unwanted_rows(tmp_path):
    dice = random.Random(3)
    pristine = fill(tmp_path / "pristine", POOLED, range(0, 20), range(20, 40), range(40, 60))
    kept = range(0, 60, 2)
    for attempt in range(KILLS // 2):
        root = tmp_path / str(attempt)
        shutil.copytree(tmp_path / "pristine", root)
        keep = [key(number) for number in kept]
        kill_at_random(lambda say, root=root, keep=keep: gc(ensure(root), keep) and None, 0.04, dice)
        check_store(ensure(root), kept, range(60))
        gc(ensure(root), keep)
        assert check_store(ensure(root), kept, range(60)) == list(kept)
        shutil.rmtree(root)
    assert len(pristine) == 60


def test_repairing(tmp_path):
    dice = random.Random(4)
    store = fill(tmp_path / "pristine", POOLED, range(0, 40), range(40, 80))
    for name in store.segments.names():
        path = tmp_path / "pristine" / f"captions-{'ab' * 16}/segments/{name}/values/c.0.0"
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
    damaged = {*range(0, 16), *range(40, 56)}
    healthy = set(range(80)) - damaged
    for attempt in range(KILLS // 2):
        root = tmp_path / str(attempt)
        shutil.copytree(tmp_path / "pristine", root)
        path = root / f"captions-{'ab' * 16}"
        kill_at_random(lambda say, path=path: repair(path) and None, 0.04, dice)
        repair(path)
        assert verify(path) == []
        assert set(check_store(ensure(root), healthy, range(80))) == healthy
        shutil.rmtree(root)


def test_merging(tmp_path):
    dice = random.Random(5)
    source = fill(tmp_path / "source", RAGGED, *(range(start, start + 10) for start in range(0, 80, 10)))
    before = len(source.segments.names())
    for attempt in range(KILLS):
        root = tmp_path / f"target{attempt // 4}"
        if attempt % 4 == 0:
            fill(root, RAGGED, range(70, 90))

        def work(say, root=root):
            merge(RowStore.open(source.path), ensure(root, RAGGED))

        kill_at_random(work, 0.06, dice)
        check_store(ensure(root, RAGGED), range(70, 90), range(90))
        if attempt % 4 == 3:
            in_child(work)
            assert check_store(ensure(root, RAGGED), range(90), range(90)) == list(range(90))
            shutil.rmtree(root)
    source.refresh()
    assert len(source.segments.names()) == before


def test_making_a_store(tmp_path):
    dice = random.Random(6)
    for attempt in range(KILLS // 4):
        root = tmp_path / str(attempt)
        kill_at_random(lambda say, root=root: fill(root, POOLED, range(3)) and None, 0.02, dice)
        store = fill(root, POOLED, range(3, 6))
        check_store(store, range(3, 6), range(6))
