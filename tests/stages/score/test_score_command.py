import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache import tables
from cache.artifact import Artifact, write_artifact
from cache.errors import UserError
from cache.keys import caption_key
from cache.location import Store
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.config import layout
from stages.report.command import report
from stages.score import cells
from stages.score.command import headline, score
from stages.score.retrieval import Retrieval
from stages.score.scored import Scored

DIM = 16
N = 12


def write_embeddings(encoder: str, ids: dict[str, list[str]], vectors: dict[str, np.ndarray]) -> None:
    for modality in ("clips", "captions"):
        store = RowStore.ensure("store", modality, encoder.encode().hex().ljust(32, "0"), RowFormat(DIM))
        keys = [caption_key(modality + one) for one in ids[modality]]
        store.append(keys, vectors[modality])
        description = {"modality": modality, "encoder": encoder, "fingerprint": ""}
        write_artifact(layout.embeddings("mine", encoder, modality), ids[modality], keys, store, description)


@pytest.fixture
def corpus(project):
    clips = [f"{i}.mp4" for i in range(N)]
    captions = [f"c{i}" for i in range(N)]
    clip_rows = [
        {"clip_id": one, "media_id": one, "media_path": one, "media_digest": "", "start_s": 0.0, "stop_s": 1.0}
        for one in clips
    ]
    caption_rows = [{"caption_id": one, "text": f"text {one}", "source": "given"} for one in captions]
    pairs = [{"clip_id": clip, "caption_id": caption} for clip, caption in zip(clips, captions, strict=True)]
    for name, rows, schema in (
        ("clips", clip_rows, tables.CLIPS),
        ("captions", caption_rows, tables.CAPTIONS),
        ("pairs", pairs, tables.PAIRS),
        ("spans", [], tables.SPANS),
    ):
        tables.write_table(tables.table(rows, schema), schema, layout.table("mine", name))
    random = np.random.default_rng(0)
    truth = random.standard_normal((N, DIM)).astype(np.float32)
    for encoder, noise in (("good", 0.1), ("poor", 3.0)):
        vectors = {
            name: truth + noise * random.standard_normal((N, DIM)).astype(np.float32) for name in ("clips", "captions")
        }
        write_embeddings(encoder, {"clips": clips, "captions": captions}, vectors)
    Path("configs/subsets/mine").mkdir()
    Path("configs/experiments/mine").mkdir()
    Path("configs/subsets/mine/few.yaml").write_text("clips: [0.mp4, 1.mp4, 2.mp4, 3.mp4, 4.mp4]\n")
    Path("configs/corpora/mine.yaml").write_text("reader: folder\n")
    Path("params.yaml").write_text(
        "corpora: {mine: {media: m, annotations: a}}\n"
        "embeddings: {mine-good: {corpus: mine, encoder: good, config: c, reads: r}}\n"
        "subsets: {mine-all: {corpus: mine, subset: all}, mine-few: {corpus: mine, subset: few}}\n"
    )
    return clips


RESULTS = layout.results("mine", "all")


def run(text: str, name: str = "one") -> dict:
    Path(f"configs/experiments/mine/{name}.yaml").write_text(text)
    score("mine")
    return json.loads((RESULTS / "metrics.json").read_text()).get(name, {})


def details(name: str = "one", folder: Path = RESULTS) -> dict:
    return json.loads((folder / "details.json").read_text())[name]


def test_metrics_queries_details_and_curve_are_written(corpus):
    metrics = run("corpus: mine\nencoders: [good]\n")
    assert metrics["text_to_clip"]["R@1"] == 100.0
    queries = tables.read_table(RESULTS / "queries.parquet", tables.QUERIES)
    assert len(queries) == 2 * N
    found = details()
    assert found["chance"]["text_to_clip"]["R@1"] == pytest.approx(100 / N, abs=1e-5)
    assert found["counts"]["clip_to_text"] == {"n_queries": N, "n_items": N}
    assert len(found["examples"]) == 10
    curve = (RESULTS / "recall.csv").read_text().splitlines()
    assert curve[0] == "experiment,direction,k,recall"
    assert curve[-1] == f"one,clip_to_text,{N},100.0000"


