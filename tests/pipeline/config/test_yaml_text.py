"""YAML that would end the process, or fill its memory, is refused in a sentence."""

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.corpus import load_corpus
from pipeline.config.params import PARAMS, extend_params
from pipeline.config.records import MOST_DEEP, load_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: " + "[" * 50_000, "nested more than 100 levels"),
        ("a: " + "{a: " * 50_000, "nested more than 100 levels"),
        ("- " * 50_000 + "x", "nested more than 100 levels"),
        ("? " * 50_000 + "x", "nested more than 100 levels"),
        ("".join(" " * n + "a:\n" for n in range(500)), r"levels deep \(line 101\)"),
        (LAUGHS, "stand for more than 1,000,000 values"),
        ("a: &a [*a]", r"line 1: \*a stands within itself"),
        ("a: *b\nb: &b 1", r"line 1: \*b stands within itself or for nothing"),
        ("a: " + "9" * 5000, "a value cannot be read"),
        ("a: 2020-13-40", "a value cannot be read .month"),
        ("a: '\0'", "no valid YAML"),
    ],
)
def test_what_would_do_harm_is_refused(tmp_path, text, reason):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=reason):
        load_yaml(tmp_path / "a.yaml")


def test_what_people_write_is_read(tmp_path):
    deep = "[" * (MOST_DEEP - 1) + "]" * (MOST_DEEP - 1)
    many = "".join(f"k{n}: {{a: [b], c: d}}\n" for n in range(500))
    (tmp_path / "a.yaml").write_text(f"base: &base {{x: 1}}\nagain: *base\nmerged: {{<<: *base}}\ndeep: {deep}\n{many}")
    found = load_yaml(tmp_path / "a.yaml")
    assert found["again"] == found["merged"] == {"x": 1} and len(found) == 504


def test_all_that_read_yaml_do_so(project):
    Path("configs/corpora/mine.yaml").write_text("audio: " + "[" * 50_000)
    with pytest.raises(UserError, match=r"mine\.yaml is nested"):
        load_corpus("mine")
    Path("configs/corpora/mine.yaml").write_text("window_s: 0x" + "f" * 5000)
    with pytest.raises(UserError, match=r"mine\.yaml: window_s"):
        load_corpus("mine")
    PARAMS.write_text("corpora: " + "[" * 50_000)
    with pytest.raises(UserError, match=r"params\.yaml is nested"):
        extend_params({})
    PARAMS.write_text("corpora: {}\ncorpora: {}\n")
    with pytest.raises(UserError, match=r"params\.yaml is no valid YAML: .*duplicate key"):
        extend_params({})
