import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from pipeline.runner.prefetch import AHEAD_BATCHES, BatchQueue, nbytes, prefetching


@dataclass(frozen=True)
class Views:
    mel: torch.Tensor
    longer: bool


def test_the_memory_of_items_is_counted_through_all_they_are_made_of():
    mel = torch.zeros(4, 100, dtype=torch.float32)
    assert nbytes(mel) == nbytes(mel.numpy()) == 1600
    assert 1600 <= nbytes(Views(mel, True)) < 1700
    assert 3200 <= nbytes({"a": [mel], "b": (mel, "text")}) < 3400
    assert nbytes("a longer text") > nbytes("text")


def test_batches_are_of_similar_length_and_none_waits_for_ever():
    batch_size, total = 16, 2000
    lengths = np.random.default_rng(0).integers(1, 500, total).tolist()
    queue: BatchQueue[int] = BatchQueue(batch_size)
    read, padding, waited, order = 0, [], [], []
    while len(order) < total:
        while read < total and read - len(order) < AHEAD_BATCHES * batch_size:
            queue.put(read, lengths[read])
            read += 1
        if read == total:
            queue.end()
        batch = queue.take(batch_size)
        sizes = [lengths[one] for one in batch]
        padding.append(1 - sum(sizes) / (max(sizes) * len(sizes)))
        waited += [read - one for one in batch]
        order += batch
    assert sorted(order) == list(range(total))
    assert np.mean(padding) < 0.15  # about a half in the order of the table
    assert max(waited) <= 4 * AHEAD_BATCHES * batch_size


def test_a_batch_is_not_waited_for_when_no_more_fits_the_memory():
    queue: BatchQueue[str] = BatchQueue(8, most_bytes=100)

    def fill(names):
        for name in names:
            queue.put(name, 60)

    with prefetching(fill, [["a", "b", "c"]], queue, workers=1):
        assert [queue.take(8), queue.take(8), queue.take(8), queue.take(8)] == [["a"], ["b"], ["c"], []]


def test_a_single_item_larger_than_the_memory_is_let_in():
    queue: BatchQueue[str] = BatchQueue(8, most_bytes=100)
    with prefetching(lambda name: queue.put(name, 1000), ["a", "b"], queue, workers=2):
        assert sorted(queue.take(2) + queue.take(2)) == ["a", "b"]
        assert queue.take(2) == []


def test_threads_end_when_nobody_takes_what_they_read():
    queue: BatchQueue[int] = BatchQueue(8, most_bytes=10)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), prefetching(lambda n: queue.put(n, 10), range(100), queue, workers=3):
        assert queue.take(1)
        raise KeyboardInterrupt
    assert threading.active_count() == before


def test_an_error_of_the_work_ends_the_wait_and_is_raised():
    queue: BatchQueue[int] = BatchQueue(8)
    done = []
    with pytest.raises(ZeroDivisionError), prefetching(lambda n: done.append(1 // n), [0, 1], queue, workers=1):
        assert queue.take(4) == []
    assert done == [1]
