"""`hearonce migrate`: a project of the last version in the form of this one, comments kept. Loads no model."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.params import (
    PARAMS,
    config_of,
    is_former,
    read_round_trip,
    round_trip_text,
    training_of,
    write_round_trip,
)
from pipeline.config.records import CONFIGS, read_yaml
from pipeline.config.subsets import write_all_subset
from pipeline.console.text import counted
from stages.migrate.params import (
    AVLNET_KEYS,
    CORPUS_KEYS,
    TRAINING_FILES_KEYS,
    avlnet_name,
    encoder_name,
    features_of,
    migrated,
    moved_outputs,
)

MEDIA_OF = {"egovlp": "frames", "clip_like": "frames", "efficientnet_minilm": "frames", "word2vec": "captions"}
"""What encoders of a family are given, where it is not audio."""
FRAMES = ("resnet152", "resnext101_3d")


KEPT = "# Comments of what this version has no more, kept by `hearonce migrate`:"
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*?(?=\s*$)", re.MULTILINE)


@dataclass
class Plan:
    """What is to be changed.

    Attributes:
        lines: for the user.
        files: new contents by path.
        moves: (old, new) paths.
        comments: of what is gone, by path; they are kept at the end of the file.
        subsets: corpora that need `configs/subsets/CORPUS/all.yaml`.
    """

    lines: list[str] = field(default_factory=list)
    files: dict[Path, Any] = field(default_factory=dict)
    moves: list[tuple[Path, Path]] = field(default_factory=list)
    comments: dict[Path, list[str]] = field(default_factory=dict)
    subsets: list[str] = field(default_factory=list)


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be changed.")] = False,
) -> None:
    """Rewrite params.yaml and configs/ of the last version, and move outputs whose paths have changed."""
    if not PARAMS.is_file():
        raise UserError(f"{PARAMS} is missing here ({Path.cwd()}): run hearonce in the top folder of the project.")
    plan = _planned()
    for line in plan.lines:
        print(line)
    n_changes = len(plan.files) + len(plan.moves) + len(plan.subsets)
    if not n_changes:
        print("Nothing to migrate: all is of this version.")
        return
    if dry_run:
        print(f"{counted(n_changes, 'file')} would be changed; nothing has been.")
        return
    for old, new in plan.moves:
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(old, new)
    for path, data in plan.files.items():
        lost = plan.comments.get(path, [])
        write_round_trip(data, path, "\n".join(["", KEPT, *lost, ""]) if lost else "")
    for corpus in plan.subsets:
        write_all_subset(corpus)
    print(f"{counted(n_changes, 'file')} changed. Now: uv run hearonce check, then uv run dvc repro")


def _planned() -> Plan:
    plan, data = Plan(), read_round_trip(PARAMS)
    features = features_of(data)
    renamed: dict[tuple[str, str], str] = {}
    for section in ("avlnets", "text_avlnets"):
        for entry in (data.get(section) or {}).values():
            if (new := avlnet_name(entry)) != entry["encoder"]:
                renamed[entry["corpus"], entry["encoder"]] = new
    _move_encoders(plan, features)
    _rename_keys(plan, features)
    _rename_in_experiments(plan, features, renamed)
    if is_former(data):
        plan.lines += [f"{PARAMS}: {line}" for line in migrated(data, _reads)]
        plan.files[PARAMS] = data
    for subset in (data.get("subsets") or {}).values():
        corpus, name = subset["corpus"], subset["subset"]
        if name == "all" and not (CONFIGS / "subsets" / corpus / "all.yaml").is_file() and corpus not in plan.subsets:
            plan.subsets.append(corpus)
            plan.lines.append(f"{CONFIGS / 'subsets' / corpus / 'all.yaml'}: added, every clip")
    for old_path, new_path in moved_outputs(layout.DATA, features):
        if not new_path.exists():
            plan.moves.append((old_path, new_path))
            plan.lines.append(f"{old_path}: moves to {new_path}")
    for path, data in plan.files.items():
        if lost := lost_comments(path.read_text(encoding="utf-8"), round_trip_text(data)):
            plan.comments[path] = lost
            plan.lines.append(f"{path}: {counted(len(lost), 'comment')} of what is gone kept at the end of the file")
    return plan


def lost_comments(before: str, after: str) -> list[str]:
    """Comments of one text that another does not have, in their order; each as often as it is missing there."""
    there = Counter(_COMMENT.findall(after))
    lost = []
    for comment in _COMMENT.findall(before):
        if there[comment]:
            there[comment] -= 1
        else:
            lost.append(comment)
    return lost


def _reads(encoder: str) -> str:
    """What an encoder is given, by the family of its YAML."""
    if training_of(encoder) is not None:
        return "features"
    names = [config_of(encoder), config_of(encoder).rpartition("/")[2]]
    paths = [CONFIGS / "encoders" / f"{name}.yaml" for name in names]
    path = next((one for one in paths if one.is_file()), None)
    family = "" if path is None else str(read_yaml(path).get("family", "")).replace("-", "_")
    if family == "avlnet":
        return "features"
    return "frames" if family in FRAMES else MEDIA_OF.get(family, "audio")


def _move_encoders(plan: Plan, features: frozenset[str]) -> None:
    """YAMLs of features go into a folder of their own; those that differ in the seed only go away."""
    folder = CONFIGS / "encoders"
    for path in sorted(folder.glob("*.yaml")):
        new = encoder_name(path.stem, features)
        target = folder / f"{new}.yaml"
        if path.stem in features and not target.exists():
            plan.moves.append((path, target))
            plan.lines.append(f"{path}: moves to {target}")


def _rename_keys(plan: Plan, features: frozenset[str]) -> None:
    """Keys of AVLnets' YAMLs, trainings and corpora."""
    for path in sorted([*(CONFIGS / "encoders").glob("*.yaml"), *(CONFIGS / "trainings").glob("*/*.yaml")]):
        data: Any = read_round_trip(path)
        if not isinstance(data, dict) or (path.parent.name == "encoders" and data.get("family") != "avlnet"):
            continue
        found = _renamed(data, AVLNET_KEYS)
        for old, new in found:
            value = data[new]
            if isinstance(value, str):
                data[new] = encoder_name(value, features)
            plan.lines.append(f"{path}: `{old}` is renamed to `{new}`")
        files = data.get("files")
        found_files = _renamed(files, TRAINING_FILES_KEYS) if isinstance(files, Mapping) else []
        plan.lines += [f"{path}: `files.{old}` is renamed to `files.{new}`" for old, new in found_files]
        if found or found_files:
            plan.files[path] = data
    for path in sorted((CONFIGS / "corpora").glob("*.yaml")):
        data = read_round_trip(path)
        files = data.get("files") if isinstance(data, Mapping) else None
        found = _renamed(files, CORPUS_KEYS) if isinstance(files, Mapping) else []
        plan.lines += [f"{path}: `files.{old}` is renamed to `files.{new}`" for old, new in found]
        if found:
            plan.files[path] = data


