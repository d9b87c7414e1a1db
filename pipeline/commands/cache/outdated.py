"""Media that an older version read wrongly: found by their packets, and what was made of them dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.digests import DigestMemory
from cache.errors import UserError
from cache.location import Store
from cache.row_store import RowStore
from cache.upkeep import compaction as maintenance
from pipeline.commands.cache.gc import audio_folders, drop, refuse_shared
from pipeline.commands.cache.inventory import artifact_paths, keys_of_spans, known_renditions, store_paths
from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import PARAMS, load_params
from pipeline.config.subsets import media_kinds
from pipeline.console.tables import AsJson, DryRun, Shared, show_json, show_table
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
    for corpus, place in (load_params().corpora if PARAMS.is_file() else {}).items():
        table = layout.table(corpus, "media")
        if not table.is_file():
            continue
        settings, sources, kinds = load_corpus(corpus).audio, open_place(place.media), media_kinds(corpus)
        manifest = layout.audio(corpus)
        recipes: dict[str, str] = {}
        if manifest.is_file():
            recipes = dict(schemas.read_table(manifest, schemas.AUDIO).select("digest", "recipe").iter_rows())
        for row in schemas.read_table(table, schemas.MEDIA).iter_rows(named=True):
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
            one = Outdated(
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
            if one.reason:
                found.append(one)
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
    _show(found, unknown, as_json)
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
        read: packets of media that no run of this version has read; without it nothing is said where nothing is known.

    Returns:
        Whether anything was outdated.
    """
    found, unknown = find_outdated(read)
    if not read and not found:
        return False
    keys, digests = _wrong_keys(found), {one.digest for one in found}
    stores = store_paths(Store.default().rows) if len(keys) else []
    rows = sum(n for _, n in drop_rows(stores, keys, dry_run))
    files = list(_wrong_audio(found))
    drop(files, dry_run=dry_run)
    _show(found, unknown, as_json)
    if found and not as_json:
        verb = "would be" if dry_run else "were"
        what = f"{counted(rows, 'row')} and {counted(len(files), 'audio file')}"
        print(f"{what} of {counted(len(digests), 'medium', 'media')} {verb} dropped; `dvc repro` makes them anew.")
    return bool(found)


def _wrong_keys(found: list[Outdated]) -> np.ndarray:
    """Keys of rows that were made from wrong readings: uint8 (n, 16)."""
    keys = [np.zeros((0, 16), np.uint8)]
    for corpus in {one.corpus for one in found}:
        table = layout.table(corpus, "spans")
        if not table.is_file():
            continue
        spans = schemas.read_table(table, schemas.SPANS)
        wrong = {one.digest: one for one in found if one.corpus == corpus}
        changed = [digest for digest, one in wrong.items() if one.kind != one.right_kind]
        ends = {digest: min(one.duration_s, one.right_duration_s) for digest, one in wrong.items()}
        end = pl.col("media_digest").replace_strict(ends, default=np.inf, return_dtype=pl.Float64)
        bad = pl.col("media_digest").is_in(changed) | (pl.col("stop_s") > end - SAME_S)
        clips = spans.filter(bad)["clip_id"].unique()
        spans = spans.filter(pl.col("clip_id").is_in(clips.implode()))
        renditions = {
            "",
            *(one.recipe for one in wrong.values()),
            *(rendition(one.kind, "video") for one in wrong.values()),
        }
        keys += keys_of_spans(spans, sorted(renditions))
    return np.concatenate(keys)


def _wrong_audio(found: list[Outdated]) -> Iterator[Path]:
    """Extracted audio, by whatever settings, that is not of the kind that it ought to be."""
    for digest, kind in sorted({(one.digest, one.right_kind) for one in found}):
        ending = rendition(kind, "audio")
        for file in sorted(Store.default().audio.glob(f"*/{digest[:2]}/{digest}.flac")):
            plain, special = "-".join(file.parts[-3].split("-")[:3]), "-".join(file.parts[-3].split("-")[3:])
            if plain and special != ending:
                yield file


