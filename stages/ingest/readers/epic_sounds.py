"""Reader `epic-sounds`: EPIC-Sounds as a retrieval corpus (EpicSoundsRet of A Sound Approach)."""

from __future__ import annotations

from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from stages.ingest.annotations import Annotations
from stages.ingest.retrieval_corpus import read_retrieval_corpus
from stages.ingest.retrieval_files import FileNames

ORIGIN = "drive.google.com/drive/folders/1OSYniORkyyhxPcClccZHkH73TS4WoenE"


def read(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads `EPIC_Sounds_{val,test}_epicmirstyle*`.

    Raises:
        UserError: a file is missing or damaged, or files do not belong together.
    """
    style = f"EPIC_Sounds_{config.files.split}_epicmirstyle"

    def names_of(suffix: str) -> FileNames:
        stem = f"{style}_mainclasses{suffix}"
        return FileNames(
            f"{stem}.csv",
            f"{style}_sentence_mainclasses{suffix}.csv",
            f"relevancy/{config.files.relevancy_type}_relevancy_{stem}.pkl",
            ORIGIN,
        )

    return read_retrieval_corpus(place, config.files, names_of)
