"""`configs/corpora/NAME.yaml`: how the files of a corpus are read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.config.records import Settings, load, named, refuse_renamed
from pipeline.media.containers import Limits

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


class AudioSettings(Settings):
    """How audio tracks are extracted.

    Attributes:
        channels: `keep` all of them or mix them to `mono`.
        bits: sample width of the FLAC files.
    """

    channels: Literal["keep", "mono"] = "keep"
    bits: Literal[16, 24] = 16


class SilenceSettings(Settings):
    """Which clips count as silent, for the subsets `silent` and `audible`.

    Attributes:
        measure: `rms`, the root mean square over the clip, or `peak`, its largest sample.
        below_dbfs: a clip whose level is lower is silent; 0 dBFS is a sample of 1, so that a sine at full scale has a
            peak of 0 and an RMS of -3.01 dBFS.
    """

    measure: Literal["rms", "peak"] = "rms"
    below_dbfs: Annotated[float, Field(le=0)] = -60.0


class CorpusConfig(Settings):
    """`configs/corpora/NAME.yaml`.

    Attributes:
        reader: module of `stages/ingest/readers/` that understands the files.
        files: which published annotation files are read (`epic-mir`, `epic-sounds`, `ego-mcq`, `avlnet-pickle`).
        window_s: media without clip times are cut into windows of this many seconds; null takes each whole.
        min_window_s: a shorter remainder joins the window before it.
        captions_from: where a `folder` finds captions when the annotations are no listing: `subtitles` beside the
            media (SRT, VTT, ASS, TTML, ...), a `text` file beside each, or the `filename` itself.
        audio: how audio tracks are extracted.
        limits: what a medium may claim to be before it is refused.
        silence: which clips count as silent, where their levels are measured (`levels:` in `params.yaml`).
    """

    reader: str = "folder"
    files: OfficialFiles = OfficialFiles()
    window_s: Annotated[float, Field(gt=0)] | None = 10.0
    min_window_s: Annotated[float, Field(ge=0)] = 1.0
    captions_from: Literal["listing", "subtitles", "text", "filename"] = "listing"
    audio: AudioSettings = AudioSettings()
    limits: Limits = Limits()
    silence: SilenceSettings = SilenceSettings()


def load_corpus(name: str) -> CorpusConfig:
    """Reads `configs/corpora/<name>.yaml`."""
    return load(named("corpora", name), CorpusConfig)
