"""`hearonce cache ls` and `info`: what is there, of what, from which encoder and machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cache.answers import AnswerStore
from cache.artifact import Artifact, open_artifact
from cache.errors import UserError
from cache.location import LocalLocation, Store, location_of
from cache.row_store import RowStore
from pipeline.commands.cache.audio import audio_folders
from pipeline.commands.cache.inventory import answer_paths, artifact_paths, encoders, opened, store_paths
from pipeline.console.app import AsJson
from pipeline.console.tables import print_json, print_records
from pipeline.console.text import counted
from pipeline.monitor.disk_space import bytes_below, size
from pipeline.monitor.run_metrics import LAST, Run, runs


def ls(
    store: Annotated[
        str | None, typer.Option(help="Folder or URL of a store; $HEARONCE_STORE or .hearonce by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the row stores, the embedding caches of data/, the answers of language models and the extracted audio."""
    names = encoders()
    stores = [_store_line(path, names) for path in store_paths(store or Store.default().rows)]
    artifacts = [_artifact_line(path) for path in artifact_paths()]
    answers = [_answers_line(path) for path in answer_paths(store or Store.default().answers)]
    audio = [_audio_line(path) for path in audio_folders(store or Store.default().audio)]
    if as_json:
        print_json({"stores": stores, "artifacts": artifacts, "answers": answers, "audio": audio})
        return
    for rows, singular, several in (
        (stores, "row store", "row stores"),
        (artifacts, "embedding cache", "embedding caches"),
        (answers, "folder of answers", "folders of answers"),
    ):
        if rows:
            print_records(counted(len(rows), singular, several), rows)
        else:
            print(f"No {several}.")
    if audio:
        print_records(counted(len(audio), "folder of extracted audio", "folders of extracted audio"), audio)


def info(
    path: Annotated[str, typer.Argument(help="A row store or an embedding cache: a path or a URL.")],
    as_json: AsJson = False,
) -> None:
    """Describe one row store or embedding cache, with the provenance of its rows."""
    found = opened(path)
    answer = _store_info(found) if isinstance(found, RowStore) else _artifact_info(found)
    if as_json:
        print_json(answer)
        return
    provenance: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    answer["bytes"] = size(answer["bytes"])
    if isinstance(found, RowStore):
        provenance, made = answer.pop("provenance"), answer.pop("runs")
        answer |= {f"identity.{name}": value for name, value in answer.pop("identity").items()}
    print_records(str(found.path), [{"what": name, "value": value} for name, value in answer.items()])
    if provenance:
        lines = [{"rows": source["rows"], "made by": _sentence(source["provenance"])} for source in provenance]
        print_records("where the rows come from", lines)
    if made:
        print_records(f"the last {len(made)} runs that made rows", [_run_line(Run(**run)) for run in made])


def _store_line(path: str, names: dict[str, str]) -> dict[str, Any]:
    location = location_of(path)
    try:
        store = RowStore.open(path)
        segments = store.segments.names()
        return {
            "modality": store.description.modality,
            "encoder": names.get(store.description.fingerprint, "?"),
            "fingerprint": store.description.fingerprint,
            "rows": len(store),
            "bytes": sum(store.segments.nbytes(name) for name in segments),
            "segments": len(segments),
            "last speed": _speed(runs(location)),
            "path": path,
        }
    except UserError as error:
        modality, _, fingerprint = str(location).rstrip("/").rsplit("/", 1)[-1].partition("-")
        nbytes = bytes_below(location.path) if isinstance(location, LocalLocation) else 0
        line = {"modality": modality, "encoder": names.get(fingerprint, "?"), "fingerprint": fingerprint, "rows": "?"}
        return {**line, "bytes": nbytes, "segments": "?", "last speed": "", "path": str(error)}


def _artifact_line(path: Path) -> dict[str, Any]:
    line: dict[str, Any] = {"path": str(path), "modality": "?", "encoder": "?", "rows": "?", "format": "?"}
    try:
        found = open_artifact(path)
        line |= {"modality": found.description.get("modality", "?"), "encoder": found.description.get("encoder", "?")}
        line |= {"rows": len(found), "format": str(found.format)}
    except UserError as error:
        line["format"] = str(error)
    return {**line, "bytes": bytes_below(path)}


def _answers_line(path: Path) -> dict[str, Any]:
    store = AnswerStore.at(path)
    line = {"task": store.identity.get("task", "?"), "model": "?", "fingerprint": store.fingerprint, "answers": "?"}
    line |= {"bytes": bytes_below(path), "path": str(path)}
    try:
        kept = store.read()
    except UserError as error:
        return {**line, "path": str(error)}
    models = sorted({answer.model for answer in kept.values()})
    return {**line, "model": ", ".join(models) or "?", "answers": len(kept)}


def _audio_line(path: Path) -> dict[str, Any]:
    files = sum(1 for _ in path.glob("??/*.flac"))
    return {"recipe": path.resolve().name, "files": files, "bytes": bytes_below(path), "path": str(path)}


def _store_info(store: RowStore) -> dict[str, Any]:
    sources: dict[str, dict[str, Any]] = {}
    for group in store.groups.values():
        provenance = group.description.get("provenance", {})
        line = sources.setdefault(repr(provenance), {"rows": 0, "provenance": provenance})
        line["rows"] += len(group)
    names = store.segments.names()
    return {
        "kind": "row store",
        "modality": store.description.modality,
        "encoder": encoders().get(store.description.fingerprint, "?"),
        "fingerprint": store.description.fingerprint,
        "format": str(store.format),
        "rows": len(store),
        "segments": len(names),
        "bytes": sum(store.segments.nbytes(name) for name in names),
        "identity": dict(store.description.identity),
        "provenance": list(sources.values()),
        "runs": [asdict(run) for run in runs(location_of(store.path))[-LAST:]],
    }


def _artifact_info(artifact: Artifact) -> dict[str, Any]:
    location = location_of(artifact.path)
    return {
        "kind": "embedding cache",
        **{name: value for name, value in artifact.description.items()},
        "format": str(artifact.format),
        "rows": len(artifact),
        "frames": artifact.shape[0],
        "bytes": bytes_below(location.path)
        if isinstance(location, LocalLocation)
        else int(location.filesystem.du(location.path)),
        "first ids": artifact.ids[:3],
    }


def _sentence(provenance: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in provenance.items()) or "unknown"


def _speed(made: list[Run]) -> str:
    return f"{made[-1].per_s:.1f}/s" if made else ""


def _run_line(run: Run) -> dict[str, Any]:
    return {
        "at": run.at,
        "rows": run.made,
        "speed": f"{run.per_s:.1f}/s",
        "device": f"cluster {run.cluster}" if run.cluster else run.device,
        "busy": "" if run.busy is None else f"{run.busy:.0%}",
        "seconds": ", ".join(f"{part} {seconds:.1f}" for part, seconds in run.parts.items()),
        "memory": size(run.peak_rss_bytes),
        "ended": run.ended,
    }