def _renamed(data: Any, keys: Mapping[str, str]) -> list[tuple[str, str]]:
    """Renames keys in place, each at its place and with its comment."""
    found = [(old, new) for old, new in keys.items() if old in data]
    for old, new in found:
        place = list(data).index(old)
        comment = data.ca.items.pop(old, None)
        data.insert(place, new, data.pop(old))
        if comment is not None:
            data.ca.items[new] = comment
    return found


def _rename_in_experiments(plan: Plan, features: frozenset[str], renamed: Mapping[tuple[str, str], str]) -> None:
    """Encoders that experiments with a file each name."""
    for path in sorted((CONFIGS / "experiments").glob("*/*.yaml")):
        data = read_round_trip(path)
        encoders = data.get("encoders") if isinstance(data, Mapping) else None
        if not isinstance(encoders, list):
            continue
        new = [renamed.get((path.parent.name, one), encoder_name(one, features)) for one in encoders]
        for old, now in _differing(encoders, new):
            plan.lines.append(f"{path}: encoder {old} is renamed to {now}")
        if list(encoders) != new:
            encoders[:] = new
            plan.files[path] = data


def _differing(before: list[str], after: list[str]) -> Iterator[tuple[str, str]]:
    return ((old, new) for old, new in zip(before, after, strict=True) if old != new)
