"""Tables of a corpus with descriptions and labels, and subsets of its clips (`configs/subsets/CORPUS/NAME.yaml`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import model_validator

from cache import tables as schemas
from cache.durable import new_file
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.experiments import ALL
from pipeline.config.params import LABELLERS, PARAMS
from pipeline.config.records import Settings, load
from pipeline.console.text import did_you_mean

FOLDER = Path("configs/subsets")
LABELS = {"speech": schemas.SPEECH, "levels": schemas.LEVELS}
"""Tables that stages make of a corpus whose clips are labelled."""


class SubsetConfig(Settings):
    """One way to say which clips belong to a subset.

    Attributes:
        clips: clip ids, or media files and with each all its clips; or `all`.
        where: a condition in SQL on `clip_id`, `media_id`, `start_s`, `stop_s`, `duration_s` (of the clip),
            `media_duration_s`, `has_audio`, `has_video`, and `text`, `source` of its captions: a clip belongs to the
            subset if the condition is true for one of its captions.
        annotated: a subset that comes with the annotations of the corpus, or with descriptions of its captions
            (`described-NAME-low`, `-moderate`, `-high`); or `speech` or `sounds`, where its clips have been labelled by
            whether somebody speaks, `audible` or `silent`, by how loud they are.
    """

    clips: list[str] | Literal["all"] | None = None
    where: str | None = None
    annotated: str | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> SubsetConfig:
        if sum(one is not None for one in (self.clips, self.where, self.annotated)) != 1:
            raise ValueError("give one of clips, where and annotated")
        return self


def read_subset(corpus: str, name: str, note: Callable[[str], None] = print) -> set[str]:
    """Ids of the clips in a subset; also of the captions or questions that annotations which bring it count in.

    Args:
        corpus: whose subset.
        name: file name without suffix.
        note: called with ids that name no clip: a typo, or a medium that could not be read.

    Raises:
        UserError: there is no such file, or nothing belongs to the subset.
    """
    path = FOLDER / corpus / f"{name}.yaml"
    if not path.is_file():
        known = [one.stem for one in path.parent.glob("*.yaml")]
        raise UserError(f"No subset {name!r} of {corpus!r} ({path} is missing): {did_you_mean(name, known)}")
    config = load(path, SubsetConfig)
    if config.clips is not None:
        table = schemas.read_table(layout.table(corpus, "clips"), schemas.CLIPS)
        if config.clips == ALL:
            return set(table["clip_id"])
        return _listed(config.clips, dict(table.select("clip_id", "media_id").iter_rows()), path, note)
    if config.annotated is not None:
        return _annotated(corpus, config.annotated, path)
    chosen = set(clips_where(corpus, config.where or "", str(path)))
    if not chosen:
        raise UserError(f"{path}: no clip of {corpus!r} fulfils `where: {config.where}`.")
    return chosen


def _listed(wanted: Sequence[str], media_of: Mapping[str, str], path: Path, note: Callable[[str], None]) -> set[str]:
    """By clip, by medium, or by the video that begins the clip's id (a whole one of Ego4D has many media)."""
    of_media: dict[str, list[str]] = {}
    for clip_id, media_id in media_of.items():
        for name in {media_id, clip_id.rpartition("@")[0]}:
            of_media.setdefault(name, []).append(clip_id)
    known = media_of.keys()
    chosen: set[str] = set()
    unknown: list[str] = []
    for one in wanted:
        if one not in known and one not in of_media:
            unknown.append(one)
            continue
        chosen.update([one] if one in known else of_media[one])
    messages = [f"{one!r} names no clip ({did_you_mean(one, [*known, *of_media])})" for one in unknown[:3]]
    if not chosen:
        raise UserError(f"{path} names no clip{': ' if messages else '.'}{'; '.join(messages)}")
    if messages:
        note(f"{path}: {messages[0]}" + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""))
    return chosen


