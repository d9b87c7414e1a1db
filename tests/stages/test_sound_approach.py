"""The published files in miniature, from ingest to scores, with the encoder that comes with the installation."""

import json
from pathlib import Path

import pytest
import yaml
from miniature.build import PLACES

from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from stages.embed.command import embed
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.score.command import score, score_subset

ENCODER = "yamnet-minilm"
PROTOCOLS = {"epic-mir": "multi-instance", "ego-mcq": "multiple-choice"}
SOURCES = ("visual", "gpt")


def prepare(corpus):
    ingest(corpus)
    extract_audio(corpus)
    embed(corpus, ENCODER)


def write_experiments(corpus, protocol):
    folder = Path("configs/experiments") / corpus
    folder.mkdir(exist_ok=True)
    for source in SOURCES:
        text = f"corpus: {corpus}\nencoders: [{ENCODER}]\ncaptions: {source}\nprotocol: {protocol}\n"
        (folder / f"{corpus}-yamnet-{source}.yaml").write_text(text)


def numbers(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("corpus", PROTOCOLS)
def test_a_subset_scores_as_its_own_published_files_do(project, miniature, corpus, capsys):
    """The original reads other files for the subset; here it is a selection from the whole, embedded once."""
    media, annotations = (str(miniature / one) for one in PLACES[corpus])
    place, alone = {"media": media, "annotations": annotations}, f"{corpus}-low"
    config = load_corpus(corpus).model_dump(mode="json")
    official = config["files"]["subsets"].pop("low")
    config["files"] |= {"published": {}, "name" if corpus == "ego-mcq" else "suffix": official, "subsets": {}}
    Path(f"configs/corpora/{alone}.yaml").write_text(yaml.safe_dump(config))
    experiments = {
        f"{one}-yamnet-{source}": {"corpus": one, "encoder": ENCODER} for one in (corpus, alone) for source in SOURCES
    }
    params = {"corpora": {corpus: place, alone: place}, "embeddings": {}, "experiments": experiments}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    for one in (corpus, alone):
        write_experiments(one, PROTOCOLS[corpus])
        prepare(one)
        for source in SOURCES:
            score(f"{one}-yamnet-{source}")
    said = capsys.readouterr().out
    assert f"embed {alone}" in said
    for line in said.splitlines():
        assert not line.startswith("embed ") or alone not in line or " 0 computed" in line
    score_subset(corpus, "low")
    of_subset = numbers(layout.subset_results(corpus, "low"))
    for source in SOURCES:
        whole = numbers(layout.results(f"{corpus}-yamnet-{source}"))
        assert of_subset[f"{corpus}-yamnet-{source}"] == numbers(layout.results(f"{alone}-yamnet-{source}")) != whole
