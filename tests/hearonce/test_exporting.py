"""Exports are loaded back by the libraries that they are for."""

import json

import numpy as np
import polars as pl
import pytest

from cache.artifact import open_artifact
from cache.errors import UserError
from hearonce.exporting import Exported, export_huggingface, export_mteb, export_webdataset
from hearonce.mteb_results import K_VALUES, retrieval_scores
from pipeline.config import layout

NAMES = {
    "ndcg_at": "ndcg_cut",
    "map_at": "map_cut",
    "recall_at": "recall",
    "precision_at": "P",
    "hit_rate_at": "success",
}
"""What mteb calls a metric, and what pytrec_eval does."""
DEMO = Exported("demo", "yamnet-minilm")


def clips():
    return open_artifact(layout.embeddings("demo", "yamnet-minilm", "clips"))


def test_a_hugging_face_dataset_is_loaded_by_datasets(demo, tmp_path):
    datasets = pytest.importorskip("datasets")
    assert export_huggingface(DEMO, tmp_path / "out") == 58
    found = datasets.load_dataset(str(tmp_path / "out"), "clips", split="train", cache_dir=str(tmp_path / "cache"))
    assert found["id"][:] == clips().ids
    np.testing.assert_array_equal(np.array(found["vector"][:], np.float32), clips().numpy().astype(np.float32))
    assert found[0]["fingerprint"] == clips().description["fingerprint"] and found[0]["captions"]
    captions = datasets.load_dataset(
        str(tmp_path / "out"), "captions", split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(captions) == 66 and set(captions[0]["clips"]) <= set(found["id"][:])
    card = (tmp_path / "out" / "README.md").read_text()
    assert clips().description["fingerprint"] in card and "yamnet-minilm" in card and "licence of the corpus" in card
    with pytest.raises(UserError, match="exists: name a new folder"):
        export_huggingface(DEMO, tmp_path / "out")


def test_shards_are_loaded_by_webdataset_and_have_the_same_bytes_each_time(demo, tmp_path, monkeypatch):
    webdataset = pytest.importorskip("webdataset")
    monkeypatch.setattr("hearonce.exporting.SHARD_ROWS", 50)
    for name in ("one", "two"):
        assert export_webdataset(DEMO, tmp_path / name) == 58
    shards = sorted((tmp_path / "one").glob("*.tar"))
    assert [shard.name for shard in shards] == ["clips-000000.tar", "clips-000001.tar"]
    assert all(shard.read_bytes() == (tmp_path / "two" / shard.name).read_bytes() for shard in shards)
    samples = list(webdataset.WebDataset([str(shard) for shard in shards], shardshuffle=False).decode())
    assert [sample["json"]["id"] for sample in samples] == clips().ids
    np.testing.assert_array_equal(np.stack([sample["npy"] for sample in samples]), clips().numpy().astype(np.float32))


def test_results_are_read_by_mteb_and_are_its_numbers(demo, tmp_path, hearonce):
    results = pytest.importorskip("mteb.results")
    code, out, _ = hearonce("export", "demo", "yamnet-minilm", "--format", "mteb", "-o", tmp_path / "result.json")
    assert code == 0 and "66 captions against clips and back" in out
    document = json.loads((tmp_path / "result.json").read_text())
    loaded = results.TaskResult.model_validate(document)
    assert loaded.task_name == "demoRetrieval" and [one["hf_subset"] for one in loaded.scores["test"]] == [
        "text-to-clip",
        "clip-to-text",
    ]
    assert document["scores"]["test"][0]["hit_rate_at_1"] == pytest.approx(0.4242, abs=1e-4)  # R@1 of the demo
    with pytest.raises(UserError, match="exists: name a new file"):
        export_mteb(DEMO, tmp_path / "result.json", "given", "eng-Latn")
    with pytest.raises(UserError, match="no caption source 'mine'"):
        export_mteb(DEMO, tmp_path / "other.json", "mine", "eng-Latn")


@pytest.mark.parametrize("n_items", [7, 1500])
def test_metrics_are_those_that_mteb_computes(n_items):
    metrics = pytest.importorskip("mteb._evaluators.retrieval_metrics")
    generator = np.random.default_rng(n_items)
    # few distinct directions, so that many items are exactly as similar as others
    queries, gallery = np.eye(6)[generator.integers(0, 6, 20)], np.eye(6)[generator.integers(0, 6, n_items)]
    if n_items > 1000:
        gallery = generator.standard_normal((n_items, 6))
        gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    ids = [f"clip {number}" for number in generator.permutation(n_items)]
    pairs = np.unique(np.stack([generator.integers(0, 18, 60), generator.integers(0, n_items, 60)]), axis=1)
    pairs = pairs[:, generator.permutation(pairs.shape[1])]
    ours = retrieval_scores(queries, gallery, ids, *pairs)
    sims = (queries @ gallery.T).astype(np.float32)
    asked = sorted(set(pairs[0].tolist()))
    relevant = {str(query): {ids[item]: 1 for item in pairs[1, pairs[0] == query]} for query in asked}
    found = {str(query): {one: float(sim) for one, sim in zip(ids, sims[query], strict=True)} for query in asked}
    theirs = metrics.calculate_retrieval_scores(found, relevant, K_VALUES)
    for name, given in (("ndcg", theirs.ndcg), ("map", theirs.map), ("recall", theirs.recall)):
        for key, value in given.items():  # mteb rounds to five decimals
            assert ours[f"{name}_at_{key.split('@')[1]}"] == pytest.approx(value, abs=6e-6), (name, key)
    per_query = theirs.all_scores
    for k in K_VALUES:
        for ours_name, name in NAMES.items():
            mean = np.mean([one[f"{name}_{k}"] for one in per_query.values()])
            assert ours[f"{ours_name}_{k}"] == pytest.approx(mean, abs=1e-9), (name, k)
        assert ours[f"mrr_at_{k}"] == pytest.approx(theirs.mrr[f"MRR@{k}"], abs=1e-9)


def test_parquet_has_what_it_had(demo, tmp_path, hearonce):
    code, _, _ = hearonce("export", "demo", "yamnet-minilm", "-o", tmp_path / "out")
    table = pl.read_parquet(tmp_path / "out" / "clips-00000.parquet")
    assert code == 0 and table.columns == [
        "id", "vector", "corpus", "encoder", "fingerprint", "file", "start_s", "stop_s", "captions",
    ]  # fmt: skip
