"""`hearonce score` over tables and embedding caches gives the numbers of whole runs of audio_egovlp."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cache import tables
from cache.artifact import write_artifact
from cache.keys import caption_key
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.config import layout
from stages.score.command import score, score_subset

GOLDEN = Path(__file__).parent / "golden"
RUNS = json.loads((GOLDEN / "epic_run.json").read_text())
MCQ = json.loads((GOLDEN / "metrics.json").read_text())["egomcq"]
EXPERIMENTS = {
    "audio_nodual": "encoders: [aud]\ncaptions: gpt\n",
    "audio_dual": "encoders: [aud]\ncaptions: gpt\ntransform: dual-softmax\n",
    "both_nodual": "encoders: [vid, aud]\ncaptions: [visual, gpt]\n",
}
MEANS = {
    "ndcg_vt": ("clip_to_text", "nDCG"),
    "ndcg_tv": ("text_to_clip", "nDCG"),
    "map_vt": ("clip_to_text", "mAP"),
    "map_tv": ("text_to_clip", "mAP"),
}
RANKS = {"R@1": "R@1", "R@5": "R@5", "R@10": "R@10", "MedR": "R@MedR", "MeanR": "R@MeanR"}


def write(corpus, name, rows):
    schema = getattr(tables, name.upper())
    tables.write_table(tables.table(rows, schema), schema, layout.table(corpus, name))


def write_clips(corpus, ids):
    places = [{"media_id": one, "media_path": one, "media_digest": "", "start_s": 0.0, "stop_s": 1.0} for one in ids]
    write(corpus, "clips", [{"clip_id": one, **place} for one, place in zip(ids, places, strict=True)])


def embed(corpus, encoder, modality, vectors):
    """Rows of equal content have one key, as captions of equal text have."""
    matrix = np.array(list(vectors.values()), np.float32)
    store = RowStore.ensure(f"store/{corpus}/{encoder}", modality, "0" * 32, RowFormat(matrix.shape[1]))
    keys = [caption_key(row.tobytes().hex()) for row in matrix]
    store.append(*zip(*dict(zip(keys, matrix, strict=True)).items(), strict=True)) if keys else None
    description = {"modality": modality, "encoder": encoder, "fingerprint": ""}
    write_artifact(layout.embeddings(corpus, encoder, modality), list(vectors), keys, store, description)


@pytest.fixture
def epic(project):
    """The golden run as a corpus, with a clip that no encoder has embedded and captions that must not count."""
    with np.load(GOLDEN / "epic_run.npz") as stored:
        arrays = dict(stored)
    labels, noise = arrays["lab"], np.random.default_rng(0)
    clips = [f"P01_{number}" for number in range(len(labels))]
    named = [clips[first] for first in arrays["order"]]
    label_of = {clips[first]: labels[first] for first in arrays["order"]}
    write_clips("epic", ["P00_lost", *clips])
    captions, pairs, relevancy = [], [("P00_lost", "visual:P00_lost"), ("P00_lost", "gpt:P00_lost")], []
    for source, text, grades in (
        ("visual", "caption {}", noise.random(arrays["rel"].shape)),
        ("gpt", "The sound of {}.", arrays["rel"]),
    ):
        captions += [(f"{source}:{one}", text.format(label_of[one]), source) for one in named]
        captions.append((f"{source}:P00_lost", text.format("nothing"), source))
        sentence = {label_of[one]: f"{source}:{one}" for one in named}
        pairs += [(clip, sentence[label]) for clip, label in zip(clips, labels, strict=True)]
        relevancy += [
            (clips[row], f"{source}:{named[column]}", grades[row, column]) for row, column in np.argwhere(grades)
        ]
        relevancy += [("P00_lost", f"{source}:{one}", 1.0) for one in ["P00_lost", *named]]
    write("epic", "captions", [dict(zip(("caption_id", "text", "source"), one, strict=True)) for one in captions])
    write("epic", "pairs", [{"clip_id": clip, "caption_id": one} for clip, one in pairs])
    write("epic", "relevancy", [{"clip_id": a, "caption_id": b, "relevancy": float(c)} for a, b, c in relevancy])
    write("epic", "subsets", [{"subset": "most", "kind": "clip", "id": one} for one in clips])
    for encoder, source, rows in (("aud", "gpt", arrays["cap_t"]), ("vid", "visual", arrays["cap_v"])):
        embed("epic", encoder, "clips", dict(zip(clips, arrays[encoder], strict=True)))
        texts = {f"{source}:{one}": rows[label_of[one]] for one in named}
        others = {one: noise.standard_normal(rows.shape[1]) for one, _, _ in captions if one not in texts}
        embed("epic", encoder, "captions", {**others, **texts})
    for folder in ("experiments", "subsets"):
        Path(f"configs/{folder}/epic").mkdir()
    for name, text in EXPERIMENTS.items():
        text = f"corpus: epic\nprotocol: multi-instance\n{text}"
        Path(f"configs/experiments/epic/{name}.yaml").write_text(text)
    Path("configs/subsets/epic/most.yaml").write_text("annotated: most\n")
    Path("params.yaml").write_text(
        "corpora: {epic: {media: m, annotations: a}}\nembeddings: {}\n"
        "experiments: {audio_nodual: {corpus: epic, encoder: aud}, audio_dual: {corpus: epic, encoder: aud}}\n"
        "fusions: {both_nodual: {corpus: epic, encoder: vid, second: aud}}\n"
        "subsets: {epic-most: {corpus: epic, subset: most}}\n"
    )
    return arrays


def numbers(folder):
    return json.loads((folder / "metrics.json").read_text())


def assert_golden(metrics, name):
    for theirs, (direction, metric) in MEANS.items():
        assert metrics[direction][metric] == pytest.approx(RUNS[name][theirs], abs=1e-6), theirs
    for direction, theirs in (("clip_to_text", "V2T"), ("text_to_clip", "T2V")):
        printed = re.search(rf"{theirs} (R@1: .*)", RUNS[name]["text"])
        for metric, label in RANKS.items() if printed else ():
            value = float(re.search(rf"{label}: ([\d.]+)", printed[1])[1])
            assert metrics[direction][metric] == pytest.approx(value, abs=1e-6), label


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_multi_instance_retrieval_from_tables(epic, name):
    score(name)
    assert_golden(numbers(layout.results(name)), name)
    assert json.loads((layout.results(name) / "details.json").read_text())["n_clips_missing"] == 1


def test_a_subset_of_all_clips_scores_as_the_run(epic):
    score_subset("epic", "most")
    metrics = numbers(layout.subset_results("epic", "most"))
    for name in EXPERIMENTS:
        assert_golden(metrics[name], name)


def test_a_sentence_to_which_nothing_is_relevant_is_searched_and_found_as_in_the_original(epic):
    """Numbers of utils/mAP.py and utils/nDCG.py of audio_egovlp over `audio_nodual_S` and `rel` with a column of 0.

    There the sentence has nDCG nan, and so has the mean; ours is that of the others.
    """
    silent = f"gpt:P01_{epic['order'][3]}"
    relevancy = tables.read_table(layout.table("epic", "relevancy"), tables.RELEVANCY)
    kept = relevancy.filter(relevancy["caption_id"] != silent).to_dicts()
    write("epic", "relevancy", [*kept, {"clip_id": silent[4:], "caption_id": silent, "relevancy": 0.0}])
    score("audio_nodual")
    folder = layout.results("audio_nodual")
    metrics = numbers(folder)
    assert metrics["clip_to_text"]["nDCG"] == pytest.approx(0.6398229156861373, abs=1e-6)
    assert metrics["clip_to_text"]["mAP"] == pytest.approx(0.8239238886113884, abs=1e-6)
    assert metrics["text_to_clip"]["nDCG"] == pytest.approx(0.6786312630311703, abs=1e-6)
    assert metrics["text_to_clip"]["mAP"] == pytest.approx(0.8235189011130768, abs=1e-6)
    queries = pl.read_parquet(folder / "queries.parquet").filter(pl.col("query_id") == silent)
    assert queries["average_precision"].to_list() == [0.0] and queries["ndcg"].is_nan().to_list() == [True]


@pytest.mark.filterwarnings("error")
def test_a_subset_in_which_nothing_is_relevant_has_no_ndcg(epic):
    relevancy = tables.read_table(layout.table("epic", "relevancy"), tables.RELEVANCY)
    write("epic", "relevancy", relevancy.filter(relevancy["clip_id"] != "P01_0").to_dicts())
    Path("configs/subsets/epic/alone.yaml").write_text("clips: [P01_0]\n")
    score_subset("epic", "alone")
    folder = layout.subset_results("epic", "alone")
    assert numbers(folder)["audio_nodual"]["average"] == {"mAP": 0.0, "nDCG": None}
    details = json.loads((folder / "details.json").read_text())["audio_nodual"]
    assert details["intervals"]["average"] == {"mAP": [0.0, 0.0]}


def test_a_sentence_counts_even_if_no_clip_has_it_as_its_own(epic):
    """Two sentences that read the same are two queries, as two rows of the reference's sentence file are."""
    score("audio_nodual")
    before = numbers(layout.results("audio_nodual"))
    pairs = tables.read_table(layout.table("epic", "pairs"), tables.PAIRS).rows()
    captions = tables.read_table(layout.table("epic", "captions"), tables.CAPTIONS).rows()
    twin, original = next(one for one in captions if one[0].startswith("gpt:P01")), captions[-2]
    write(
        "epic",
        "captions",
        [
            {"caption_id": id, "text": twin[1] if id == original[0] else text, "source": source}
            for id, text, source in captions
        ],
    )
    changed = [(clip, twin[0] if one == original[0] else one) for clip, one in pairs]
    write("epic", "pairs", [{"clip_id": clip, "caption_id": one} for clip, one in changed])
    score("audio_nodual")
    details = json.loads((layout.results("audio_nodual") / "details.json").read_text())
    assert details["counts"]["text_to_clip"]["n_queries"] == len(epic["order"])
    assert numbers(layout.results("audio_nodual")) != before