def test_a_subset_is_scored_for_every_experiment_of_its_corpus(corpus):
    run("corpus: mine\nencoders: [good]\n", "mine")
    run("corpus: mine\nencoders: [good]\n", "other")
    score("mine", "few")
    folder = layout.results("mine", "few")
    assert np.load(folder / "similarity.npz").files == []
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"mine", "other"} and metrics["mine"]["text_to_clip"]["R@1"] == 100.0
    found = details("other", folder)
    assert found["chance"]["text_to_clip"]["R@1"] == pytest.approx(20.0)
    assert found["counts"]["clip_to_text"] == {"n_queries": 5, "n_items": 5}
    queries = tables.read_table(folder / "queries.parquet", tables.QUERIES)
    assert len(queries) == 2 * 2 * 5 and set(queries["experiment"]) == {"mine", "other"}
    report()
    page = (layout.REPORT / "index.html").read_text()
    assert page.count(">few<") >= 4


def test_each_run_ends_with_one_short_line(corpus, capsys):
    run("corpus: mine\nencoders: [good]\n", "mine")
    numbers, line = capsys.readouterr().out.splitlines()
    assert numbers == "mine: text to clip R@1 100.0, chance 8.3; clip to text R@1 100.0, chance 8.3"
    assert re.fullmatch(r"score mine all: 1 of 1 experiment scored \(24 queries, .+ s\)", line)
    run("corpus: mine\nencoders: [good]\n", "other")
    Path("configs/experiments/mine/later.yaml").write_text("corpus: mine\nencoders: [later]\n")
    capsys.readouterr()
    score("mine", "few")
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"score mine few: 2 of 2 experiments scored, 1 of them unchanged \(20 queries, .+ s\); "
        "1 experiment without embeddings of later left out",
        line,
    )


def test_the_line_of_graded_relevancies_has_the_mean_of_both_directions():
    one = Scored({}, 3, {"mAP": 0.25, "nDCG": 0.5, "R@1": 9.0}, {"mAP": 0.1})
    assert headline({"text_to_clip": one, "average": one}) == "average mAP 0.250, chance 0.100; average nDCG 0.500"
    assert headline({"inter_video": Scored({}, 5, {"accuracy": 41.25}, {"accuracy": 20.0})}) == (
        "inter video accuracy 41.2, chance 20.0"
    )


def test_the_same_inputs_give_the_same_bytes(corpus):
    run("corpus: mine\nencoders: [poor]\n")
    before = {path.name: path.read_bytes() for path in RESULTS.iterdir()}
    run("corpus: mine\nencoders: [poor]\n")
    assert {path.name: path.read_bytes() for path in RESULTS.iterdir()} == before


