"""docs/cache.md says what is true: its code reads rows without ours, and the tests it names exist."""

import re
from pathlib import Path

import numpy as np
import pytest
from faults.material import FINGERPRINT, POOLED, fill, key, value

from cache.artifact import write_artifact

DOCUMENT = Path(__file__).parents[2] / "docs/cache.md"


def test_its_code_reads_rows(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.S)
    store = fill(tmp_path / "rows", POOLED, range(40))
    path = tmp_path / "data/embeddings/demo/yamnet-minilm/clips.zarr"
    ids, keys = [str(i) for i in range(40)], [key(i) for i in range(40)]
    write_artifact(path, ids, keys, store, {"modality": "clips", "fingerprint": FINGERPRINT})
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    for i in (0, 15, 16, 39):
        np.testing.assert_array_equal(names["row"](i), value(i, POOLED))


@pytest.mark.parametrize("name", re.findall(r"`(tests/\S+?\.py::\w+)`", DOCUMENT.read_text()))
def test_the_tests_it_names_exist(name):
    path, function = name.split("::")
    assert f"def {function}(" in (DOCUMENT.parents[1] / path).read_text()
