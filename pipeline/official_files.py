"""Options of the readers of published annotation files (`files:` in `configs/corpora/NAME.yaml`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.config.records import refuse_renamed

RENAMED = {"sound": "audio", "picture": "frames"}


class OfficialFiles(BaseModel):
    """Which of a corpus's published files are read, and where its media lie.

    Attributes:
        name: the main annotation file, where the corpus offers several (EgoMCQ).
        split: part of the corpus.
        suffix: of the file names of a variant, e.g. `_gptfiltered_low`.
        subsets: name -> suffix (EPIC) or file name (EgoMCQ, AVLnet) of the selections that are published as files.
        videos: a JSON file that lists the videos (YouCook-Japanese).
        layout: whose pickles AVLnet's are like: `youcook2` or `msrvtt` (a list of captions beside `2d_pooled`,
            or an `eval_caption`); files of the other are refused. None takes both.
        relevancy: read the published matrix from its `file`, have it `built` from the classes of verbs and nouns, or
            have `none`.
        relevancy_type: which of the matrices: the mean of verbs and nouns (`caption`), or one of the two.
        audio: where a video's audio may lie below the media folder; the first that exists is taken. Known are
            {participant}, {video} and, for videos cut into pieces, {chunk}.
        frames: where its frames may lie: videos, or folders of frames.
        left_sec: seconds of audio before the clip, only where the file has as many before it.
        right_sec: seconds of audio after the clip; the file's end cuts them short.
        chunk_s: length of the pieces that {chunk} counts.
        published: `clips`, `captions` and `questions` as their authors counted them; another number is noted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    videos: str = ""
    layout: Literal["youcook2", "msrvtt"] | None = None
    split: Literal["train", "val", "test"] = "test"
    suffix: str = ""
    subsets: dict[str, str] = {}
    relevancy: Literal["file", "built", "none"] = "file"
    relevancy_type: Literal["caption", "verb", "noun"] = "caption"
    audio: list[str] = []
    frames: list[str] = []
    left_sec: Annotated[float, Field(ge=0)] = 0.0
    right_sec: Annotated[float, Field(ge=0)] = 0.0
    chunk_s: Annotated[float, Field(gt=0)] = 600.0
    published: dict[Literal["clips", "captions", "questions"], int] = {}

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, given: Any) -> Any:
        return refuse_renamed(given, RENAMED)
