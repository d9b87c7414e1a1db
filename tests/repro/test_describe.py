"""`dvc repro` describes captions by a model behind a real endpoint and scores both sources side by side."""

import json
import shutil

import pytest
import yaml
from language_server import SECRET, LanguageServer, description_of, serving

from pipeline.monitor.problems import EXIT_USER_ERROR

CAPTIONS = ["dogs barking", "car horn", "applause", "explosion"]
KEY = {"FAKE_KEY": SECRET}


@pytest.fixture
def server():
    with serving(LanguageServer()) as one:
        yield one


def describe(clone, server) -> None:
    """What a user writes to have captions described, and scored beside the given ones."""
    config = {"model": "fake-1", "endpoint": {"base_url": server.url, "key_variable": "FAKE_KEY"}}
    clone.write("configs/descriptions/fake.yaml", yaml.safe_dump(config))
    clone.write(
        "configs/experiments/mine/mine-described.yaml",
        "encoders: [yamnet-minilm]\ncaptions: described-fake\n",
    )
    clone.write("configs/subsets/mine/heard.yaml", "annotated: described-fake-high\n")
    params = yaml.safe_load((clone.root / "params.yaml").read_text())
    params["descriptions"] = {"mine": ["fake"]}
    params["subsets"] = {f"mine-{name}": {"corpus": "mine", "subset": name} for name in ("all", "heard")}
    clone.write("params.yaml", yaml.safe_dump(params))


def scored(clone, experiment: str) -> dict:
    details = json.loads((clone.root / "data/results/mine/all/details.json").read_text())
    return clone.metrics(experiment) | details[experiment]


def test_given_and_described_captions_are_scored_side_by_side(clone, server):
    describe(clone, server)
    clone.run("hearonce", "check")
    clone.repro(**KEY)
    assert {"describe@mine", "embed@mine-audio", "score@mine-all", "score@mine-heard"} <= set(clone.ran)
    assert not any(stage.startswith(("extract_audio", "ingest")) for stage in clone.ran)
    assert sorted(server.asked("description")) == sorted(server.asked("relevancy")) == sorted(CAPTIONS)
    assert clone.computed("embed captions") == 4  # those described; the given ones were embedded before
    given, described = scored(clone, "mine-audio"), scored(clone, "mine-described")
    assert (given["captions"], described["captions"]) == ("given", "described-fake")
    assert given["counts"]["text_to_clip"] == described["counts"]["text_to_clip"]
    assert described["text_to_clip"]["R@1"] >= 50.0
    heard = json.loads((clone.root / "data/results/mine/heard/details.json").read_text())
    assert heard["mine-described"]["counts"]["text_to_clip"]["n_items"] == 2  # `car horn` and `applause`
    page = (clone.root / "data/report/index.html").read_text()
    assert "Descriptions by language models" in page and description_of("car horn") in page

    assert clone.repro().ran == []  # and without a key
    assert len(server.requests) == 8

    # A machine without the store: the answers come with the outputs, and one edited caption is asked about alone.
    shutil.rmtree(clone.root / ".hearonce")
    shutil.rmtree(clone.root / "data")
    text = (clone.root / "captions.csv").read_text()
    clone.write("captions.csv", text.replace("car horn", "a car honks"))
    edited = clone.run("dvc", "repro", "describe@mine", **KEY).stdout
    assert server.asked()[8:] == ["a car honks", "a car honks"]
    assert "3 answers from the table in dvc.lock" in edited
    assert "8 answers wanted, 6 found in cache, 2 computed, 0 failed" in edited

    for path in clone.root.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in clone.output + edited


def test_an_endpoint_that_is_down_fails_the_stage_and_the_next_repro_goes_on(clone, server):
    describe(clone, server)
    server.faults = {one: [(401, {}, {"error": {"message": f"{SECRET} is wrong"}})] for one in CAPTIONS}
    failed = clone.run("hearonce", "describe", "mine", "--keep-going", check=False, **KEY)  # DVC's own command
    assert failed.returncode == EXIT_USER_ERROR
    assert "rejects what it is asked: status 401, [key] is wrong" in failed.stdout
    assert SECRET not in failed.stdout and "Traceback" not in failed.stdout
    server.faults = {}
    spent = clone.run("dvc", "repro", "describe@mine", check=False, HEARONCE_MAX_REQUESTS="5", **KEY)
    assert spent.returncode != 0 and "the budget of 5 requests is used up" in spent.stdout
    done = clone.run("dvc", "repro", "describe@mine", **KEY)
    assert "5 found in cache, 3 computed, 0 failed" in done.stdout
    assert len(server.requests) == 1 + 8
