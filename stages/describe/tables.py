"""From answers to tables: the captions of a further source, and what the corpus says of the captions they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from cache import tables as schemas
from cache.answers import Answer
from pipeline.config import layout
from pipeline.monitor.summary import Summary
from pipeline.runner.previous_outputs import previous_table
from stages.describe.engine import LEVELS


@dataclass(frozen=True)
class Described:
    """One description of a corpus.

    Attributes:
        source: `described-NAME`.
        rows: `cache.tables.DESCRIPTIONS`, one per caption of the source that was described.
    """

    source: str
    rows: pl.DataFrame


def described(
    source: str,
    captions: Sequence[tuple[str, str]],
    descriptions: Mapping[str, str],
    levels: Mapping[str, str],
    model: str,
) -> Described:
    """The rows of a description: each caption with its answers.

    Args:
        source: of the new captions.
        captions: (caption id, text) of those that were described.
        descriptions: by text, where there is one.
        levels: of relevancy, likewise.
        model: that answered.
    """
    rows = [
        {
            "source": source,
            "caption_id": caption_id,
            "text": text,
            "description": descriptions.get(text),
            "level": levels.get(text),
            "model": model,
        }
        for caption_id, text in captions
    ]
    return Described(source, schemas.table(rows, schemas.DESCRIPTIONS))


def added_rows(descriptions: Sequence[Described], corpus: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Rows that descriptions add to the canonical tables.

    Each caption that has a description becomes one more, `SOURCE:ID`, of the same clips, relevancy and questions, so
    that two sources are scored on the same queries. Captions keep their number where two descriptions have the same
    words. A clip's level is the highest among its captions; a question's is its caption's.

    Args:
        descriptions: of the corpus.
        corpus: tables `pairs`, `relevancy`, `questions` of ingest.

    Returns:
        `captions`, `pairs`, `relevancy`, `questions`, `subsets` and `descriptions`.
    """
    found: dict[str, list[pl.DataFrame]] = {
        "captions": [schemas.table([], schemas.CAPTIONS)],
        "pairs": [schemas.table([], schemas.PAIRS)],
        "relevancy": [schemas.table([], schemas.RELEVANCY)],
        "questions": [schemas.table([], schemas.QUESTIONS)],
        "subsets": [schemas.table([], schemas.SUBSETS)],
        "descriptions": [schemas.table([], schemas.DESCRIPTIONS)],
    }
    for part in descriptions:
        found["descriptions"].append(part.rows)
        answered = part.rows.filter(pl.col("description").is_not_null())
        new_id = pl.format("{}:{}", pl.lit(part.source), "caption_id")
        found["captions"].append(
            answered.select(new_id.alias("caption_id"), pl.col("description").alias("text"), "source")
        )
        renamed = answered.select("caption_id", new_id=new_id)
        for name in ("pairs", "relevancy", "questions"):
            table = corpus[name]
            joined = table.join(renamed, on="caption_id", how="inner", maintain_order="left")
            found[name].append(joined.with_columns(caption_id="new_id").select(table.columns))
        found["subsets"].append(_levels(part, corpus))
    return {name: pl.concat(frames) for name, frames in found.items()}


def _levels(part: Described, corpus: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    order = {level: rank for rank, level in enumerate(LEVELS)}
    levels = part.rows.filter(pl.col("level").is_not_null()).select(
        "caption_id", rank=pl.col("level").replace_strict(order, return_dtype=pl.Int64)
    )
    clips = (
        corpus["pairs"]
        .join(levels, on="caption_id", maintain_order="left")
        .group_by("clip_id", maintain_order=True)
        .agg(pl.col("rank").max())
    )
    questions = corpus["questions"].join(levels, on="caption_id", maintain_order="left")
    kinds = {
        "clip": clips.select(id="clip_id", rank="rank"),
        "caption": levels.select(id="caption_id", rank="rank"),
        "question": questions.select(id="question_id", rank="rank"),
    }
    frames = [
        rows.filter(pl.col("rank") == rank).select(
            subset=pl.lit(f"{part.source}-{level}"), kind=pl.lit(kind), id=pl.col("id")
        )
        for rank, level in enumerate(LEVELS)
        for kind, rows in kinds.items()
    ]
    return pl.concat(frames)


class PreviousAnswers:
    """The answers of the output that dvc.lock names, read once and only if an answer is missing."""

    def __init__(self, corpus: str, summary: Summary) -> None:
        self._corpus, self._summary = corpus, summary
        self._found: dict[str, list[Answer]] | None = None

    def answers(self) -> dict[str, list[Answer]]:
        """By fingerprint."""
        if self._found is None:
            self._found = {}
            with self._summary.timed("warm"):
                table = previous_table(
                    layout.described(self._corpus, "answers"), schemas.ANSWERS, self._summary.add_note
                )
            for row in table.iter_rows(named=True):
                self._found.setdefault(row.pop("fingerprint"), []).append(Answer(**row))
        return self._found
