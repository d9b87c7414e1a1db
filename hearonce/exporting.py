"""Cached embeddings and results in forms that other programs load: Parquet, Hugging Face datasets, WebDataset, mteb."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
import typer

from cache.artifact import Artifact, open_artifact
from cache.durable import new_file
from cache.errors import UserError
from hearonce.mteb_results import K_VALUES, mteb_result
from pipeline.checkpoints.catalogue import load_catalogue
from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import config_of
from pipeline.config.subsets import read_extended
from pipeline.console.text import counted
from stages.search.export import clip_artifact, clip_tables, export_vectors, new_export, with_vectors

Format = Literal["parquet", "huggingface", "webdataset", "mteb"]
SHARD_ROWS = 1 << 13


@dataclass(frozen=True)
class Exported:
    """What an export is of.

    Attributes:
        corpus: whose clips and captions.
        encoder: that has embedded them.
    """

    corpus: str
    encoder: str

    def clips(self) -> Artifact:
        """See `stages.search.export.clip_artifact`."""
        return clip_artifact(self.corpus, self.encoder)

    def captions(self) -> Artifact | None:
        """The embeddings of captions; None where the encoder has embedded none, or many rows of each."""
        path = layout.embeddings(self.corpus, self.encoder, "captions")
        artifact = open_artifact(path) if path.exists() else None
        return None if artifact is None or artifact.format.ragged else artifact

    def checkpoints(self) -> list[str]:
        """Checkpoints of the encoder with their licences, a line each."""
        name = config_of(self.encoder)
        used = [(key, entry) for key, entry in load_catalogue().items() if name in entry.used_by]
        return [f"{key}: {entry.licence}" for key, entry in used]


def export_huggingface(exported: Exported, folder: Path) -> int:
    """Writes embeddings as a dataset in the hub's layout: `datasets.load_dataset(FOLDER, "clips")`, `"captions"`.

    Configuration `clips` has the columns of `stages.search.export.clip_tables`, `captions` has `id`, `text`, `source`,
    `clips` (those that it describes) and `vector`. `README.md` is the card. No media go with it.

    Args:
        exported: corpus and encoder.
        folder: a new one; written whole or not at all.

    Returns:
        Clips written.

    Raises:
        UserError: nothing is embedded, rows differ in length, or the folder exists.
    """
    clips, captions = exported.clips(), exported.captions()
    with new_export(folder) as temporary:
        configs = {"clips": _write_parts(clip_tables(exported.corpus, exported.encoder), temporary, "clips")}
        if captions is not None:
            configs["captions"] = _write_parts(_caption_tables(exported, captions), temporary, "captions")
        (temporary / "README.md").write_text(card(exported, clips, configs), encoding="utf-8")
    return len(clips)


def export_webdataset(exported: Exported, folder: Path) -> int:
    """Writes embeddings as shards of samples: `KEY.npy`, the vector, and `KEY.json`, what is known of its clip.

    Equal embeddings give equal bytes. `README.md` is the card. No media go with it.

    Args:
        exported: corpus and encoder.
        folder: a new one; written whole or not at all.

    Returns:
        Clips written.

    Raises:
        UserError: nothing is embedded, rows differ in length, or the folder exists.
    """
    clips, row = exported.clips(), 0
    with new_export(folder) as temporary:
        for table in clip_tables(exported.corpus, exported.encoder):
            for part in table.iter_slices(SHARD_ROWS):
                name = temporary / f"clips-{row // SHARD_ROWS:06}.tar"
                known = part.drop("vector").iter_rows(named=True)
                with tarfile.open(name, "w", format=tarfile.PAX_FORMAT) as shard:
                    for vector, about in zip(part["vector"].to_numpy(), known, strict=True):
                        array = io.BytesIO()
                        np.save(array, vector)
                        _add(shard, f"{row:09}.json", json.dumps(about, ensure_ascii=False, sort_keys=True).encode())
                        _add(shard, f"{row:09}.npy", array.getvalue())
                        row += 1
        (temporary / "README.md").write_text(card(exported, clips, {}), encoding="utf-8")
    return len(clips)


def export_mteb(exported: Exported, path: Path, source: str, language: str) -> int:
    """Writes results of retrieval between captions and clips as mteb's `TaskResult` has them.

    Args:
        exported: corpus and encoder.
        path: of the JSON file.
        source: caption source.
        language: of the captions, such as `eng-Latn`.

    Returns:
        Captions that were queries.

    Raises:
        UserError: nothing is embedded or paired, or the file exists.
    """
    if path.exists():
        raise UserError(f"{path} exists: name a new file.")
    result, queries = mteb_result(exported.corpus, exported.encoder, source, language)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return queries


def card(exported: Exported, clips: Artifact, configs: dict[str, str]) -> str:
    """The README.md of an export: what it is of, made by what, under which licences, and how to load it.

    Args:
        exported: corpus and encoder.
        clips: their embeddings.
        configs: name -> pattern of its Parquet files, for a dataset in the hub's layout.
    """
    corpus = load_corpus(exported.corpus)
    head = {
        "configs": [{"config_name": name, "data_files": pattern} for name, pattern in configs.items()],
        "tags": ["embeddings", "hearonce"],
        "license": "other",
    }
    fingerprint = clips.description.get("fingerprint", "")
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in head.items() if value),
        "---",
        "",
        f"# Embeddings of {exported.corpus} by {exported.encoder}",
        "",
        f"{counted(len(clips), 'clip')}, vectors of {clips.format.dim} numbers as the encoder gives them; no media.",
        "",
        "| | |",
        "| --- | --- |",
        f"| corpus | {exported.corpus} |",
        f"| encoder | {exported.encoder} |",
        f"| fingerprint of encoder, checkpoint and preprocessing | `{fingerprint}` |",
        *(f"| checkpoint | {line} |" for line in exported.checkpoints()),
        f"| licence of the corpus | {corpus.licence or 'not stated: ask those who gave the media'} |",
        *([f"| terms | {corpus.terms} |"] if corpus.terms else []),
        "",
        "```python",
        *(
            ["import datasets", 'clips = datasets.load_dataset("PATH OR HUB ID", "clips", split="train")']
            if configs
            else ["import webdataset", 'clips = webdataset.WebDataset("clips-{000000..N}.tar").decode()']
        ),
        "```",
        "",
    ]
    return "\n".join(lines)


def _caption_tables(exported: Exported, captions: Artifact) -> Iterator[pl.DataFrame]:
    table = read_extended(exported.corpus, "captions").unique("caption_id", keep="first", maintain_order=True)
    pairs = (
        read_extended(exported.corpus, "pairs").group_by("caption_id", maintain_order=True).agg(clips=pl.col("clip_id"))
    )
    known = (
        pl.DataFrame({"caption_id": captions.ids}, {"caption_id": pl.String})
        .join(table, on="caption_id", how="left", maintain_order="left")
        .join(pairs, on="caption_id", how="left", maintain_order="left")
        .with_columns(pl.col("clips").fill_null(pl.lit([], pl.List(pl.String))))
        .select("text", "source", "clips", id="caption_id")
    )
    for part in with_vectors(known, captions):
        yield part.select("id", "text", "source", "clips", "vector")


def _write_parts(tables: Iterator[pl.DataFrame], folder: Path, name: str) -> str:
    """Writes tables as files of a folder of that name; the pattern of the files."""
    (folder / name).mkdir()
    for part, table in enumerate(tables):
        table.write_parquet(folder / name / f"train-{part:05}.parquet")
    return f"{name}/*.parquet"


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    shard.addfile(info, io.BytesIO(data))


def export_command(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    encoder: Annotated[str, typer.Argument(help="An encoder that has embedded its clips.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder; of mteb a new JSON file.")],
    to: Annotated[
        Format,
        typer.Option("--format", help="parquet for vector databases, a huggingface dataset, webdataset shards, mteb."),
    ] = "parquet",
    captions: Annotated[str, typer.Option(help="Caption source of the queries of mteb results.")] = "given",
    language: Annotated[str, typer.Option(help="Of these captions, as mteb writes it.")] = "eng-Latn",
) -> None:
    """Write the cached embeddings of a corpus, or its results as mteb has them, for other programs."""
    exported = Exported(corpus, encoder)
    if to == "parquet":
        count = export_vectors(corpus, encoder, out)
        print(f"{out}: {counted(count, 'clip')} in {counted(len(list(out.glob('*.parquet'))), 'file')}")
    elif to == "mteb":
        count = export_mteb(exported, out, captions, language)
        print(f"{out}: {counted(count, 'caption')} against clips and back, at {', '.join(map(str, K_VALUES))}")
    else:
        write = export_huggingface if to == "huggingface" else export_webdataset
        print(f"{out}: {counted(write(exported, out), 'clip')}")