@pytest.mark.parametrize(
    "text", ["corpus: mine\nencoders: [poor]\n", "corpus: mine\nencoders: [good, poor]\nweights: [1, 0.3]\n"]
)
def test_the_same_files_come_out_block_by_block(corpus, monkeypatch, text):
    captions = [{"caption_id": f"c{i}", "text": f"text c{i}", "source": "given"} for i in range(N)]
    pairs = [{"clip_id": corpus[i // 2], "caption_id": f"c{i}"} for i in range(N - 1)]  # the last caption has no clip
    pairs += [{"clip_id": corpus[5], "caption_id": "c0"}]
    for name, rows, schema in (("captions", captions, tables.CAPTIONS), ("pairs", pairs, tables.PAIRS)):
        tables.write_table(tables.table(rows, schema), schema, layout.table("mine", name))

    def files():
        shutil.rmtree(Store.default().root / "scores", ignore_errors=True)
        run(text, "mine")
        run(text, "other")
        score("mine", "few")
        folders = RESULTS, layout.results("mine", "few")
        return {path: path.read_bytes() for folder in folders for path in folder.iterdir()}

    whole = files()
    opened = []
    counted = Retrieval._counted
    monkeypatch.setattr(Retrieval, "_counted", lambda *given: opened.append(given) or counted(*given))
    monkeypatch.setenv("HEARONCE_SCORE_MEMORY", "1e-7")
    assert files() == whole
    assert len(opened) == 2  # all clips and few of them: equal experiments of two names are one cell


def test_what_cannot_be_done_block_by_block_says_why(corpus, monkeypatch):
    monkeypatch.setenv("HEARONCE_SCORE_MEMORY", "1e-7")
    with pytest.raises(UserError, match=r"'csls' needs all 12 × 12 similarities in memory, about 0.0 GiB, and scoring"):
        run("corpus: mine\nencoders: [poor]\ntransform: csls\n")
    monkeypatch.setenv("HEARONCE_SCORE_MEMORY", "much")
    with pytest.raises(UserError, match="HEARONCE_SCORE_MEMORY=much is no number of GiB"):
        run("corpus: mine\nencoders: [poor]\n")


def test_damage_met_block_by_block_names_the_file(corpus, monkeypatch):
    folder = layout.embeddings("mine", "poor", "clips")
    chunk = max((one for one in (folder / "values").rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    monkeypatch.setenv("HEARONCE_SCORE_MEMORY", "1e-7")
    with pytest.raises(UserError, match=r"poor/clips.*values"):
        run("corpus: mine\nencoders: [poor]\n")


@pytest.mark.parametrize(("row_format", "said"), [
    (RowFormat(DIM, ragged=True), "poor/clips.* many rows of each clip"),
    (RowFormat(DIM + 1), "'poor' cannot be scored: its clips are rows of 17 numbers .*, its queries of 16"),
])  # fmt: skip
def test_embeddings_that_cannot_be_compared_are_named(corpus, row_format, said):
    store = RowStore.ensure("store", "clips", "0" * 32, row_format)
    keys = [caption_key(one) for one in corpus]
    store.append(keys, np.ones((N, 2, DIM) if row_format.ragged else (N, DIM + 1), np.float32))
    folder = layout.embeddings("mine", "poor", "clips")
    shutil.rmtree(folder)
    write_artifact(folder, corpus, keys, store, {"modality": "clips", "encoder": "poor", "fingerprint": ""})
    with pytest.raises(UserError, match=said):
        run("corpus: mine\nencoders: [poor]\n")


def test_two_encoders_are_fused_by_weight(corpus):
    alone = run("corpus: mine\nencoders: [good]\n", "one")
    nearly_alone = run("corpus: mine\nencoders: [good, poor]\nweights: [1, 1e-9]\n", "two")
    mixed = run("corpus: mine\nencoders: [good, poor]\nweights: [1e-9, 1]\n", "three")
    assert alone["text_to_clip"] == nearly_alone["text_to_clip"]
    assert mixed["text_to_clip"]["MeanR"] > alone["text_to_clip"]["MeanR"]


def test_clips_that_were_not_embedded_are_left_out_and_counted(corpus):
    write_embeddings(
        "part",
        {"clips": ["0.mp4", "1.mp4"], "captions": ["c0", "c1", "c2"]},
        {"clips": np.eye(2, DIM, dtype=np.float32), "captions": np.eye(3, DIM, dtype=np.float32)},
    )
    metrics = run("corpus: mine\nencoders: [part]\n")
    found = details()
    assert found["n_clips_missing"] == N - 2
    assert found["counts"]["text_to_clip"] == {"n_queries": 2, "n_items": 2}
    assert metrics["text_to_clip"]["R@1"] == 100.0


def test_an_empty_corpus_has_no_numbers_and_stops_nobody(corpus, capsys):
    run("corpus: mine\nencoders: [good]\n", "other")
    tables.write_table(tables.table([], tables.PAIRS), tables.PAIRS, layout.table("mine", "pairs"))
    assert run("corpus: mine\nencoders: [good]\n", "mine") == {}
    assert "mine: No caption of 'mine' is paired" in capsys.readouterr().out
    score("mine", "few")
    assert "mine: No caption of 'mine' is paired" in capsys.readouterr().out
    report()
    page = (layout.REPORT / "index.html").read_text()
    assert "No caption of &#39;mine&#39; is paired" in page
    assert "other" in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "corpus: mine\nencoders: [none]\n",
            "No experiment of configs/experiments/mine/ has all its encoders embedded",
        ),
        ("corpus: mine\nencoders: [good]\ncaptions: gpt\n", "no caption source 'gpt'"),
        (
            "corpus: mine\nencoders: [good, poor]\ncaptions: [given, gpt]\n",
            "captions of one source, not of given and gpt",
        ),
        ("corpus: demo\nencoders: [good]\n", "is of corpus 'demo': move it into"),
    ],
)
def test_mistakes_are_named(corpus, text, message):
    with pytest.raises(UserError, match=message):
        run(text)


def test_a_broken_experiment_does_not_keep_others_from_their_numbers(corpus):
    run("corpus: mine\nencoders: [good]\n", "fine")
    with pytest.raises(UserError, match="no caption source 'gpt'"):
        run("corpus: mine\nencoders: [good]\ncaptions: gpt\n", "broken")
    assert set(json.loads((RESULTS / "metrics.json").read_text())) == {"fine"}
    with pytest.raises(UserError, match=r"2 experiments cannot be scored: broken: .*; worse: "):
        run("corpus: mine\nencoders: [poor]\ncaptions: gpt\n", "worse")


def test_unchanged_cells_are_taken_from_the_store_and_give_the_same_bytes(corpus, monkeypatch, capsys):
    computed = []
    original = cells.compute
    monkeypatch.setattr(
        "stages.score.command.compute", lambda *given: computed.append(given[0].name) or original(*given)
    )

    def files():
        return {path.name: path.read_bytes() for path in RESULTS.iterdir()}

    for name, encoders in (("a", "[good]"), ("b", "[good, poor]")):
        Path(f"configs/experiments/mine/{name}.yaml").write_text(f"corpus: mine\nencoders: {encoders}\n")
    score("mine")
    assert computed == ["a", "b"]
    first = files()
    shutil.rmtree(RESULTS)
    score("mine")
    assert computed == ["a", "b"] and files() == first
    assert "2 of 2 experiments scored, 2 of them unchanged" in capsys.readouterr().out
    Path("configs/experiments/mine/a.yaml").write_text("corpus: mine\nencoders: [good]\nnote: seen\n")
    run("corpus: mine\nencoders: [good]\ntransform: csls\n", "c")
    assert computed[2:] == ["c"]  # a note changes no number
    score("mine", "few")
    assert sorted(computed[3:]) == ["a", "b", "c"]
    score("mine", force=True)
    assert sorted(computed[6:]) == ["a", "b", "c"]
    shutil.rmtree("store")
    write_embeddings("poor", {"clips": corpus, "captions": [f"c{i}" for i in range(N)]}, {
        name: np.eye(N, DIM, dtype=np.float32) for name in ("clips", "captions")
    })  # fmt: skip
    score("mine")
    assert computed[9:] == ["b"]
    table = layout.table("mine", "pairs")
    tables.write_table(tables.read_table(table, tables.PAIRS)[:-1], tables.PAIRS, table)
    score("mine")
    assert sorted(computed[10:]) == ["a", "b", "c"]


def test_a_name_that_is_no_corpus_is_said(corpus):
    run("corpus: mine\nencoders: [good]\n", "mine-good")
    with pytest.raises(UserError, match=r"'mine-good' is an experiment: .*`hearonce score mine`"):
        score("mine-good")
    with pytest.raises(UserError, match=r"No corpus 'mime' in params\.yaml: did you mean 'mine'"):
        score("mime")


def test_a_damaged_cell_is_computed_again(corpus, capsys):
    metrics = run("corpus: mine\nencoders: [poor]\n")
    (path,) = (Store.default().root / "scores").iterdir()
    good = path.read_bytes()
    data = bytearray(good)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    capsys.readouterr()
    assert run("corpus: mine\nencoders: [poor]\n") == metrics
    assert "one is computed again: " in capsys.readouterr().out
    assert path.read_bytes() == good


def test_each_embedding_is_read_once_however_many_experiments_there_are(corpus, monkeypatch):
    read = []
    numpy = Artifact.numpy
    monkeypatch.setattr(Artifact, "numpy", lambda artifact: read.append(artifact.path) or numpy(artifact))
    for name, encoders in (("a", "[good]"), ("b", "[good]"), ("c", "[good, poor]")):
        Path(f"configs/experiments/mine/{name}.yaml").write_text(f"corpus: mine\nencoders: {encoders}\n")
    score("mine")
    assert len(read) == len(set(read)) == 4  # clips and captions of two encoders


def test_an_encoder_that_was_removed_from_params_is_named(corpus, capsys):
    run("corpus: mine\nencoders: [good]\n")
    assert "does not list" not in capsys.readouterr().out
    run("corpus: mine\nencoders: [poor]\n", "two")
    line = capsys.readouterr().out.splitlines()[-1]
    assert "poor scored though `embeddings` of params.yaml does not list mine for it" in line
    assert "delete data/embeddings/mine/poor" in line and "good" not in line
