"""Tables as grids: what the shipped ones expand to, and what is said of wrong ones."""

import json
from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.experiments import (
    RENAMED_ENCODERS,
    ExperimentConfig,
    experiments_of,
    load_experiment,
    read_experiments,
)

BEFORE = Path(__file__).with_name("experiments_before.json")
"""All experiments as they were shipped with a YAML each (commit 49b48f7)."""


def test_the_shipped_tables_are_the_experiments_that_had_a_file_each(project):
    before = {}
    for name, options in json.loads(BEFORE.read_text()).items():
        encoders = [RENAMED_ENCODERS.get(one, one) for one in options.pop("encoders")]
        before[name] = ExperimentConfig(name=name, encoders=encoders, **options)
    corpora = sorted({one.corpus for one in before.values()})
    now = {one.name: one for corpus in corpora for one in experiments_of(corpus)}
    without_note = {"note": ""}  # which the demo's new images have changed
    assert {name: one.model_copy(update=without_note) for name, one in now.items()} == {
        name: one.model_copy(update=without_note) for name, one in before.items()
    }
    assert all(path.name for path in Path("configs/experiments").glob("*/*.yaml"))
    assert sum(len(list(Path("configs/experiments", corpus).glob("*.yaml"))) for corpus in corpora) <= 13


def write(text: str) -> Path:
    path = Path("configs/experiments/demo/table.yaml")
    path.write_text(text)
    return path


def test_axes_multiply_and_labels_make_names(project):
    path = write(
        "protocol: multi-instance\n"
        "rows:\n"
        "  - encoders: {a: [one, two], b: three}\n"
        "    captions: {'': visual, gpt: gpt}\n"
        "    seeds: [0, 3]\n"
    )
    found = read_experiments(path)
    assert [one.name for one in found] == [
        "demo-a",
        "demo-a-seed3",
        "demo-a-gpt",
        "demo-a-seed3-gpt",
        "demo-b",
        "demo-b-seed3",
        "demo-b-gpt",
        "demo-b-seed3-gpt",
    ]
    drawn = found[3]
    assert drawn.encoders == ["one@seed3", "two@seed3"] and drawn.seeds_of == "demo-a-gpt" and drawn.captions == "gpt"
    assert load_experiment("demo-b-seed3-gpt").encoders == ["three@seed3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows:\n  - encoders: [a]\n    caption: x\n", r"unknown key 'rows\.0\.caption', did you mean 'captions'"),
        ("rows: []\n", "rows: List should have at least 1 item"),
        ("rows:\n  - encoders: [a]\nprotocal: avlnet\n", "unknown key 'protocal', did you mean 'protocol'"),
        ("rows:\n  - encoders: [a]\npaper: {demo-b: {}}\n", "paper: no row is called 'demo-b', did you mean 'demo-a'"),
        ("rows:\n  - encoders: [a]\n  - encoders: [a]\n", "Experiment 'demo-a' is in .*table.yaml twice"),
        ("rows:\n  - encoders: {a: [x, y, z]}\n", "encoders: List should have at most 2 items"),
        ("rows:\n  - encoders: [a]\n    captions: {g: [x, y]}\n", "2 caption sources for 1 encoder"),
        ("rows:\n  - encoders: [laion-clap-seed1]\n", "renamed to 'laion-clap@seed1': run `hearonce migrate`"),
        ("corpus: other\nrows:\n  - encoders: [a]\n", "is of corpus 'other': move it into"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(project, text, message):
    write(text)
    with pytest.raises(UserError, match=message):
        experiments_of("demo")


def test_names_of_two_files_must_differ(project):
    write("rows:\n  - encoders: {audio: yamnet-minilm}\n")
    with pytest.raises(UserError, match=r"'demo-audio' is in .*fusion\.yaml and .*table\.yaml: rename or remove one"):
        experiments_of("demo")
