import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from avlnet_samples import CORPUS, N, write_corpus

from cache import tables
from cache.artifact import write_artifact
from cache.errors import UserError
from cache.keys import caption_key
from cache.location import Store
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.config import layout
from pipeline.runner.rows import pair_id
from stages.report.command import report
from stages.score.command import score

DIM = 12
RESULTS = layout.results(CORPUS, "all")


@pytest.fixture
def corpus(project):
    clips = write_corpus()
    (Path("configs/experiments") / CORPUS).mkdir(parents=True)
    (Path("configs/subsets") / CORPUS).mkdir(parents=True)
    (Path("configs/subsets") / CORPUS / "few.yaml").write_text(f"clips: {clips[3:7]}\n")
    Path(f"configs/corpora/{CORPUS}.yaml").write_text("reader: folder\n")
    Path("params.yaml").write_text(
        f"corpora: {{{CORPUS}: {{media: m, annotations: a}}}}\n"
        f"embeddings: {{net: {{corpus: {CORPUS}, encoder: net, config: c, reads: r}}}}\n"
        f"subsets: {{{CORPUS}-all: {{corpus: {CORPUS}, subset: all}}, few: {{corpus: {CORPUS}, subset: few}}}}\n"
    )
    return clips


def write_side(side: str, rows: dict[str, np.ndarray]) -> None:
    modality = "captions" if side.endswith("text") else "clips"
    store = RowStore.ensure("store", modality, side.encode().hex().ljust(32, "0"), RowFormat(DIM))
    keys = [caption_key(side + one) for one in rows]
    store.append(keys, np.stack(list(rows.values())))
    write_artifact(layout.embeddings(CORPUS, "net", side), list(rows), keys, store, {"modality": modality})


def write_sides(clips: list[str], variant: str, wrong: int = 3) -> None:
    """Rows that find each other, save for the first `wrong` ones; the last clip has no sound, the first no picture."""
    random = np.random.default_rng(0)
    hidden = dict(zip(clips, random.standard_normal((N, DIM)).astype(np.float32), strict=True))
    lost = {one: -row if i < wrong else row for i, (one, row) in enumerate(hidden.items())}
    heard, seen = clips[:-1], clips[1:]
    picture = {one: hidden[one] for one in seen}
    if variant == "bi":
        write_side("sound", {one: lost[one] for one in heard})
        write_side("picture", picture)
    elif variant == "tri":
        write_side("text", {f"c{i}": lost[one] for i, one in enumerate(clips)})
        write_side("sound", {one: 0.3 * hidden[one] for one in heard})
        write_side("picture", picture)
    else:
        rows = {pair_id(one, f"c{i}"): lost[one] for i, one in enumerate(clips) if one in heard}
        write_side("sound_text", rows)
        write_side("picture", picture)


def run(**options) -> dict:
    text = "".join(f"{key}: {value}\n" for key, value in options.items())
    Path(f"configs/experiments/{CORPUS}/one.yaml").write_text(
        f"corpus: {CORPUS}\nencoders: [net]\nprotocol: avlnet\n{text}"
    )
    score(CORPUS)
    return json.loads((RESULTS / "metrics.json").read_text())["one"]


@pytest.mark.parametrize(
    ("variant", "directions"),
    [
        ("bi", {"sound_to_picture", "picture_to_sound"}),
        ("tri", {"text_to_sound_picture", "sound_picture_to_text"}),
        ("fused", {"sound_text_to_picture", "picture_to_sound_text"}),
    ],
)
def test_clips_that_lack_a_side_are_left_out(corpus, variant, directions):
    write_sides(corpus, variant)
    metrics = run()
    assert set(metrics) == directions
    n = N - 2  # one without sound, one without picture
    assert all(values["R@1"] == pytest.approx(100 * (n - 2) / n) for values in metrics.values())
    details = json.loads((RESULTS / "details.json").read_text())["one"]
    assert all(one == {"n_queries": n, "n_items": n} for one in details["counts"].values())
    queries = tables.read_table(RESULTS / "queries.parquet", tables.QUERIES)
    assert len(queries) == 2 * n
    curves = [line.split(",")[:2] for line in (RESULTS / "recall.csv").read_text().splitlines()[1:]]
    assert {tuple(one) for one in curves} == {("one", one) for one in directions}
    report()
    assert "R@1" in (layout.REPORT / "index.html").read_text()


def test_missing_clips_count_as_mistakes_where_the_experiment_says_so(corpus):
    write_sides(corpus, "bi", wrong=0)
    assert run()["sound_to_picture"]["R@1"] == 100.0
    for counts, of_few in (("{}", 100.0), ("{few: 10}", 40.0)):
        metrics = run(query_count=100, subset_query_counts=counts)["sound_to_picture"]
        assert metrics["R@1"] == N - 2 and metrics["MedR"] == 1.0
        score(CORPUS, "few")
        few = json.loads((layout.results(CORPUS, "few") / "metrics.json").read_text())
        assert few["one"]["sound_to_picture"]["R@1"] == of_few


def test_ties_follow_the_rule_that_the_experiment_names(corpus):
    alike = {one: np.ones(DIM, np.float32) for one in corpus}
    write_side("sound", alike), write_side("picture", alike)
    assert run()["sound_to_picture"] == {"R@1": 0.0, "R@5": 0.0, "R@10": 0.0, "MedR": (N + 1) / 2}
    assert run(ties="optimistic")["sound_to_picture"]["R@1"] == 100.0
    assert run(ties="several-ranks")["sound_to_picture"] == {
        "R@1": 100.0,
        "R@5": 500.0,
        "R@10": 1000.0,
        "MedR": (N + 1) / 2,
    }


@pytest.mark.parametrize("ties", ["mean", "optimistic", "pessimistic", "several-ranks"])
@pytest.mark.parametrize("variant", ["bi", "tri", "fused"])
def test_the_same_files_come_out_block_by_block(corpus, monkeypatch, variant, ties):
    write_sides(corpus, variant)

    def files():
        shutil.rmtree(Store.default().root / "scores", ignore_errors=True)
        run(ties=ties, query_count=2 * N)
        score(CORPUS, "few")
        folders = RESULTS, layout.results(CORPUS, "few")
        return {path: path.read_bytes() for folder in folders for path in folder.iterdir()}

    whole = files()
    monkeypatch.setenv("HEARONCE_SCORE_MEMORY", "1e-7")
    assert files() == whole


def test_an_encoder_without_sides_is_told(corpus):
    write_side("sound", {one: np.ones(DIM, np.float32) for one in corpus})
    with pytest.raises(UserError, match=r"holds no sides of AVLnet \(found sound\): run `dvc repro`"):
        run()
