"""Four processes that write overlapping keys at once, with a reader and a compactor: no row lost or doubled."""

from __future__ import annotations

import os
import random
import traceback

from faults.counting import ROUNDS, counts
from faults.material import POOLED, batch, check_rows, check_store, ensure, key, present

from cache.row_store import RowStore
from cache.upkeep.compaction import compact

WRITERS, ROWS = 4, 300


def write(root, seed: int) -> None:
    """As the embedding stages do: ask what is missing, compute that, commit."""
    dice = random.Random(seed)
    numbers = dice.sample(range(ROWS), 240)
    store = ensure(root)
    absent = set(store.missing([key(number) for number in numbers]))
    todo = [number for number in numbers if key(number) in absent]
    while todo:
        n = dice.randrange(1, 9)
        store.append_rows(batch(todo[:n], POOLED))
        todo = todo[n:]


def forked(work) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def test_writers_readers_and_a_compactor_at_once(tmp_path):
    for attempt in range(2 * ROUNDS):
        root = tmp_path / str(attempt)
        ensure(root)
        seeds = range(100 * attempt, 100 * attempt + WRITERS)
        running = {forked(lambda seed=seed, root=root: write(root, seed)) for seed in seeds}

        def tidy(root=root):
            for _ in range(6):
                compact(ensure(root))

        running.add(forked(tidy))
        seen: set[int] = set()
        while running:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child:
                assert os.waitstatus_to_exitcode(status) == 0
                running.discard(child)
            store = RowStore.open(next(root.glob("captions-*")))
            there = present(store, range(ROWS))
            assert seen <= set(there), "a committed row went missing"
            seen = set(there)
            check_rows(store, there)
        wanted = {n for seed in seeds for n in random.Random(seed).sample(range(ROWS), 240)}
        assert set(check_store(ensure(root), wanted, range(ROWS))) == wanted
        counts["processes writing the same keys at once"] += WRITERS
        compact(ensure(root))
        assert len(ensure(root)) == len(wanted)
        counts["rows doubled"] += sum(len(group) for group in ensure(root).groups.values()) - len(wanted)
        assert sum(len(group) for group in ensure(root).groups.values()) == len(wanted)
