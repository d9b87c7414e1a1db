"""Batch size and reading threads are found from measured rates, and come to rest."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.monitor import device
from pipeline.monitor.device import processors
from pipeline.monitor.summary import Summary
from pipeline.runner import batches, prefetch
from pipeline.runner.batches import BatchEncoder, BatchSearch, next_size
from pipeline.runner.local import LocalRunner
from pipeline.runner.prefetch import ReaderThreads, wants_thread
from pipeline.runner.rows import Row, WantedRows


def searched(rate, first=16, most=512, memory=lambda size: 0.0):
    """The sizes that a search goes through on a device whose rate depends on the batch size."""
    search, sizes = BatchSearch(first, most), []
    while not search.settled:
        assert len(sizes) < 20
        sizes.append(search.size)
        for _ in range(batches.MEASURED_BATCHES + 1):
            search.measured(
                search.size, 1000.0 * search.size, 1000.0 * search.size / rate(search.size), memory(search.size)
            )
    return sizes, search.size


@pytest.mark.parametrize(
    ("rate", "tried", "chosen"),
    [
        (lambda size: 100, [16, 32, 8], 16),  # nothing to be gained
        (lambda size: min(size, 64), [16, 32, 64, 128], 64),  # a GPU that is full with 64
        (lambda size: 100 / size, [16, 32, 8, 4, 2, 1], 1),  # caches: the fewer the better
        (lambda size: size, [16, 32, 64, 128, 256, 512], 512),
        (lambda size: 100 + (size == 8), [16, 32, 8], 8),
    ],
)
def test_the_search_ends_at_the_fastest_size(rate, tried, chosen):
    assert searched(rate) == (tried, chosen)


def test_batches_do_not_grow_into_the_second_half_of_a_gpu():
    assert searched(lambda size: size, memory=lambda size: size / 128) == ([16, 32, 64], 64)
    assert next_size({16: 1.0, 32: 2.0}, most=32) is None


def test_parts_of_batches_and_the_first_of_a_size_do_not_count():
    search = BatchSearch(4)
    assert not search.measured(3, 1.0, 100.0) and not search.measured(4, 1.0, 100.0)
    for _ in range(batches.MEASURED_BATCHES):
        search.measured(4, 1.0, 1.0)
    assert search.rates == {4: 1.0} and search.size == 8
    search.limit(2)
    assert search.settled and search.size == 2


def test_out_of_memory_ends_the_search():
    def encode(items):
        if len(items) > 20:
            raise MemoryError
        return np.zeros((len(items), 2))

    remarks = []
    encode = BatchEncoder(encode, None, remarks.append)
    assert encode.batch_size == batches.FIRST_BATCH
    assert len(encode(["x"] * 30)) == 30
    assert encode.batch_size == 15 and remarks == ["out of memory with 30 rows at a time, went on with 15"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({}, 4),
    ],
)
def test_processors_are_those_of_mask_and_container(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert processors(tmp_path) == expected


def test_one_more_reads_only_where_the_device_waits_and_processors_do_not_work():
    assert wants_thread(idle=0.5, busy=0.1)
    assert not wants_thread(idle=0.5, busy=0.95) and not wants_thread(idle=0.05, busy=0.1)


def rows(count):
    return WantedRows.of([Row(str(i), i.to_bytes(16, "big"), str(i), "") for i in range(count)])


def test_slow_disks_are_read_by_more_threads_and_the_summary_says_so(monkeypatch):
    monkeypatch.setattr(prefetch, "WINDOW_S", 0.05)
    monkeypatch.setattr("pipeline.runner.local.processors", lambda: 2)
    at_once, most, lock = [0], [0], threading.Lock()

    def read(group):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.02)
        with lock:
            at_once[0] -= 1
        yield group[0], 1.0

    tower = SimpleNamespace(prepare=lambda item, key: item, encode=lambda batch: np.ones((len(batch), 1), np.float32))
    for workers, expected in ((None, 4), (2, 2)):
        summary, most[0] = Summary("test"), 0
        made = LocalRunner(read, lambda: (tower, {}), workers=workers, batch_size=4).run(rows(120), summary)
        assert sum(len(one.results) for one in made) == 120
        assert most[0] == expected
        assert summary.note == ("4 reading threads" if workers is None else "")


def test_a_reader_more_at_a_time_up_to_the_most(monkeypatch):
    monkeypatch.setattr(prefetch, "WINDOW_S", 0.0)
    readers = ReaderThreads(1, 3)
    for _ in range(5):
        time.sleep(0.005)
        readers.waited(1.0)
    assert readers.count == 3
