"""`hearonce cache merge`, `export`, `import` and `convert`: rows between stores, files and people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cache import artifact
from cache.artifact import Artifact, open_artifact
from cache.errors import UserError
from cache.formats.feature_files import Features
from cache.location import Store
from cache.row_store import RowStore
from cache.segments import check_tower
from cache.upkeep import exchange
from pipeline.commands.cache.inventory import is_store, opened, store_paths, store_root
from pipeline.config.params import corpus_place
from pipeline.console.app import AsJson, DryRun
from pipeline.console.tables import print_records
from pipeline.console.text import counted, did_you_mean
from pipeline.formats.avlnet_export import LAYOUTS, CorpusFeatures, Layout, write_files, write_pickle
from pipeline.formats.avlnet_pickles import FEATURES


def merge(
    source: Annotated[str, typer.Argument(help="A row store, or a folder or URL of row stores.")],
    target: Annotated[str | None, typer.Argument(help="The same; the project's store by default.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Add to TARGET the rows of SOURCE that it lacks; SOURCE stays as it is."""
    sources = store_paths(source)
    if not sources:
        raise UserError(f"{source} holds no row store (a folder with a store.json).")
    lines: list[dict[str, Any]] = []
    for path in sources:
        store = RowStore.open(path)
        into, added = _into(store, target, dry_run), len(store)
        if into is not None:
            added = len(into.missing(store.keys())) if dry_run else exchange.merge(store, into)
        where = into.path if into is not None else "a new store"
        lines.append({"source": path, "target": where, "rows": len(store), "rows added": added})
    print_records("would be merged" if dry_run else "merged", lines, as_json)


def export(
    source: Annotated[
        str, typer.Argument(help="An embedding cache or a row store: a path or a URL. With AVLnet's formats, a corpus.")
    ],
    path: Annotated[str, typer.Argument(help="File to make (a folder for .zarr and howto100m).")],
    format: Annotated[
        str | None,
        typer.Option(
            help="zarr, hdf5, npz, parquet or safetensors, by the name of PATH by default; or the features of a corpus "
            "in the layouts of AVLnet's authors: youcook2 or msrvtt (a pickle), howto100m (a folder of .npz)."
        ),
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Clips of this subset alone (AVLnet's layouts).")] = None,
    captions: Annotated[str, typer.Option(help="Caption source (AVLnet's pickles).")] = "given",
    features: Annotated[
        str, typer.Option(help="Encoders of spectrograms, 2D and 3D features (AVLnet's layouts).")
    ] = ",".join(FEATURES),
    as_json: AsJson = False,
) -> None:
    """Write rows with their ids and keys into one file that stands for itself, or features for others' code."""
    if format in LAYOUTS:
        return _export_features(source, Path(path), format, subset, captions, features, as_json)
    known = (*exchange.FORMATS, *LAYOUTS)
    if format is not None and format not in known:
        raise UserError(f"{path} was not written: no format {format!r}, {did_you_mean(format, known)}")
    found = opened(source)
    exchange.export(found, path, format)
    print_records("exported", [{"source": source, "path": path, "rows": len(found)}], as_json)


def _export_features(
    corpus: str, path: Path, kind: Layout, subset: str | None, captions: str, features: str, as_json: bool
) -> None:
    """Writes the features of a corpus as AVLnet's authors lay them out."""
    encoders = [name.strip() for name in features.split(",")]
    if len(encoders) != len(FEATURES):
        raise UserError(f"--features names {len(encoders)} encoders, not three: spectrograms, 2D and 3D features.")
    corpus_place(corpus)
    if path.exists():
        raise UserError(f"{path} exists already: remove it, or name another place.")
    found = CorpusFeatures(corpus, encoders, subset)
    done = write_files(found, path) if kind == "howto100m" else write_pickle(found, path, kind, captions)
    line = {"source": corpus, "path": path.as_posix(), "clips": done.clips, "left out": done.left_out}
    print_records("exported", [line], as_json)
    if done.left_out and not as_json:
        print(f"{counted(done.left_out, 'clip')} left out: a feature of each is missing, which the layout needs.")


def import_(
    path: Annotated[str, typer.Argument(help="A file that `export` wrote, or an embedding cache.")],
    store: Annotated[
        str | None, typer.Argument(help="A row store; that of the file's encoder in the project by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add the rows of a file to a row store, so that nobody computes them again."""
    source = exchange.open_rows(path)
    target = RowStore.open(store) if store else _store_of(source)
    added = exchange.import_rows(source, target)
    print_records("imported", [{"path": path, "store": target.path, "rows added": added}], as_json)


def convert(
    source: Annotated[str, typer.Argument(help="An embedding cache: a path or a URL.")],
    target: Annotated[str, typer.Argument(help="The new one; .zarr or .h5 says in which format.")],
    as_json: AsJson = False,
) -> None:
    """Write an embedding cache in the other format, without loss."""
    found: Artifact = open_artifact(source)
    artifact.convert(found, target)
    print_records("converted", [{"source": source, "target": target, "rows": len(found)}], as_json)


def _into(source: RowStore, target: str | None, dry_run: bool) -> RowStore | None:
    """The store that takes a source's rows, None if a real run would make it."""
    if target is not None and is_store(target):
        into = RowStore.open(target)
        into.check_same(source.format, source.description.fingerprint)
        return into
    described = source.description
    root = store_root(target) if target else str(Store.default().rows)
    path = f"{root}/{described.modality}-{described.fingerprint}"
    if not is_store(path):
        exchange.check_store(source)  # so that refused rows leave no empty store
    if not dry_run:
        return RowStore.ensure(root, described.modality, described.fingerprint, source.format, described.identity)
    if not is_store(path):
        return None
    into = RowStore.open(path)
    into.check_same(source.format, described.fingerprint)
    return into


def _store_of(source: Artifact | Features) -> RowStore:
    described = source.description
    if not {"modality", "fingerprint"} <= described.keys():
        raise UserError(f"{source.path} does not say which encoder made it, so its rows cannot be used.")
    modality, fingerprint, root = described["modality"], described["fingerprint"], Store.default().rows
    try:
        check_tower(modality, fingerprint)
    except UserError as error:
        raise UserError(f"{source.path} was not imported: {error}") from None
    if not is_store(root / f"{modality}-{fingerprint}"):
        exchange.check_rows(source)  # so that refused rows leave no empty store
    return RowStore.ensure(root, modality, fingerprint, source.format)
