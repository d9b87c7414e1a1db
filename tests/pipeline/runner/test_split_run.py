"""A run that was split over machines with stores of their own."""

import numpy as np
from cluster_material import Loader, Reader, expected, made, read_media, rows_of, store_in

from pipeline.runner.local import LocalRunner


def test_parts_made_in_stores_of_their_own_are_merged_and_found_by_the_whole(project, hearonce, tmp_path):
    rows = rows_of(12)
    for name, part in (("a", rows[:28]), ("b", rows[20:])):  # a medium or two twice
        log = tmp_path / f"log-{name}"
        made(LocalRunner(Reader(log).read, Loader(log)), part, store_in(tmp_path / name))
        code, out, err = hearonce("cache", "merge", tmp_path / name, tmp_path / "whole")
        assert code == 0, out + err
    log = tmp_path / "log"
    values, problems = made(LocalRunner(Reader(log).read, Loader(log)), rows, store_in(tmp_path / "whole"))
    np.testing.assert_array_equal(values, expected(rows))
    assert not problems and not read_media(log)
