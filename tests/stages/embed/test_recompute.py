"""`hearonce cache verify --recompute N` with real encoders: a wrong row in a shared store is found and named."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache.row_store import RowStore
from cache.rows import Rows

PARAMS = """\
corpora: {mine: {media: videos, annotations: captions.csv}}
embeddings:
  mine-yamnet:
    {corpus: mine, encoder: yamnet-minilm, config: configs/encoders/yamnet-minilm.yaml, reads: data/audio/mine.parquet}
subsets: {}
"""


@pytest.fixture
def embedded(project, hearonce):
    Path("videos").mkdir()
    lines = ["file,caption"]
    for i, frequency in enumerate((220, 330, 440, 550)):
        wave = np.sin(np.arange(32_000) * 2 * np.pi * frequency / 16_000) * np.linspace(0, 0.5, 32_000)
        soundfile.write(f"videos/tone{i}.wav", wave.astype(np.float32), 16_000)
        lines.append(f"tone{i}.wav,a tone of {frequency} hertz")
    Path("captions.csv").write_text("\n".join(lines) + "\n")
    Path("params.yaml").write_text(PARAMS)
    Path("configs/corpora/mine.yaml").write_text("window_s: null\n")
    for stage in (["ingest"], ["extract-audio"], ["embed"]):
        arguments = [*stage, "mine"] + (["yamnet-minilm"] if stage[0].startswith("embed") else [])
        code, _, said = hearonce(*arguments)
        assert code == 0, said


def wrong(modality: str, which: int, change) -> str:
    """Changes a row of a store behind its checksums' back; the id-less key of it."""
    (path,) = Path(".hearonce/rows").glob(f"{modality}-*")
    store = RowStore.open(path)
    rows = store.read_rows(store.keys())
    values = np.array(rows.values)
    values[which] = change(values, which)
    (name,) = store.segments.names()
    changed = Rows(rows.format, rows.keys, values, None, rows.extra)
    store.append_rows(changed, {"device": "a colleague's"})
    store.segments.discard([name])
    return rows.keys[which].tobytes().hex()


def test_rows_are_computed_anew_and_those_that_differ_are_named(embedded, hearonce, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    code, said, _ = hearonce("cache", "verify", "--recompute", 100)
    assert code == 0 and "8 rows computed anew (seed 0): 8 agree, 0 differ." in said
    clip = wrong("clips", 1, lambda values, i: values[i] * 0.7 + values[(i + 1) % len(values)] * 0.3)
    caption = wrong("captions", 2, lambda values, i: -values[i])
    code, said, _ = hearonce("cache", "verify")
    assert code == 0, said
    code, said, _ = hearonce("cache", "verify", "--recompute", 100)
    assert code == 3 and "6 agree, 2 differ" in said
    assert clip in said and caption in said
    assert "videos/tone" in said or "tone" in said
    Path("videos/tone0.wav").unlink()
    code, said, _ = hearonce("cache", "verify", "--recompute", 100, "--json")
    rows = {one["key"]: one for one in json.loads(said)["rows"]}
    assert code == 3 and len(rows) == 8
    assert {key for key, one in rows.items() if not one["agrees"] and not one["reason"]} == {clip, caption}
    few = [
        json.loads(hearonce("cache", "verify", "--recompute", 3, "--seed", s, "--json")[1])["rows"] for s in (1, 1, 2)
    ]
    assert [len(one) for one in few] == [3, 3, 3]
    assert sorted(one["key"] for one in few[0]) == sorted(one["key"] for one in few[1])


def test_nothing_cached_is_one_sentence(project, hearonce):
    code, _, said = hearonce("cache", "verify", "--recompute", 5)
    assert code == 2 and "there is none to compute anew" in said


def test_a_run_drops_rows_that_contradict_each_other_and_computes_them(embedded, hearonce):
    from cache.artifact import open_artifact
    from cache.upkeep.repair import verify

    (artifact,) = Path("data/embeddings/mine/yamnet-minilm").glob("captions.zarr")
    before = np.array(open_artifact(artifact).numpy())
    (path,) = Path(".hearonce/rows").glob("captions-*")
    store = RowStore.open(path)
    rows = store.read_rows(store.keys()[:2])
    store.append_rows(Rows(rows.format, rows.keys, np.array(-rows.values), None, rows.extra), {"device": "evil"})
    for name in store.segments.names()[1:]:
        (path / "segments" / name).rename(path / "segments" / "000.zarr")
    assert len(verify(path)) == 4
    code, said, _ = hearonce("embed", "mine", "yamnet-minilm")
    assert code == 0 and "4 rows wanted, 2 found in cache, 2 computed, 0 failed" in said
    assert "000.zarr" in said and "differ by more than rounding" in said
    assert verify(path) == []
    np.testing.assert_allclose(open_artifact(artifact).numpy(), before, atol=1e-5)
