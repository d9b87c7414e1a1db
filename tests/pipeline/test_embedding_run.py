import threading

import numpy as np
import pytest

from cache.keys import caption_key
from cache.row_format import RowFormat
from cache.row_store import RowStore
from pipeline.embedding_run import Row, embed_missing
from pipeline.media.errors import MediaError
from pipeline.problems import Problems, StrictStop
from pipeline.reading_ahead import AHEAD_BATCHES
from pipeline.summary import Summary


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


def run(tmp_path, rows, read=None, strict=False, **options):
    store = RowStore.ensure(tmp_path, "clips", "ab" * 16, RowFormat(2))
    tower, problems, summary = CountingTower(), Problems("embed_clips", strict), Summary("test")

    def read_numbers(group):
        return ((row, int(row.id.removeprefix("clip"))) for row in group)

    embed_missing(rows, store, read or read_numbers, lambda: (tower, {}), problems=problems, summary=summary, **options)
    return store, tower, problems, summary


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 3), (64, 2)])
def test_all_rows_are_embedded_whatever_the_batch(tmp_path, batch_size, workers):
    rows = make_rows(range(0, 12))
    store, tower, _, summary = run(tmp_path, rows, batch_size=batch_size, workers=workers)
    np.testing.assert_array_equal(store.read([row.key for row in rows])[:, 0], np.arange(12))
    assert sorted(tower.encoded) == list(range(12))
    assert max(tower.batches) <= batch_size
    assert (summary.wanted, summary.found, summary.computed, summary.failed) == (12, 0, 12, 0)


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
    monkeypatch.setattr("pipeline.embedding_run.MANY_SEGMENTS", 3)
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
    embed_missing(make_rows(range(3)), store, pytest.fail, pytest.fail, problems=Problems("x"), summary=Summary("test"))


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
            yield row, MediaError("no picture in this clip") if number == 2 else number

    store, _, problems, summary = run(tmp_path, make_rows(range(20)), read, workers=2)
    reasons = {problem.id: problem.reason for problem in problems.found}
    assert reasons == {
        "clip2": "no picture in this clip",
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
        embed_missing(
            rows,
            store,
            lambda group: ((row, 1) for row in group),
            lambda: (Interrupted(), {}),
            problems=Problems("x"),
            summary=Summary("test"),
            batch_size=4,
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
    embed_missing(
        make_rows(range(1000, 2000), per_group=1000),
        store,
        read,
        lambda: (Slow(), {}),
        problems=Problems("x"),
        summary=Summary("test"),
        batch_size=4,
        workers=2,
    )
    assert most <= AHEAD_BATCHES * 4 + 4 + 2 + 1
