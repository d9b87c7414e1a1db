"""Media that an older version read wrongly: found by their packets, and what was made of them dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cache.digests import DigestMemory
from cache.location import Store
from cache.tables import AUDIO, MEDIA, SPANS, read_table
from pipeline.commands.cache.audio import drop
from pipeline.commands.cache.gc import drop_rows
from pipeline.commands.cache.inventory import keys_of_spans, store_paths
from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import PARAMS, load_params
from pipeline.config.subsets import media_kinds
from pipeline.console.tables import print_json, print_records
from pipeline.console.text import counted
from pipeline.media.audio_store import recipe
from pipeline.media.containers import MediaError
from pipeline.media.length import rendition
from pipeline.media.location import Source, held, open_place
from pipeline.media.probe import MediaInfo, probe, recalled, remember
from pipeline.monitor.problems import EXIT_PROBLEMS

SAME_S = 1e-6
"""Durations closer than this are equal."""


@dataclass(frozen=True)
class Outdated:
    """A medium whose row in the media table, or extracted audio, is not what its packets say.

    Attributes:
        corpus: whose media table names it.
        path: of the medium, as the table has it.
        digest: of its bytes.
        duration_s: in the table.
        right_duration_s: by its packets.
        kind: of the medium (`pipeline.media.length`) in the table.
        right_kind: by its packets.
        recipe: of its extracted audio; empty if there is none.
        right_recipe: that it ought to have.
    """

    corpus: str
    path: str
    digest: str
    duration_s: float
    right_duration_s: float
    kind: str
    right_kind: str
    recipe: str
    right_recipe: str

    @property
    def reason(self) -> str:
        """What is wrong, in a sentence."""
        reasons = []
        if abs(self.duration_s - self.right_duration_s) > SAME_S:
            reasons.append(f"lasts {self.right_duration_s:.3f} s, the table says {self.duration_s:.3f} s")
        if self.kind != self.right_kind:
            reasons.append(f"is {self.right_kind.replace('+', ', ') or 'plain'}")
        if self.recipe and self.recipe != self.right_recipe:
            reasons.append(f"its audio was extracted as {self.recipe}, not {self.right_recipe}")
        return "; ".join(reasons)


def find_outdated(read: bool = True) -> tuple[list[Outdated], list[str]]:
    """Compares the media tables of the project with the packets of the media; nothing is decoded.

    Args:
        read: packets of media that no run of this version has read yet; otherwise those media are passed over.

    Returns:
        (outdated media, what could not be compared and why).
    """
    found: list[Outdated] = []
    unknown: list[str] = []
    remembered = Store.default().digests
    if not read and not remembered.is_file():
        return [], []
    memory = DigestMemory(remembered)
    for corpus, entry in (load_params().corpora if PARAMS.is_file() else {}).items():
        table = layout.table(corpus, "media")
        if not table.is_file():
            continue
        settings, sources, kinds = load_corpus(corpus).audio, open_place(entry.media), media_kinds(corpus)
        manifest = layout.audio(corpus)
        recipes: dict[str, str] = {}
        if manifest.is_file():
            recipes = dict(read_table(manifest, AUDIO).select("digest", "recipe").iter_rows())
        for row in read_table(table, MEDIA).iter_rows(named=True):
            digest = row["digest"]
            try:
                info = recalled(memory, digest)
                if info is None and read:
                    info = _read(memory, digest, sources.source(row["path"]))
            except (MediaError, OSError) as error:
                unknown.append(f"{corpus}: {row['path']}: {getattr(error, 'strerror', None) or error}")
                continue
            if info is None:
                continue
            medium = Outdated(
                corpus,
                row["path"],
                digest,
                row["duration_s"],
                info.duration_s,
                kinds.get(digest, ""),
                info.kind,
                recipes.get(digest, ""),
                recipe(settings, info.kind),
            )
            if medium.reason:
                found.append(medium)
    memory.close()
    return found, unknown


def _read(memory: DigestMemory, digest: str, source: Source) -> MediaInfo:
    with held(source, digest) as medium:
        info = probe(medium.path)
    remember(memory, digest, info)
    return info


def verify_outdated(as_json: bool) -> None:
    """`hearonce cache verify --outdated`; exit code 3 if anything is."""
    found, unknown = find_outdated()
    _print(found, unknown, as_json)
    if found:
        if not as_json:
            print(
                "`dvc repro` makes what belongs to them anew, and nothing else; `hearonce cache repair` drops the old."
            )
        raise SystemExit(EXIT_PROBLEMS)


def drop_outdated(dry_run: bool, as_json: bool, read: bool = True) -> bool:
    """`hearonce cache repair --outdated`: drops rows and extracted audio that the wrong readings led to.

    Rows that a right reading would ask for by the same key stay.

    Args:
        dry_run: only say what would be dropped.
        as_json: for programs.
        read: packets of media that no run of this version has read; without it those media are passed over.

    Returns:
        Whether anything was outdated.
    """
    found, unknown = find_outdated(read)
    if not read and not found:
        return False
    keys, digests = _wrong_keys(found), {medium.digest for medium in found}
    stores = store_paths(Store.default().rows) if len(keys) else []
    rows = sum(n for _, n in drop_rows(stores, keys, dry_run))
    files = list(_wrong_audio(found))
    drop(files, dry_run=dry_run)
    _print(found, unknown, as_json)
    if found and not as_json:
        verb = "would be" if dry_run else "were"
        what = f"{counted(rows, 'row')} and {counted(len(files), 'audio file')}"
        print(f"{what} of {counted(len(digests), 'medium', 'media')} {verb} dropped; `dvc repro` makes them anew.")
    return bool(found)


def _wrong_keys(found: list[Outdated]) -> np.ndarray:
    """Keys of rows that were made from wrong readings: uint8 (n, 16)."""
    keys = [np.zeros((0, 16), np.uint8)]
    for corpus in {medium.corpus for medium in found}:
        table = layout.table(corpus, "spans")
        if not table.is_file():
            continue
        spans = read_table(table, SPANS)
        wrong = {medium.digest: medium for medium in found if medium.corpus == corpus}
        changed = [digest for digest, medium in wrong.items() if medium.kind != medium.right_kind]
        ends = {digest: min(medium.duration_s, medium.right_duration_s) for digest, medium in wrong.items()}
        end = pl.col("media_digest").replace_strict(ends, default=np.inf, return_dtype=pl.Float64)
        bad = pl.col("media_digest").is_in(changed) | (pl.col("stop_s") > end - SAME_S)
        clips = spans.filter(bad)["clip_id"].unique()
        spans = spans.filter(pl.col("clip_id").is_in(clips.implode()))
        renditions = {
            "",
            *(medium.recipe for medium in wrong.values()),
            *(rendition(medium.kind, "video") for medium in wrong.values()),
        }
        keys += keys_of_spans(spans, sorted(renditions))
    return np.concatenate(keys)


def _wrong_audio(found: list[Outdated]) -> Iterator[Path]:
    """Extracted audio, by whatever settings, that is not of the kind that it ought to be."""
    for digest, kind in sorted({(medium.digest, medium.right_kind) for medium in found}):
        ending = rendition(kind, "audio")
        for file in sorted(Store.default().audio.glob(f"*/{digest[:2]}/{digest}.flac")):
            plain, special = "-".join(file.parts[-3].split("-")[:3]), "-".join(file.parts[-3].split("-")[3:])
            if plain and special != ending:
                yield file


def _print(found: list[Outdated], unknown: list[str], as_json: bool) -> None:
    if as_json:
        print_json({"outdated": [asdict(medium) | {"reason": medium.reason} for medium in found], "unknown": unknown})
        return
    if found:
        lines = [{"corpus": medium.corpus, "medium": medium.path, "reason": medium.reason} for medium in found]
        print_records(f"{counted(len(found), 'medium', 'media')} read wrongly by an older version", lines)
    else:
        print("No medium is outdated.")
    for line in unknown:
        print(f"not compared: {line}")
