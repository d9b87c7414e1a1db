"""Where the outputs of the stages lie, as `dvc.yaml` names them."""

from __future__ import annotations

from pathlib import Path

DATA = Path("data")
RESULTS = DATA / "results"
REPORT = DATA / "report"
PROBLEMS = DATA / "problems"


def table(corpus: str, name: str) -> Path:
    """A canonical table made by ingest (`media`, `clips`, `captions`, `pairs`) or by label (`speech`, `levels`)."""
    return DATA / "tables" / corpus / f"{name}.parquet"


def described(corpus: str, name: str) -> Path:
    """A table made by describe: rows to add to the canonical table of that name, `descriptions` or `answers`."""
    return DATA / "tables" / corpus / "described" / f"{name}.parquet"


def audio(corpus: str) -> Path:
    """The manifest of extracted audio."""
    return DATA / "audio" / f"{corpus}.parquet"


def embeddings(corpus: str, encoder: str, items: str) -> Path:
    """An embedding artifact; `items` is `clips` or `captions`, of AVLnet `sound`, `picture`, ..."""
    return DATA / "embeddings" / corpus / encoder / f"{items}.zarr"


def searching(corpus: str, encoder: str, what: str) -> Path:
    """Folder of what makes search of a corpus by an encoder faster or nicer: its `map` or its `index`."""
    return DATA / "search" / corpus / encoder / what


def map_of(corpus: str, encoder: str) -> Path:
    """Where each clip of a corpus stands on the map of an encoder."""
    return searching(corpus, encoder, "map") / "map.parquet"


def features(corpus: str) -> Path:
    """Artifacts of the encoders `features/...`, which AVLnet is given."""
    return DATA / "embeddings" / corpus / "features"


def label_counts(corpus: str, label: str) -> Path:
    """How many clips have each label, as a metric of DVC."""
    return DATA / "labels" / corpus / f"{label}.json"


def training(name: str) -> Path:
    """What a training leaves.

    `model.pth`; `encoder.yaml`, which describes it as an encoder; `epochs/` with weights of single epochs; `live/` with
    metrics and plots.
    """
    return DATA / "trainings" / name


def holds_outputs(path: Path) -> bool:
    """Whether outputs of the stages lie below a path, which DVC therefore refuses as an input."""
    return path.resolve() in (DATA.resolve(), *DATA.resolve().parents)


def training_of(path: Path) -> str | None:
    """The training that makes a file, by its path; None if it is no training's."""
    folder = DATA / "trainings"
    return path.relative_to(folder).parts[0] if folder in path.parents else None


def problems(corpus: str, stage: str) -> Path:
    """The problems table of a stage run; of embed, `embed/ENCODER`."""
    return PROBLEMS / corpus / f"{stage}.parquet"


def results(corpus: str, subset: str) -> Path:
    """Metrics, ranks and curves of all experiments of a corpus on a subset."""
    return RESULTS / corpus / subset