def _annotated(corpus: str, name: str, path: Path) -> set[str]:
    table = read_extended(corpus, "subsets")
    chosen = table.filter(pl.col("subset") == name)["id"]
    for labels, schema in LABELS.items():
        if chosen.is_empty() and layout.table(corpus, labels).is_file():
            labelled = schemas.read_table(layout.table(corpus, labels), schema)
            chosen = labelled.filter(pl.col("subset") == name)["clip_id"]
            table = pl.concat([table.select("subset"), labelled.select("subset")])
    if chosen.is_empty():
        known = table["subset"].unique().to_list()
        label = {"speech": "speech", "sounds": "speech", "audible": "levels", "silent": "levels"}.get(name)
        if label is not None and layout.table(corpus, label).is_file():
            remedy = "no clip has been labelled so"
        elif label is not None:
            entry = f"{corpus}-{label}: {{corpus: {corpus}, label: {label}, encoder: {LABELLERS[label]}}}"
            remedy = f"add `{entry}` to `labels:` of {PARAMS} to have its clips labelled"
        else:
            remedy = f"`hearonce ingest {corpus}` says if files of it are missing"
        raise UserError(f"{path}: corpus {corpus!r} has no subset {name!r} ({remedy}), {did_you_mean(name, known)}")
    return set(chosen)


def clips_where(corpus: str, condition: str, source: str) -> list[str]:
    """Ids of the clips that fulfil a condition in SQL, see `SubsetConfig`; a clip may be named more than once.

    Args:
        corpus: whose clips.
        condition: as behind `WHERE`.
        source: what asks, for the error.

    Raises:
        UserError: the condition cannot be understood.
    """

    def table(name: str, schema: schemas.Schema) -> pl.LazyFrame:
        return schemas.read_table(layout.table(corpus, name), schema).lazy()

    media = table("media", schemas.MEDIA).select(
        "media_id", "has_audio", "has_video", media_duration_s=pl.col("duration_s")
    )
    clips = (
        table("clips", schemas.CLIPS)
        .with_columns(duration_s=pl.col("stop_s") - pl.col("start_s"))
        .join(media, on="media_id", how="left")
        .join(read_extended(corpus, "pairs").lazy(), on="clip_id", how="left")
        .join(read_extended(corpus, "captions").lazy(), on="caption_id", how="left")
    )
    try:
        found = pl.SQLContext(clips=clips).execute(f"SELECT clip_id FROM clips WHERE {condition}").collect()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0].partition("; valid columns")[0] if str(error) else type(error).__name__
        columns = ", ".join(clips.collect_schema().names())
        raise UserError(
            f"{source}: `where: {condition}` cannot be understood ({reason}); columns: {columns}."
        ) from None
    return found["clip_id"].to_list()


EXTENDED = {
    "captions": schemas.CAPTIONS,
    "pairs": schemas.PAIRS,
    "relevancy": schemas.RELEVANCY,
    "questions": schemas.QUESTIONS,
    "subsets": schemas.SUBSETS,
}
"""Tables to which describe adds rows: its captions are further caption sources of the same clips."""


KINDS = "hearonce.kinds"
"""Note of the media table: the kinds of those media that have one, by digest."""


def kinds_note(kinds: Mapping[str, str]) -> dict[str, str]:
    """The note that a media table is written with; none, and so the same bytes as ever, where no medium has a kind."""
    kinds = {digest: kind for digest, kind in kinds.items() if kind}
    return {KINDS: json.dumps(kinds, sort_keys=True)} if kinds else {}


def media_kinds(corpus: str) -> dict[str, str]:
    """The kinds (`pipeline.media.length`) of the media of a corpus that have one, by digest."""
    return json.loads(schemas.read_note(layout.table(corpus, "media"), KINDS) or "{}")


def read_extended(corpus: str, name: str) -> pl.DataFrame:
    """A table of `EXTENDED`: the rows of ingest, then those of describe, if that has run.

    Raises:
        UserError: a table is missing, damaged or of another schema.
    """
    table = schemas.read_table(layout.table(corpus, name), EXTENDED[name])
    described = layout.described(corpus, name)
    if not described.exists():
        return table
    return pl.concat([table, schemas.read_table(described, EXTENDED[name])])


def write_all_subset(corpus: str) -> None:
    """Writes `configs/subsets/<corpus>/all.yaml` if there is none: DVC watches a file for every subset."""
    path = FOLDER / corpus / f"{ALL}.yaml"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as temporary:
            temporary.write_text("# Every clip of the corpus.\nclips: all\n", encoding="utf-8")
