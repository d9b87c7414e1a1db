"""Where the outputs of the stages lie, as `dvc.yaml` names them."""

from __future__ import annotations

from pathlib import Path

DATA = Path("data")
RESULTS = DATA / "results"
REPORT = DATA / "report"
PROBLEMS = DATA / "problems"

VARIANT = "@"
MODALITIES = ("audio", "video", "audio+video")
"""What the clip towers of an encoder that has several are called."""
TEXT = "text-"
AVLNET = {"audio": "sound", "video": "picture"}
"""What AVLnet's artifacts of a modality are called."""


def text_tower(modality: str) -> str:
    """What the tower of texts is called that are compared with a modality of clips."""
    return f"{TEXT}{modality}"


def modality_of(encoder: str) -> str | None:
    """The modality that an encoder's name asks for, `video` of `pe-av@video`; None if it names the whole encoder."""
    last = encoder.rpartition(VARIANT)[2]
    return last if last in MODALITIES and VARIANT in encoder else None


def embedded_as(encoder: str) -> str:
    """The encoder that embeds a corpus, `pe-av` of `pe-av@video`."""
    return encoder if modality_of(encoder) is None else encoder.rpartition(VARIANT)[0]


def of_modality(encoder: str, modality: str) -> str:
    """The name of one modality of an encoder, `pe-av@video` of `pe-av` and of `pe-av@audio`."""
    return f"{embedded_as(encoder)}{VARIANT}{modality}"


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
    """An embedding artifact.

    Args:
        corpus: whose.
        encoder: by which; `ENCODER@MODALITY` for one of several towers, and the texts to compare with it.
        items: `clips` or `captions`, of AVLnet `sound`, `picture`, ...
    """
    folder, modality = DATA / "embeddings" / corpus / embedded_as(encoder), modality_of(encoder)
    if modality is not None and items in ("clips", "captions"):
        items = modality if items == "clips" else text_tower(modality)
        former = AVLNET.get(items)
        if former is not None and (folder / f"{former}.zarr").exists():
            items = former
    return folder / f"{items}.zarr"


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
