"""Reader `epic-mir`: EPIC-KITCHENS-100 multi-instance retrieval with the audio descriptions of A Sound Approach."""

from __future__ import annotations

from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from stages.ingest.annotations import Annotations
from stages.ingest.retrieval_corpus import read_retrieval_corpus
from stages.ingest.retrieval_files import FileNames

ORIGIN = (
    "github.com/epic-kitchens/epic-kitchens-100-annotations (retrieval_annotations/) and, for relevancy/ and all files "
    "with `_gpt`, drive.google.com/drive/folders/187Iy8MSdKlaipV_yhbMwyYazeu711A1f"
)


def read(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads `EPIC_100_retrieval_{test,train}*`; there is no split `val`, which stands for `test`.

    Raises:
        UserError: a file is missing or damaged, or files do not belong together.
    """
    split = "train" if config.files.split == "train" else "test"

    def names_of(suffix: str) -> FileNames:
        stem = f"EPIC_100_retrieval_{split}{suffix}"
        return FileNames(
            f"{stem}.csv",
            f"EPIC_100_retrieval_{split}_sentence{suffix}.csv",
            f"relevancy/{config.files.relevancy_type}_relevancy_{stem}.pkl",
            ORIGIN,
        )

    return read_retrieval_corpus(place, config.files, names_of)
