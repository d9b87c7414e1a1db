import threading
from functools import partial

import numpy as np
import pytest
import torch

from cache.keys import caption_key
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.media.containers import MediaError
from pipeline.monitor.problems import Problems, StrictStop
from pipeline.monitor.summary import Summary
from pipeline.runner.local import LocalRunner
from pipeline.runner.prefetch import AHEAD_BATCHES, BatchQueue
from pipeline.runner.rows import Row
from pipeline.runner.run import compute_missing


class CountingTower:
    """Embeds a number as itself; remembers what it was asked for."""

    def __init__(self):
        self.encoded: list[int] = []
        self.batches: list[int] = []

    def prepare(self, item, key):
        if item == 13:
            raise ValueError("thirteen")
        return item

    def encode(self, batch):
        self.encoded += batch
        self.batches.append(len(batch))
        return np.array([[np.nan if item == 17 else item, 1.0] for item in batch], np.float32)


def make_rows(numbers, per_group=5):
    return [Row(f"clip{n}", caption_key(str(n)), f"media{n // per_group}", f"m{n // per_group}.mp4") for n in numbers]


def run(tmp_path, rows, read=None, strict=False, tower=None, **options):
    store = RowStore.ensure(tmp_path, "clips", "ab" * 16, RowFormat(2))
    tower, problems, summary = tower or CountingTower(), Problems("embed", strict), Summary("test")

    def read_numbers(group):
        return ((row, int(row.id.removeprefix("clip"))) for row in group)

    maker = LocalRunner(read or read_numbers, lambda: (tower, {}), **options)
    compute_missing(rows, store, maker, problems=problems, summary=summary)
    return store, tower, problems, summary


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 3), (64, 2)])
def test_all_rows_are_embedded_whatever_the_batch(tmp_path, batch_size, workers):
    rows = make_rows(range(0, 12))
    store, tower, _, summary = run(tmp_path, rows, batch_size=batch_size, workers=workers)
    np.testing.assert_array_equal(store.read([row.key for row in rows])[:, 0], np.arange(12))
    assert sorted(tower.encoded) == list(range(12))
    assert max(tower.batches) <= batch_size
    assert (summary.wanted, summary.found, summary.computed, summary.failed) == (12, 0, 12, 0)


def test_the_log_keeps_rows_and_seconds_of_each_commit(tmp_path, monkeypatch):
    commits = []
    record = lambda name, level=0, **facts: commits.append(facts) if name == "commit" else None  # noqa: E731
    monkeypatch.setattr("pipeline.runner.run.event", record)
    run(tmp_path, make_rows(range(12)), batch_size=4)
    assert [commit["committed"] for commit in commits] == [12] and commits[0]["rows"] == 12
    assert {"load", "decode", "encode", "write"} <= set(commits[0]["seconds"])
    run(tmp_path, make_rows(range(20)), batch_size=4)
    assert commits[1]["rows"] == 6 and all(seconds >= 0 for seconds in commits[1]["seconds"].values())


def test_only_what_is_missing_is_computed(tmp_path):
    run(tmp_path, make_rows(range(10)))
    _, tower, _, summary = run(tmp_path, make_rows(range(5, 12)))
    assert sorted(tower.encoded) == [10, 11]
    assert (summary.wanted, summary.found, summary.computed) == (7, 5, 2)


def test_a_hundred_new_among_ten_thousand(tmp_path):
    rows = make_rows(range(1000, 11_100), per_group=50)
    run(tmp_path, rows[:10_000], batch_size=256)
    _, tower, _, summary = run(tmp_path, rows, batch_size=256)
    assert sorted(tower.encoded) == list(range(11_000, 11_100))
    assert (summary.wanted, summary.found, summary.computed) == (10_100, 10_000, 100)


def test_many_small_segments_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.runner.run.MANY_SEGMENTS", 3)
    counts = []
    for start in range(100, 160, 10):
        store, *_ = run(tmp_path, make_rows(range(start, start + 10)))
        counts.append(len(store.segments.names()))
    assert counts == [1, 2, 3, 1, 2, 3]
    rows = make_rows(range(100, 160))
    np.testing.assert_array_equal(store.read([row.key for row in rows])[:, 0], np.arange(100, 160))


def test_nothing_missing_loads_no_model(tmp_path):
    run(tmp_path, make_rows(range(3)))
    store = RowStore.ensure(tmp_path, "clips", "ab" * 16, RowFormat(2))
    maker = LocalRunner(pytest.fail, pytest.fail)
    compute_missing(make_rows(range(3)), store, maker, problems=Problems("x"), summary=Summary("test"))


def test_rows_that_share_a_key_are_computed_once(tmp_path):
    rows = make_rows([1, 1, 2])
    _, tower, _, summary = run(tmp_path, rows)
    assert sorted(tower.encoded) == [1, 2]
    assert (summary.wanted, summary.computed) == (3, 2)


def test_one_bad_row_and_one_bad_file_stop_nothing(tmp_path):
    def read(group):
        for row in group:
            number = int(row.id.removeprefix("clip"))
            if number == 8:
                raise OSError("disk trouble")
            yield row, MediaError("no frame in this clip") if number == 2 else number

    store, _, problems, summary = run(tmp_path, make_rows(range(20)), read, workers=2)
    reasons = {problem.id: problem.reason for problem in problems.found}
    assert reasons == {
        "clip2": "no frame in this clip",
        "clip8": "OSError: disk trouble",
        "clip9": "OSError: disk trouble",
        "clip13": "ValueError: thirteen",
        "clip17": "the encoder gave a value that is not finite",
    }
    assert (summary.computed, summary.failed) == (15, 5)
    assert len(store.missing([row.key for row in make_rows(range(20))])) == 5


