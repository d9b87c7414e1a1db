"""An encoder as a model of mteb, on a small task from text to audio over media of the demo."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cache.artifact import open_artifact
from cache.errors import UserError
from cache.location import Store
from hearonce.mteb_results import retrieval_scores
from pipeline.config import layout
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio_store import AudioStore
from stages.embed.encode_files import open_encoder

mteb = pytest.importorskip("mteb")

FILES = ["cat-meow.mp4", "dogs-barking.mp4", "applause.mp4", "breaking-glass.mp4"]
TEXTS = ["A cat meows.", "Dogs are barking.", "People applaud.", "Glass breaks."]


def samples_of(file: str) -> np.ndarray:
    """The audio of a demo medium at YAMNet's rate, out of the project's store."""
    media = pl.read_parquet(layout.table("demo", "media")).filter(pl.col("path") == file)
    store = AudioStore(Store.default(), AudioSettings())
    source = Path("configs/corpora/demo/media") / file
    return store.read(media["digest"][0], source, 0.0, media["duration_s"][0], 16_000)


def task():
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class TextToAudio(AbsTaskRetrieval):
        metadata = TaskMetadata(
            type="Any2AnyRetrieval",
            name="DemoTextToAudio",
            main_score="ndcg_at_10",
            description="Four clips of the demo.",
            reference=None,
            dataset={"path": "none", "revision": "1"},
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation="",
            modalities=["audio", "text"],
            category="t2a",
        )

        def load_data(self, **options):
            audio = [{"array": samples_of(file), "sampling_rate": 16_000} for file in FILES]
            ids = [f"d{number}" for number in range(len(FILES))]
            texts = {"id": [f"q{number}" for number in range(len(FILES))], "text": TEXTS}
            self.queries = DatasetDict({"test": Dataset.from_dict({**texts, "modality": ["text"] * len(FILES)})})
            clips = {"id": ids, "audio": audio, "modality": ["audio"] * len(FILES)}
            self.corpus = DatasetDict({"test": Dataset.from_dict(clips)})
            self.relevant_docs = {"test": {f"q{number}": {f"d{number}": 1} for number in range(len(FILES))}}
            self.data_loaded = True

    return TextToAudio()


def test_mteb_ranks_as_the_encoder_does_and_embeds_what_it_knows_no_second_time(demo, monkeypatch):
    import hearonce.mteb
    from stages.embed.encoders.yamnet_minilm import ENCODER

    model = hearonce.mteb.model("yamnet-minilm", device="cpu")
    (result,) = mteb.evaluate(model, task(), cache=None, co2_tracker=False).task_results
    (scores,) = result.scores["test"]
    assert model.mteb_model_meta.name == "hearonce/yamnet-minilm"

    rows = open_artifact(layout.embeddings("demo", "yamnet-minilm", "clips"))
    own = model._audio(loader([samples_of(file) for file in FILES]))
    cached = rows.numpy()[[rows.ids.index(file) for file in FILES]]
    np.testing.assert_allclose(own, cached, rtol=0, atol=1e-5)  # the rows of the stage
    texts, every = open_encoder("yamnet-minilm", "cpu").captions(TEXTS), np.arange(len(FILES))
    ours = retrieval_scores(texts, cached, [f"d{number}" for number in every], every, every)
    assert ours["mrr_at_10"] > 0.5 and ours["ndcg_at_10"] == pytest.approx(scores["ndcg_at_10"], abs=1e-5)
    assert ours["mrr_at_10"] == pytest.approx(scores["mrr_at_10"], abs=1e-5)

    def refuse(self, device):
        raise AssertionError("a tower was loaded")

    for name in ("load_clip_tower", "load_caption_tower"):
        monkeypatch.setattr(ENCODER, name, refuse)
    (again,) = mteb.evaluate(model, task(), cache=None, co2_tracker=False).task_results
    assert again.scores["test"][0]["ndcg_at_10"] == scores["ndcg_at_10"]


def loader(clips):
    """As mteb's loader of audio: batches of mappings, made by a collator that the model sets."""

    class Loader:
        collate_fn = None

        def __iter__(self):
            yield self.collate_fn([{"audio": {"array": samples, "sampling_rate": 16_000}} for samples in clips])

    return Loader()


def test_what_cannot_be_embedded_is_said(demo, monkeypatch):
    import hearonce.mteb

    with pytest.raises(UserError, match="No encoder 'yamnet-minlm'"):
        hearonce.mteb.model("yamnet-minlm")
    with pytest.raises(UserError, match="mteb gave image: an encoder of hearonce embeds text or audio"):
        hearonce.mteb.model("yamnet-minilm").encode([{"image": [1]}])
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(UserError, match="run `uv sync --extra mteb`"):
        hearonce.mteb.model("yamnet-minilm")
