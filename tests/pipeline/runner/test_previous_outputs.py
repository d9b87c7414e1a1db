"""Rows of the artifact that `dvc.lock` names, in a real DVC project of one stage."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from cache.artifact import write_artifact
from cache.keys import caption_key
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.runner.previous_outputs import warm

FORMAT = RowFormat(8)
OUT = Path("data/captions.zarr")
TEXTS = ["a dog barks", "rain", "a dog barks", "a bell"]  # two captions of one text are one row, twice in the artifact
VALUES = {text: np.full((1, 8), number, np.float32) for number, text in enumerate(TEXTS)}


def store(root, fingerprint="ab" * 16):
    return RowStore.ensure(root, "captions", fingerprint, FORMAT)


@pytest.fixture
def lacking_output(tmp_path, monkeypatch):
    """A stage whose artifact DVC has, gone from the working tree as it is while the stage's command runs."""
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    first = store("colleague")
    for text, values in VALUES.items():
        first.append([caption_key(text)], values)
    OUT.parent.mkdir()
    description = {"modality": "captions", "fingerprint": "ab" * 16}
    write_artifact(OUT, list("0123"), [caption_key(text) for text in TEXTS], first, description)
    with Repo.init(no_scm=True) as repo:
        Path("dvc.yaml").write_text(f"stages: {{embed: {{cmd: 'false', outs: [{OUT}]}}}}\n")
        repo.commit(force=True)
    shutil.rmtree(OUT)


def test_the_rows_that_a_stage_wants_and_lacks_are_taken_once_each(lacking_output):
    mine, said = store("mine"), []
    mine.append([caption_key("rain")], np.ones((1, 8), np.float32))
    wanted = [caption_key(text) for text in ("a dog barks", "thunder")]
    warm(mine, OUT, mine.lookup(wanted), said.append)
    assert mine.missing(wanted) == [caption_key("thunder")]
    assert said == ["1 row from the artifact in dvc.lock"]
    np.testing.assert_array_equal(mine.read([caption_key("a dog barks")]), VALUES["a dog barks"])
    np.testing.assert_array_equal(mine.read([caption_key("rain")]), np.ones((1, 8)))
    assert mine.missing([caption_key("a bell")]), "nobody asked for it"


def test_nothing_is_taken_of_another_encoder_or_where_dvc_has_none(lacking_output):
    other, said = store("mine", "cd" * 16), []
    for out in (OUT, Path("data/none.zarr")):
        warm(other, out, other.lookup([caption_key("rain")]), said.append)
    assert other.missing([caption_key("rain")]) and said == []


def test_what_lies_in_dvcs_cache_is_taken_without_starting_dvc(lacking_output, monkeypatch):
    monkeypatch.setitem(sys.modules, "dvc.api", None)  # an import of it fails
    mine, said = store("mine"), []
    warm(mine, OUT, mine.lookup([caption_key("rain")]), said.append)
    assert said == ["1 row from the artifact in dvc.lock"]
    np.testing.assert_array_equal(mine.read([caption_key("rain")]), VALUES["rain"])


def test_an_artifact_of_which_the_cache_lacks_a_file_is_asked_of_dvc(lacking_output):
    values = max(Path(".dvc/cache/files").rglob("*"), key=lambda path: path.stat().st_size)
    values.unlink()
    mine, said = store("mine"), []
    warm(mine, OUT, mine.lookup([caption_key("rain")]), said.append)
    assert mine.missing([caption_key("rain")]) and "cannot be had" in said[0]
