"""Eight people at one server for some seconds; `benchmarks/search/load.py` is the long form."""

from benchmarks.search.load import measure
from benchmarks.search.made_up import CORPUS, make_project

SECONDS = 10
MOST_GROWTH_MIB = 64
"""Of bounded caches that are not full after two seconds; what is leaked by each answer would be more."""


def test_many_people_no_error_and_nothing_left_behind(tmp_path):
    make_project(tmp_path / "project", 5_000)
    found = measure(tmp_path / "project", CORPUS, SECONDS)
    before, after = found["before"], found["after"]
    assert not found["errors"] and sum(map(len, found["seconds"].values())) > 50
    assert after["RssAnon MiB"] - before["RssAnon MiB"] < MOST_GROWTH_MIB, (before, after)
    assert after["open files"] <= before["open files"] + 4 and after["threads"] <= before["threads"] + 16