def test_a_strict_run_stops_but_keeps_what_it_computed(tmp_path):
    with pytest.raises(StrictStop, match=r"m2\.mp4: ValueError: thirteen"):
        run(tmp_path, make_rows(range(20)), strict=True)
    store = RowStore.ensure(tmp_path, "clips", "ab" * 16, RowFormat(2))
    assert len(store) == 18


def test_an_interrupted_run_keeps_what_it_computed_and_ends_its_threads(tmp_path):
    class Interrupted(CountingTower):
        def encode(self, batch):
            if len(self.encoded) >= 8:
                raise KeyboardInterrupt
            return super().encode(batch)

    store = RowStore.ensure(tmp_path, "clips", "ab" * 16, RowFormat(2))
    rows = make_rows(range(200, 600))
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        compute_missing(
            rows,
            store,
            LocalRunner(lambda group: ((row, 1) for row in group), lambda: (Interrupted(), {}), batch_size=4),
            problems=Problems("x"),
            summary=Summary("test"),
        )
    assert len(RowStore.ensure(tmp_path, "clips", "ab" * 16, RowFormat(2))) == 8
    assert threading.active_count() == before


def test_reading_stays_a_bounded_number_of_items_ahead(tmp_path):
    ahead, most = 0, 0
    lock = threading.Lock()

    class Slow(CountingTower):
        def encode(self, batch):
            nonlocal ahead
            with lock:
                ahead -= len(batch)
            return np.zeros((len(batch), 2), np.float32)

    def read(group):
        nonlocal ahead, most
        for row in group:
            with lock:
                ahead += 1
                most = max(most, ahead)
            yield row, 1

    store = RowStore.ensure(tmp_path, "clips", "ab" * 16, RowFormat(2))
    compute_missing(
        make_rows(range(1000, 2000), per_group=1000),
        store,
        LocalRunner(read, lambda: (Slow(), {}), batch_size=4, workers=2),
        problems=Problems("x"),
        summary=Summary("test"),
    )
    assert most <= AHEAD_BATCHES * 4 + 4 + 2 + 1


class SmallDevice(CountingTower):
    """A device with room for so many rows at a time; large ones do not fit at all."""

    def __init__(self, room: int):
        super().__init__()
        self.room = room

    def encode(self, batch):
        if len(batch) > self.room or 999 in batch:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return super().encode(batch)


@pytest.mark.parametrize(("room", "remark"), [(3, "16 rows at a time, went on with 2"), (1, "went on with 1")])
def test_a_batch_that_does_not_fit_the_device_is_halved_and_so_are_the_later_ones(tmp_path, room, remark):
    rows, tower = make_rows(range(100, 160)), SmallDevice(room)
    store, _, problems, summary = run(tmp_path, rows, tower=tower, batch_size=16)
    np.testing.assert_array_equal(store.read([row.key for row in rows])[:, 0], np.arange(100, 160))
    assert max(tower.batches) <= room and len(tower.batches) <= 60 // max(room - 1, 1)
    assert remark in summary.note and summary.note.count("out of memory") == 1
    assert not problems.found


def test_a_row_that_does_not_fit_the_device_by_itself_is_a_problem_and_slows_no_other(tmp_path):
    rows = make_rows([*range(900, 930), 999, *range(930, 960)])
    _, tower, problems, summary = run(tmp_path, rows, tower=SmallDevice(64), batch_size=16, workers=1)
    assert [(one.id, one.reason) for one in problems.found] == [
        ("clip999", "needs more memory than the device has, even by itself")
    ]
    assert summary.computed == 60
    assert tower.batches[-1] > 4 and "went on with 8" in summary.note


def test_other_errors_of_the_device_stop_the_run(tmp_path):
    class Broken(CountingTower):
        def encode(self, batch):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(tmp_path, make_rows(range(30)), tower=Broken())


def test_what_is_read_ahead_stays_within_the_memory_however_large_the_items(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.runner.local.BatchQueue", partial(BatchQueue, most_bytes=10_000_000))
    held, most, lock = 0, 0, threading.Lock()

    class Weighed(CountingTower):
        def prepare(self, item, key):
            nonlocal held, most
            with lock:
                held += item.nbytes
                most = max(most, held)
            return {"views": [item[: len(item) // 2], item[len(item) // 2 :]]}

        def encode(self, batch):
            nonlocal held
            with lock:
                held -= sum(part.nbytes for one in batch for part in one["views"])
            return np.zeros((len(batch), 2), np.float32)

    def read(group):
        return ((row, np.zeros(3_000_000 if i % 7 == 0 else 1_000_000, np.uint8)) for i, row in enumerate(group))

    rows = make_rows(range(1000, 1400), per_group=40)
    run(tmp_path, rows, read, tower=Weighed(), batch_size=64, workers=2)
    assert 6_000_000 < most <= 10_000_000 + 2 * 3_000_000


def test_rows_of_one_length_keep_their_order(tmp_path):
    _, tower, *_ = run(tmp_path, make_rows(range(100, 180), per_group=1000), batch_size=8, workers=1)
    assert tower.encoded == list(range(100, 180))