def _show(found: list[Outdated], unknown: list[str], as_json: bool) -> None:
    if as_json:
        show_json({"outdated": [asdict(one) | {"reason": one.reason} for one in found], "unknown": unknown})
        return
    if found:
        lines = [{"corpus": one.corpus, "medium": one.path, "reason": one.reason} for one in found]
        show_table(f"{counted(len(found), 'medium', 'media')} read wrongly by an older version", lines)
    else:
        print("No medium is outdated.")
    for line in unknown:
        print(f"not compared: {line}")


def forget(
    media: Annotated[list[str], typer.Argument(help="Media, as `data/tables/CORPUS/media.parquet` names them.")],
    shared: Shared = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop the rows and the extracted audio of media, of all encoders: for rows that are known to be wrong.

    An artifact that dvc.lock names would bring the rows back: delete dvc.lock before the next `dvc repro`, which then
    takes all other rows from the store.
    """
    root = Store.default()
    stores, folders = store_paths(root.rows), audio_folders(root.audio)
    if not shared:
        refuse_shared([*stores, *map(str, folders)])
    digests, keys = _made_from(media)
    lines: list[dict[str, Any]] = [
        {"store": path, "rows dropped": rows, "files dropped": 0} for path, rows in drop_rows(stores, keys, dry_run)
    ]
    for folder in folders:
        flacs = [one for digest in sorted(digests) if (one := folder / digest[:2] / f"{digest}.flac").is_file()]
        drop(flacs, dry_run=dry_run)
        lines.append({"store": str(folder), "rows dropped": 0, "files dropped": len(flacs)})
    if as_json:
        show_json([{name.replace(" ", "_"): value for name, value in line.items()} for line in lines])
    else:
        show_table("would be done" if dry_run else "done", lines)
        print("Now delete dvc.lock (its artifacts would bring the rows back) and run `dvc repro`.")


def drop_rows(stores: Iterable[str], keys: np.ndarray, dry_run: bool) -> Iterator[tuple[str, int]]:
    """Drops the rows of clips by their keys: path of each store of clips, and how many."""
    for path in stores:
        store = RowStore.open(path)
        if store.description.modality == "clips":
            yield path, maintenance.drop(store, keys, dry_run=dry_run).rows_removed


def _made_from(media: Sequence[str]) -> tuple[set[str], np.ndarray]:
    """Digests of media, and the keys of all rows of clips that lie in them.

    Raises:
        UserError: no table names one of them.
    """
    digests: set[str] = set()
    known: set[str] = set()
    keys: list[np.ndarray] = [np.zeros((0, 16), np.uint8)]
    for path in sorted((layout.DATA / "tables").glob("*/spans.parquet")):
        named = pl.col("path").is_in(media) | pl.col("media_id").is_in(media) | pl.col("digest").is_in(media)
        table = schemas.read_table(path.with_name("media.parquet"), schemas.MEDIA).filter(named)
        for column in ("path", "media_id", "digest"):
            known |= set(table[column])
        digests |= set(table["digest"])
        keys += _keys(path, table["digest"])
    if missing := sorted(set(media) - known):
        raise UserError(
            f"No table in data/ names a medium {missing[0]!r}: give paths as `hearonce problems` has them, or digests."
        )
    return digests, np.concatenate(keys)


def _keys(path: Path, digests: pl.Series) -> Iterator[np.ndarray]:
    """Of the rows of a corpus whose clips lie in these media: by its tables, and as its artifacts have them."""
    spans = schemas.read_table(path, schemas.SPANS)
    clips = spans.filter(pl.col("media_digest").is_in(digests.implode()))["clip_id"].unique()
    spans = spans.filter(pl.col("clip_id").is_in(clips.implode()))
    if spans.is_empty():
        return
    yield from keys_of_spans(spans, known_renditions(path.parent.name))
    for artifact_path in artifact_paths(layout.DATA / "embeddings" / path.parent.name):
        artifact = open_artifact(artifact_path)
        if artifact.description.get("modality") != "captions":
            yield artifact.keys[pl.Series(artifact.ids, dtype=pl.String).is_in(clips.implode()).to_numpy()]
