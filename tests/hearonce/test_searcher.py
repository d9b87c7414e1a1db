"""A searcher kept in a process while tables, embeddings and subsets are replaced under it."""

import shutil
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.cache.measure import keys
from benchmarks.search.made_up import CORPUS, ENCODER, make_project
from cache.artifact import write_blocks
from cache.errors import UserError
from cache.rows import RowFormat, Rows
from hearonce.made_of_files import MOST_KEPT
from hearonce.ranking import Query
from hearonce.searcher import KEPT_RANKINGS, Searcher
from pipeline.config import layout

N, FORMAT = 400, RowFormat(8, "float32")


@pytest.fixture
def twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of a corpus in which the clips 2 i and 2 i + 1 are like each other."""
    make_project(tmp_path / "project", N)
    monkeypatch.chdir(tmp_path / "project")
    ids = pl.read_parquet(layout.table(CORPUS, "clips"))["clip_id"].to_list()
    embed(ids, 0)
    return ids


def embed(ids: list[str], seed: int) -> None:
    """Writes embeddings with rows in another order."""
    draw = np.random.default_rng(seed)
    rows = np.repeat(draw.standard_normal((N // 2, 8)), 2, axis=0) + draw.standard_normal((N, 8)) / 1000
    order = draw.permutation(N)
    part = Rows(FORMAT, keys(N), rows[order].astype(np.float32))
    path = layout.embeddings(CORPUS, ENCODER, "clips")
    write_blocks(path, FORMAT, [ids[row] for row in order], N, [part], {"modality": "clips", "encoder": ENCODER,
                 "fingerprint": f"{seed:032d}"})  # fmt: skip


def like(searcher: Searcher, clip: str, **more: object) -> list[str]:
    ranking = searcher.ranking(Query(CORPUS, "clip", clip, **more))
    return ranking.corpus.table["clip_id"].gather(ranking.first(3)).to_list()


def test_embeddings_replaced_while_they_are_searched_give_no_wrong_ids(twins):
    searcher, wrong, over = Searcher("cpu"), [], threading.Event()

    def user(seed):
        draw = np.random.default_rng(seed)
        while not over.is_set():
            number = int(draw.integers(N))
            try:
                found = like(searcher, twins[number])
            except UserError as error:
                if "are being replaced" not in str(error):
                    wrong.append(str(error))
                continue
            if found[0] != twins[number ^ 1]:
                wrong.append((twins[number], found))

    threads = [threading.Thread(target=user, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for seed in range(1, 13):
        embed(twins, seed)
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    assert like(searcher, twins[7])[0] == twins[6]


def test_subsets_and_tables_are_read_again_and_caches_are_bounded(twins):
    searcher = Searcher("cpu")
    subset = Path(f"configs/subsets/{CORPUS}/few.yaml")
    subset.parent.mkdir(parents=True, exist_ok=True)
    for members in (twins[:2], twins[4:7]):
        subset.write_text("clips: " + str(members))
        assert set(like(searcher, twins[0], subset="few")) == set(members) - {twins[0]}
    clips = pl.read_parquet(layout.table(CORPUS, "clips"))
    fewer = clips.filter(pl.col("clip_id") != twins[1])
    fewer.write_parquet("new", metadata={"hearonce.schema": "1"})
    Path("new").replace(layout.table(CORPUS, "clips"))
    assert twins[1] not in like(searcher, twins[0])
    with pytest.raises(UserError, match="has no clip"):
        like(searcher, twins[1])
    for number in range(MOST_KEPT + 5):
        like(searcher, twins[0], where=f"start_s >= {number / 100}")
    assert len(searcher._rankings) == KEPT_RANKINGS and not searcher._made._making
    assert len(searcher._made.keys(("condition",))) == MOST_KEPT
    assert {ranking.corpus for ranking in searcher._rankings.values()} == {searcher.corpus(CORPUS)}


def test_what_is_missing_is_said_with_a_remedy(twins):
    searcher = Searcher("cpu")
    with pytest.raises(UserError, match="No encoder 'none'"):
        searcher.ranking(Query(CORPUS, "text", "a", ("none",)))
    shutil.rmtree(layout.embeddings(CORPUS, ENCODER, "clips"))
    with pytest.raises(UserError, match=r"has embedded its clips .* run `dvc repro`"):
        searcher.ranking(Query(CORPUS, "text", "a"))
    with pytest.raises(UserError, match=f"is missing: list encoder '{ENCODER}'"):
        searcher.ranking(Query(CORPUS, "clip", twins[0], (ENCODER,)))


def test_neighbouring_windows_are_one_result_and_pages_have_each_clip_once(twins):
    ranking = Searcher("cpu").ranking(Query(CORPUS, "clip", twins[0]))
    results = ranking.moments.first(N)
    members = np.concatenate([ranking.moments.rows(row) for row in results.tolist()])
    assert len(results) == ranking.moments.total < ranking.total == N - 1 == len(set(members.tolist()))
    assert (np.diff(ranking.scores[results]) <= 0).all() and results[0] == ranking.first(1)[0]
    for row in results[:20].tolist():
        own = ranking.moments.rows(row)
        assert ranking.scores[own].max() == ranking.scores[row]
        assert ranking.corpus.table["media_id"].gather(own).n_unique() == 1


def test_an_index_is_used_where_no_filter_asks_for_all_scores(twins, monkeypatch, hearonce, capsys):
    pytest.importorskip("faiss")
    monkeypatch.setattr("hearonce.searcher.SMALLEST", N)
    monkeypatch.setattr("hearonce.searcher.MOST_BY_INDEX", 20)
    assert hearonce("index", CORPUS, ENCODER)[0] == 0
    searcher = Searcher("cpu")
    by_index = searcher.ranking(Query(CORPUS, "clip", twins[7]))
    assert by_index.approximate and by_index.total == 19
    exact = searcher.ranking(Query(CORPUS, "clip", twins[7], exact=True))
    assert not exact.approximate and exact.total == N - 1
    assert by_index.first(1)[0] == exact.first(1)[0]
    assert by_index.scores[by_index.first(1)] == pytest.approx(exact.scores[exact.first(1)], abs=1e-6)
    assert not searcher.ranking(Query(CORPUS, "clip", twins[7], where="start_s >= 0")).approximate
    embed(twins, 5)
    after = searcher.ranking(Query(CORPUS, "clip", twins[7]))
    assert not after.approximate and after.corpus.table["clip_id"][int(after.first(1)[0])] == twins[6]
    assert "run `hearonce index` again" in capsys.readouterr().err
