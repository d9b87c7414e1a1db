"""Search: the clips of a corpus most similar to a text, a file or another clip, over its cached embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import polars as pl
import typer

from cache.artifact import Artifact, open_artifact
from cache.errors import UserError
from cache.tables import CLIPS, read_table
from pipeline.config import layout
from pipeline.config.params import FEATURES, Params, load_params
from pipeline.config.subsets import clips_where, read_extended, read_subset
from pipeline.console.app import AsJson
from pipeline.console.tables import print_json, print_table
from pipeline.console.text import did_you_mean
from stages.search.gallery import Floats, Gallery, best

if TYPE_CHECKING:
    from stages.embed.encode_files import OpenEncoder

PREFERRED = (("text_to_clip", "mAP"), ("text_to_clip", "R@1"))
"""Direction and metric by which the default encoder is chosen, among experiments on one encoder."""


def search(
    corpus: str,
    text: str | None = None,
    *,
    audio: str | Path | None = None,
    video: str | Path | None = None,
    clip: str | None = None,
    encoders: str | Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    top: int = 10,
    subset: str | None = None,
    where: str | None = None,
    device: str | None = None,
) -> pl.DataFrame:
    """Finds the clips most similar to a query: by cosine of embeddings, of several encoders the weighted mean.

    Args:
        corpus: name in params.yaml.
        text: a query in words, embedded by the caption tower.
        audio: a file with an audio track, embedded by the clip tower; in place of a text.
        video: a file with a video track, likewise.
        clip: id of a clip of the corpus, whose cached embedding is the query; it is left out of the answer.
        encoders: one or more; by default the corpus's only or best scored one that can embed the query.
        weights: one per encoder; equal by default.
        top: most clips to return.
        subset: name of `configs/subsets/CORPUS/`: only its clips are searched.
        where: a condition in SQL as in a subset's YAML, likewise.
        device: that encodes the query: `cpu`, `cuda`, ...

    Returns:
        One row per clip, best first: `rank`, `clip_id`, `score` in [-1, 1], `file`, `start_s`, `stop_s`, `captions`.

    Raises:
        UserError: nothing is embedded, an encoder has no tower for the query, or the query cannot be read.

    Example:
        >>> hearonce.search("demo", "a dog barks", top=3)  # doctest: +SKIP
    """
    queries = {"text": text, "audio": audio, "video": video, "clip": clip}
    given = {kind: query for kind, query in queries.items() if query is not None}
    if len(given) != 1:
        raise UserError("Give one query: a text, --audio, --video or --clip.")
    if text is not None and not text.strip():
        raise UserError("The query is empty: type a few words.")
    if top < 1:
        raise UserError(f"--top {top}: ask for at least one clip.")
    (kind, query), names = next(iter(given.items())), _encoders(corpus, encoders, text is not None)
    if weights is not None and (len(weights) != len(names) or min(weights) < 0 or not sum(weights) > 0):
        raise UserError(f"{len(names)} encoders take as many weights of at least 0, one of them above: got {weights}.")
    galleries = [Gallery(_clips(corpus, name)) for name in names]
    vectors = [_vector(name, gallery, kind, query, device) for name, gallery in zip(names, galleries, strict=True)]
    ids, sims = _fused(galleries, vectors, weights)
    allowed = (
        np.isin(np.array(ids), list(_members(corpus, subset, where))) if subset or where else np.ones(len(ids), bool)
    )
    if clip is not None:
        allowed &= np.array(ids) != clip
    sims = np.where(allowed, sims, -np.inf).astype(np.float32)[None]
    scores, rows = best(sims, min(top, int(allowed.sum())))
    order = np.lexsort((rows[0], -scores[0]))
    return _described(corpus, [ids[row] for row in rows[0][order]], scores[0][order])


def _encoders(corpus: str, named: str | Sequence[str] | None, of_text: bool) -> list[str]:
    params = load_params()
    if corpus not in params.corpora:
        raise UserError(f"No corpus {corpus!r} in params.yaml: {did_you_mean(corpus, list(params.corpora))}")
    if named is not None:
        return [named] if isinstance(named, str) else list(named)
    known = [one for one in sorted(params.encoders_of(corpus)) if not one.startswith(FEATURES)]
    able = [one for one in known if _searchable(corpus, one, of_text)]
    if not able:
        tower = "clips and captions" if of_text else "clips"
        embedded = f" ({', '.join(known)} embed none, or have not been run)" if known else ""
        raise UserError(f"No encoder of {corpus!r} has embedded {tower}{embedded}: run `dvc repro`.")
    return [_best_scored(params, corpus, able)] if len(able) > 1 else able


def _searchable(corpus: str, encoder: str, of_text: bool) -> bool:
    items = ("clips", "captions") if of_text else ("clips",)
    return all(layout.embeddings(corpus, encoder, one).exists() for one in items)


def _best_scored(params: Params, corpus: str, able: Sequence[str]) -> str:
    """Of the encoders the one whose experiment has the best numbers; the first one if none has been scored."""
    import json

    folder = layout.results(corpus, "all")
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        details = json.loads((folder / "details.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return able[0]
    scored = []
    for name, numbers in metrics.items():
        encoders = details.get(name, {}).get("encoders", [])
        if len(encoders) == 1 and encoders[0] in able:
            values = [numbers.get(direction, {}).get(metric) for direction, metric in PREFERRED]
            scored.append((tuple(-1.0 if value is None else float(value) for value in values), encoders[0]))
    return max(scored)[1] if scored else able[0]


def _clips(corpus: str, encoder: str) -> Artifact:
    path = layout.embeddings(corpus, encoder, "clips")
    if not path.exists():
        raise UserError(
            f"{path} is missing: list encoder {encoder!r} under `embeddings` of params.yaml and run `dvc repro`, or "
            f"run `hearonce embed {corpus} {encoder}`."
        )
    return open_artifact(path)


def _vector(name: str, gallery: Gallery, kind: str, query: Any, device: str | None) -> Floats:
    if kind == "clip":
        if query not in gallery.ids:
            raise UserError(f"{gallery.artifact.path} has no clip {query!r}: {did_you_mean(query, gallery.ids)}")
        return gallery.vectors([gallery.ids.index(query)])
    from stages.embed.encode_files import open_encoder
    from stages.embed.encoder import AudioInput

    opened: OpenEncoder = open_encoder(name, device)
    if kind == "text":
        return np.asarray(opened.captions([query]), np.float32)
    takes = "audio" if isinstance(opened.encoder.clip_input, AudioInput) else "video"
    if takes != kind:
        raise UserError(f"Encoder {name!r} embeds {takes}, not {kind}: give --{takes}, or another --encoder.")
    return np.asarray(opened.clips([query]), np.float32)


def _fused(
    galleries: Sequence[Gallery], vectors: Sequence[Floats], weights: Sequence[float] | None
) -> tuple[list[str], Floats]:
    """Ids that all galleries have, in the order of the first, and the weighted mean of their similarities."""
    sims = [gallery.similarities(vector)[0] for gallery, vector in zip(galleries, vectors, strict=True)]
    if len(galleries) == 1:
        return galleries[0].ids, sims[0]
    places = [{one: row for row, one in enumerate(gallery.ids)} for gallery in galleries]
    ids = [one for one in galleries[0].ids if all(one in known for known in places)]
    shares = np.asarray(weights if weights is not None else [1.0] * len(sims), np.float64)
    rows = [np.array([known[one] for one in ids], np.int64) for known in places]
    mixed = sum(share * one[some] for share, one, some in zip(shares / shares.sum(), sims, rows, strict=True))
    return ids, np.asarray(mixed, np.float32)


def _members(corpus: str, subset: str | None, where: str | None) -> set[str]:
    members = None if subset is None else read_subset(corpus, subset)
    if where is not None:
        found = set(clips_where(corpus, where, "--where"))
        members = found if members is None else members & found
    return members or set()


def _described(corpus: str, ids: Sequence[str], scores: Floats) -> pl.DataFrame:
    found = pl.DataFrame(
        {"rank": np.arange(1, len(ids) + 1), "clip_id": list(ids), "score": scores.astype(np.float64)},
        schema={"rank": pl.Int64, "clip_id": pl.String, "score": pl.Float64},
    )
    clips = read_table(layout.table(corpus, "clips"), CLIPS).select(
        "clip_id", "start_s", "stop_s", file=pl.col("media_path")
    )
    texts = (
        read_extended(corpus, "pairs")
        .join(read_extended(corpus, "captions"), on="caption_id")
        .group_by("clip_id", maintain_order=True)
        .agg(captions=pl.col("text").unique(maintain_order=True))
    )
    described = found.join(clips, on="clip_id", how="left").join(texts, on="clip_id", how="left").sort("rank")
    return described.select(
        "rank",
        "clip_id",
        "score",
        "file",
        "start_s",
        "stop_s",
        pl.col("captions").fill_null(pl.lit([], pl.List(pl.String))),
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
    top: Annotated[int, typer.Option(min=1, help="Most clips to show.")] = 10,
    subset: Annotated[str | None, typer.Option(help="Search the clips of a subset only.")] = None,
    where: Annotated[str | None, typer.Option(help="Search the clips that fulfil a condition in SQL.")] = None,
    device: Annotated[str | None, typer.Option(envvar="HEARONCE_DEVICE", help="cpu, cuda, ...")] = None,
    as_json: AsJson = False,
) -> None:
    """Find clips by a text, a file or another clip, over the cached embeddings of a corpus."""
    found = search(
        corpus,
        text,
        audio=audio,
        video=video,
        clip=clip,
        encoders=encoder or None,
        weights=weight or None,
        top=top,
        subset=subset,
        where=where,
        device=device,
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
    query = next(str(one) for one in (text, audio, video, clip) if one is not None)
    print_table(f"{corpus}: {query}", ["clip", "captions", "score"], rows, n_left=2)
