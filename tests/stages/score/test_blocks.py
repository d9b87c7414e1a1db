"""Blocks of rows and the threads over them."""

import threading

import numpy as np
import pytest
from waiting import FAR_OFF_S

from stages.score.functional import blocks


def test_row_blocks_cover_every_row_once():
    covered = [row for rows in blocks.row_blocks(10, 3, max_rows=4) for row in range(10)[rows]]
    assert covered == list(range(10))
    assert list(blocks.row_blocks(0, 5)) == []
    assert len(list(blocks.row_blocks(3, 10 * blocks.CELLS_PER_BLOCK))) == 3


@pytest.mark.parametrize("cores", [1, 3])
def test_every_block_is_worked_on_once_by_as_many_threads_as_cores(cores, monkeypatch):
    monkeypatch.setattr(blocks, "CELLS_PER_BLOCK", 6)
    monkeypatch.setattr(blocks, "cores", lambda: cores)
    together = threading.Barrier(cores)  # nobody passes before all threads have come
    done = []

    def work(rows):
        together.wait(timeout=FAR_OFF_S)
        done.extend(range(24)[rows])

    blocks.each_block(work, 24, 3)
    assert sorted(done) == list(range(24))


@pytest.mark.parametrize("cores", [1, 2])
def test_an_error_in_a_block_is_the_callers(cores, monkeypatch):
    monkeypatch.setattr(blocks, "CELLS_PER_BLOCK", 1)
    monkeypatch.setattr(blocks, "cores", lambda: cores)

    def work(rows):
        if rows.start == 3:
            raise ValueError("row 3 is broken")

    with pytest.raises(ValueError, match="row 3"):
        blocks.each_block(work, 5, 1)


def test_a_submatrix_is_the_rows_and_columns_asked_for(monkeypatch):
    monkeypatch.setattr(blocks, "CELLS_PER_BLOCK", 20)
    matrix = np.arange(70).reshape(7, 10)
    rows, columns = np.arange(7) % 3 == 0, np.arange(10) % 4 > 1
    np.testing.assert_array_equal(blocks.submatrix(matrix, rows, columns), matrix[np.ix_(rows, columns)])
    assert blocks.submatrix(matrix, rows & False, columns).shape == (0, 4)


@pytest.mark.parametrize("dtype", [None, np.float64])
def test_a_transposed_block_is_copied_whole(dtype, monkeypatch):
    monkeypatch.setattr(blocks, "COLUMNS_PER_COPY", 4)
    matrix = np.arange(22, dtype=np.float32).reshape(11, 2)
    copy = blocks.contiguous(matrix.T, dtype)
    assert copy.flags.c_contiguous and copy.dtype == (dtype or np.float32)
    np.testing.assert_array_equal(copy, matrix.T)
    assert blocks.contiguous(matrix) is matrix
