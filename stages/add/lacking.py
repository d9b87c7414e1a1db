"""Files that a corpus or an encoder needs and that are not there, and the commands that fetch them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.checkpoints.official import catalogued, fetch_command, official_annotations
from pipeline.config.corpus import CorpusConfig, load_corpus
from pipeline.config.params import training_of
from stages.embed.encoders.avlnet import load_avlnet_config
from stages.embed.registry import is_avlnet, load_encoder
from stages.train.config import load_training

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Lacking:
    """One thing that is not there.

    Attributes:
        reader: the encoder, training or corpus that needs it.
        path: the file or folder.
        name: of the catalogue entry that it belongs to, None if nobody fetches it.
        fetched_into: the folder where that command puts it, if that is another one.
    """

    reader: str
    path: Path
    name: str | None
    fetched_into: Path | None = None


def of_encoder(encoder: str, corpus: str) -> list[Lacking]:
    """Files and folders that options of an encoder name; ids of models at a hub are neither.

    Args:
        encoder: name; `CONFIG@TRAINING` needs what the training starts from.
        corpus: which it embeds.
    """
    if not is_avlnet(encoder):
        paths = []
        for _, value in load_encoder(encoder).config:
            if isinstance(value, Path) or (isinstance(value, str) and catalogued(Path(value)) is not None):
                paths.append(Path(value))
        return _missing(encoder, paths)
    config = load_avlnet_config(corpus, encoder)
    training = training_of(encoder)
    found = _missing(encoder, [config.checkpoint]) if training is None else of_training(training)
    return found if config.text is None else [*found, *of_encoder(config.text, corpus)]


def of_training(name: str) -> list[Lacking]:
    """Weights to start from and files of whole videos."""
    return _missing(name, load_training(name).reads())


def of_annotations(corpus: str, annotations: Path) -> list[Lacking]:
    """Official annotation files of a corpus.

    Args:
        corpus: name in `configs/corpora/`.
        annotations: folder where they are looked for.
    """
    config, found = load_corpus(corpus), []
    folder = annotations.parent if annotations.is_file() else annotations
    for name, (official, files) in official_annotations(corpus).items():
        elsewhere = official if official.absolute() != folder.absolute() else None
        for one in _read_of(files, config):
            if not (folder / one).exists():
                found.append(Lacking(corpus, folder / one, name, elsewhere))
    return found


def _read_of(files: list[str], config: CorpusConfig) -> list[str]:
    """Those files of a catalogue entry that the corpus's reader reads: its config names them, or their split."""
    options = config.files
    named_files = [one for one in (options.name, options.videos, *options.subsets.values()) if "." in one]
    if named_files:
        return named_files
    others = [f"_{split}" for split in SPLITS if split != options.split]
    return [one for one in files if not any(f"{other}_" in one or f"{other}." in one for other in others)]


def commands(lacking: Iterable[Lacking]) -> list[str]:
    """A line for each catalogue entry: what needs which files of it, and the command that fetches it."""
    by_name: dict[str, dict[Path, list[str]]] = {}
    copies: dict[str, str] = {}
    for one in lacking:
        if one.name is not None and one.fetched_into is not None:
            copies[one.name] = f", then copy them from {one.fetched_into}/"
        if one.name is not None:
            readers = by_name.setdefault(one.name, {}).setdefault(one.path, [])
            readers += [one.reader] if one.reader not in readers else []
    lines = []
    for name, paths in by_name.items():
        needing = list(dict.fromkeys(reader for readers in paths.values() for reader in readers))
        some = ", ".join(path.as_posix() for path in list(paths)[:3])
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        needed = ", ".join(needing[:3]) + (f" and {len(needing) - 3} more" if len(needing) > 3 else "")
        lines.append(f"{some}{more} (for {needed}): uv run {fetch_command([name])}{copies.get(name, '')}")
    return lines


def _missing(reader: str, paths: Iterable[Path]) -> list[Lacking]:
    return [Lacking(reader, path, catalogued(path)) for path in paths if not path.exists()]
