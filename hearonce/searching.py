"""Search: the clips of a corpus most similar to a text, a file or another clip, over its cached embeddings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
import typer

from cache.errors import UserError
from hearonce.ranking import Query, Ranking
from hearonce.searcher import MOST_BY_INDEX, Searcher
from pipeline.config.params import PARAMS
from pipeline.console.app import AsJson
from pipeline.console.tables import print_json, print_table
from stages.search.saved import check_free
from stages.search.saved import save as save_subset


def search(
    corpus: str,
    text: str | None = None,
    *,
    audio: str | Path | None = None,
    video: str | Path | None = None,
    clip: str | None = None,
    encoders: str | Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    words: float = 0.0,
    top: int = 10,
    subset: str | None = None,
    where: str | None = None,
    exact: bool = False,
    by: str | None = None,
    device: str | None = None,
) -> pl.DataFrame:
    """Finds the clips most similar to a query: by cosine of embeddings, of several encoders the weighted mean.

    Galleries and towers stay open for the next call.

    Args:
        corpus: name in params.yaml.
        text: a query in words, embedded by the caption tower.
        audio: a file with an audio track, embedded by the clip tower; in place of a text.
        video: a file with a video track, likewise.
        clip: id of a clip of the corpus, whose cached embedding is the query; it is left out of the answer.
        encoders: one or more; by default the corpus's only or best scored one that can embed the query. Of one with
            several modalities `ENCODER@MODALITY` is what is searched; `ENCODER` alone, audio and video together.
        weights: one per encoder; equal by default.
        words: share in [0, 1] of full text of the captions in the score; 0 compares embeddings alone.
        top: most clips to return.
        subset: name of `configs/subsets/CORPUS/`: only its clips are searched.
        where: a condition in SQL as in a subset's YAML, likewise.
        exact: whether all clips are compared, also where `hearonce index` has made an index (from 10^5 clips on), which
            gives the nearest 200 clips and misses about one in twenty of them.
        by: of such an encoder, by which modality a clip or file is compared: `by="audio"` with `encoders="pe-av@video"`
            finds videos that go with what the query sounds like.
        device: that encodes the query: `cpu`, `cuda`, ...

    Returns:
        One row per clip, best first: `rank`, `clip_id`, `score` in [-1, 1], `file`, `start_s`, `stop_s`, `captions`.

    Raises:
        UserError: nothing is embedded, an encoder has no tower for the query, or the query cannot be read.

    Example:
        >>> hearonce.search("demo", "a dog barks", top=3)  # doctest: +SKIP
    """
    queries = {"text": text, "audio": audio, "video": video, "clip": clip}
    given = {kind: str(query) for kind, query in queries.items() if query is not None}
    if len(given) != 1:
        raise UserError("Give one query: a text, --audio, --video or --clip.")
    if top < 1:
        raise UserError(f"--top {top}: ask for at least one clip.")
    kind: Literal["text", "audio", "video", "clip"]
    kind, value = next(iter(given.items()))  # type: ignore[assignment]
    names = (encoders,) if isinstance(encoders, str) else tuple(encoders or ())
    query = Query(
        corpus,
        kind,
        value,
        names,
        None if weights is None else tuple(weights),
        words,
        subset,
        where,
        exact or top > MOST_BY_INDEX,
        by,
    )
    return described(searcher(device).ranking(query), top)


@cache
def searcher(device: str | None = None) -> Searcher:
    """The searcher of this process for a device."""
    return Searcher(device)


def described(ranking: Ranking, top: int) -> pl.DataFrame:
    """The first clips of a ranking as `search` returns them."""
    rows = ranking.first(top)
    found = ranking.corpus.table[rows].select("clip_id", "file", "start_s", "stop_s", "captions")
    return found.select(
        pl.Series("rank", np.arange(1, len(rows) + 1), pl.Int64),
        "clip_id",
        pl.Series("score", ranking.scores[rows].astype(np.float64), pl.Float64),
        "file",
        "start_s",
        "stop_s",
        "captions",
    )


def search_command(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    text: Annotated[str | None, typer.Argument(help="What to find, in words.")] = None,
    audio: Annotated[Path | None, typer.Option(help="Find clips like this audio file.")] = None,
    video: Annotated[Path | None, typer.Option(help="Find clips like this video file.")] = None,
    clip: Annotated[str | None, typer.Option(help="Find clips like this clip of the corpus.")] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="An encoder; given twice, their similarities are fused.")
    ] = None,
    weight: Annotated[list[float] | None, typer.Option(help="Of each encoder; equal by default.")] = None,
    words: Annotated[
        float, typer.Option(help="Share of the captions' full text in the score, 0 to 1; else embeddings alone.")
    ] = 0.0,
    top: Annotated[int, typer.Option(min=1, help="Most clips to show.")] = 10,
    subset: Annotated[str | None, typer.Option(help="Search the clips of a subset only.")] = None,
    where: Annotated[str | None, typer.Option(help="Search the clips that fulfil a condition in SQL.")] = None,
    by: Annotated[
        str | None, typer.Option(help="With ENCODER@MODALITY: compare the query's audio, or its video.")
    ] = None,
    device: Annotated[str | None, typer.Option(envvar="HEARONCE_DEVICE", help="cpu, cuda, ...")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare all clips, also where there is an index.")] = False,
    save: Annotated[
        str | None, typer.Option(help="Keep the clips found as this subset, to be searched and scored like any other.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find clips by a text, a file or another clip, over the cached embeddings of a corpus."""
    if save is not None:
        check_free(corpus, save)
    found = search(
        corpus,
        text,
        audio=audio,
        video=video,
        clip=clip,
        encoders=encoder or None,
        weights=weight or None,
        words=words,
        top=top,
        subset=subset,
        where=where,
        exact=exact,
        by=by,
        device=device,
    )
    query = next(str(given) for given in (text, audio, video, clip) if given is not None)
    if save is not None:
        path = save_subset(corpus, save, found["clip_id"].to_list(), f"The best {len(found)} clips for: {query}")
        print(
            f"{path}: {len(found)} clips; `hearonce score {corpus} {save}` scores them, and an entry `{corpus}-{save}: "
            f"{{corpus: {corpus}, subset: {save}}}` under `subsets:` of {PARAMS} has `dvc repro` do so.",
            file=sys.stderr,
        )
    if as_json:
        return print_json(found.to_dicts())
    rows = [
        [
            f"{row['file']} {row['start_s']:.1f}–{row['stop_s']:.1f} s",
            " / ".join(row["captions"]),
            f"{row['score']:.3f}",
        ]
        for row in found.iter_rows(named=True)
    ]
    print_table(f"{corpus}: {query}", ["clip", "captions", "score"], rows, n_left=2)