@pytest.fixture
def mcq(project):
    """Questions whose cosines are the golden similarities, scaled into -1 to 1."""
    with np.load(GOLDEN / "metrics_egovlp.npz") as stored:
        sims, answers, kinds = stored["mcq_pred"][:, 0] / 10, stored["mcq_label"], stored["mcq_type"]
    ids = [[f"{number}-{option}" for option in range(5)] for number in range(len(sims))]
    flat = [one for five in ids for one in five]
    write_clips("ego", flat)
    write("ego", "captions", [{"caption_id": "c", "text": "someone talks", "source": "visual"}])
    write(
        "ego",
        "questions",
        [
            {"question_id": str(number), "caption_id": "c", "clip_ids": five, "answer": int(answer), "type": kind}
            for number, (five, answer, kind) in enumerate(
                zip(ids, answers, np.where(kinds == 1, "inter", "intra"), strict=True)
            )
        ],
    )
    intra = [{"subset": "intra", "kind": "question", "id": str(number)} for number in np.flatnonzero(kinds == 2)]
    write("ego", "subsets", intra)
    cosines = sims.astype(np.float64).ravel()
    embed("ego", "aud", "clips", dict(zip(flat, np.stack([cosines, np.sqrt(1 - cosines**2)], 1), strict=True)))
    embed("ego", "aud", "captions", {"c": np.array([1.0, 0.0])})
    for folder in ("experiments", "subsets"):
        Path(f"configs/{folder}/ego").mkdir()
    Path("configs/subsets/ego/intra.yaml").write_text("annotated: intra\n")
    for naming in ("by-type", "audio-egovlp", "egovlp"):
        Path(f"configs/experiments/ego/{naming}.yaml").write_text(
            f"corpus: ego\nprotocol: multiple-choice\nencoders: [aud]\ncaptions: visual\ngroups: {naming}\n"
        )
    Path("params.yaml").write_text(
        "corpora: {ego: {media: m, annotations: a}}\nembeddings: {}\nfusions: {}\n"
        "experiments: {audio-egovlp: {corpus: ego, encoder: aud}, by-type: {corpus: ego, encoder: aud}}\n"
    )


@pytest.mark.parametrize(
    ("naming", "theirs"), [("by-type", "audio_egovlp"), ("audio-egovlp", "audio_egovlp"), ("egovlp", "EgoVLP")]
)
def test_multiple_choice_from_tables(mcq, naming, theirs):
    score(naming)
    metrics = numbers(layout.results(naming))
    assert {name: one["accuracy"] for name, one in metrics.items()} == pytest.approx(
        {name.lower().replace("-", "_"): value for name, value in MCQ[theirs].items()}, abs=1e-6
    )


def test_multiple_choice_on_a_subset_of_questions(mcq):
    score_subset("ego", "intra")
    metrics = numbers(layout.subset_results("ego", "intra"))
    expected = pytest.approx(MCQ["audio_egovlp_only_type2"]["Inter-video"], abs=1e-6)
    assert metrics["audio-egovlp"] == {"inter_video": {"accuracy": expected}}
    assert metrics["by-type"] == {"intra_video": {"accuracy": expected}}
