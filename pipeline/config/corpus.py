"""`configs/corpora/NAME.yaml`: how the files of a corpus are read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.config.records import Settings, load, named, refuse_renamed
from pipeline.media.containers import Limits

RENAMED = {"sound": "audio", "picture": "frames"}
ClipsFrom = Literal["captions", "windows", "shots"]
CLASSIFIED = ("folder", "esc-50", "urbansound8k", "vggsound")
"""Readers of clips with classes."""
OWN_MEDIA = ("folder", "webdataset", "huggingface")
"""Readers whose media may be cut into windows or shots."""
Counts = dict[Literal["clips", "captions", "questions", "classes"], int]
ADAPTIVE = ("adaptive_threshold", "min_content_val", "window_width")


class OfficialFiles(BaseModel):
    """Which of a corpus's published files are read, and where its media lie.

    Attributes:
        name: the main annotation file, where the corpus offers several (EgoMCQ).
        split: part of the corpus; `all` of them with reader `vggsound`.
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
        media: what the file of a clip may be called: the end of its path, its ending left out (`{subset}/{clip}`); the
            first that exists is taken. Which placeholders there are depends on the reader
            (`stages/ingest/clip_media.py`).
        media_are: of corpora whose clips are a part of a longer video: `clips` that were cut out of it, or whole
            `videos`, out of which the clip is read.
        captions_of: of ActivityNet Captions: `videos`, whose sentences are joined to a paragraph, or `segments`.
        published: `clips`, `captions`, `questions` and `classes` as their authors counted them; another number is
            noted.
        published_subsets: likewise, by subset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    videos: str = ""
    layout: Literal["youcook2", "msrvtt"] | None = None
    split: Literal["train", "val", "test", "all"] = "test"
    suffix: str = ""
    subsets: dict[str, str] = {}
    relevancy: Literal["file", "built", "none"] = "file"
    relevancy_type: Literal["caption", "verb", "noun"] = "caption"
    audio: list[str] = []
    frames: list[str] = []
    left_sec: Annotated[float, Field(ge=0)] = 0.0
    right_sec: Annotated[float, Field(ge=0)] = 0.0
    chunk_s: Annotated[float, Field(gt=0)] = 600.0
    media: list[str] = []
    media_are: Literal["clips", "videos"] = "clips"
    captions_of: Literal["videos", "segments"] = "videos"
    published: Counts = {}
    published_subsets: dict[str, Counts] = {}

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


class ShotSettings(Settings):
    """How PySceneDetect finds the boundaries of shots (`clips_from: shots`); what is not given is its own default.

    Attributes:
        detector: `content`, a change from one frame to the next, or `adaptive`, one that exceeds those around it,
            which is calmer where the camera moves fast.
        threshold: of `content`: the change of hue, saturation and brightness, 0 to 255, that is a boundary.
        adaptive_threshold: of `adaptive`: how many times the mean change of its neighbours.
        min_content_val: of `adaptive`: the least change that may be a boundary.
        window_width: of `adaptive`: frames before and after that count as neighbours.
        luma_only: compare brightness alone.
    """

    detector: Literal["content", "adaptive"] = "content"
    threshold: Annotated[float, Field(gt=0, le=255)] | None = None
    adaptive_threshold: Annotated[float, Field(gt=0)] | None = None
    min_content_val: Annotated[float, Field(ge=0, le=255)] | None = None
    window_width: Annotated[int, Field(ge=1)] | None = None
    luma_only: bool = False

    @model_validator(mode="after")
    def _of_detector(self) -> ShotSettings:
        others = {"content": ADAPTIVE, "adaptive": ("threshold",)}[self.detector]
        if wrong := [name for name in others if getattr(self, name) is not None]:
            raise ValueError(f"detector {self.detector} has no {' and no '.join(wrong)}: leave it out")
        return self

    def options(self) -> dict[str, float]:
        """What is given, as the detector's arguments."""
        return self.model_dump(exclude={"detector"}, exclude_none=True)


class ClassSettings(Settings):
    """The classes of clips, for protocol `zero-shot-classification`.

    Attributes:
        prompts: files of templates in `configs/class-prompts/`; each makes a caption source `labels@NAME`, beside the
            names of the classes themselves, source `labels`.
        separator: of a `folder` with a listing: what stands between the labels in a cell of its column `labels`.
    """

    prompts: list[str] = []
    separator: Annotated[str, Field(min_length=1)] = ","


class CorpusConfig(Settings):
    """`configs/corpora/NAME.yaml`.

    Attributes:
        reader: module of `stages/ingest/readers/` that understands the files.
        files: which published annotation files are read (all readers but `folder`).
        clips_from: what the clips of a `folder` are: the times of the `captions`, and windows of media without times;
            or, whatever times captions have, `windows` or `shots` of every medium, to which timed captions are
            relevant as `stages.ingest.windows` says.
        window_s: length in seconds of the windows that media are cut into, and of the longest shot; null takes each
            medium, or shot, whole.
        hop_s: seconds from the start of a window to that of the next; less than `window_s`, and windows overlap.
            By default `window_s`.
        min_window_s: a shorter remainder joins the window before it, and a shorter shot the one before it.
        shots: how shots are found, for `clips_from: shots`.
        captions_from: where a `folder` finds captions when the annotations are no listing: `subtitles` beside the
            media (SRT, VTT, ASS, TTML, ...), a `text` file beside each, or the `filename` itself.
        caption_keys: where a `webdataset` has its captions: `txt`, or a key of the JSON files beside the media; which
            columns of a `huggingface` dataset have them; of each medium the first that holds text. By default
            `stages.ingest.sample_captions.CAPTION_KEYS`.
        media_column: of a `huggingface` dataset; by default its only `Audio` or `Video` column.
        audio: how audio tracks are extracted.
        limits: what a medium may claim to be before it is refused.
        silence: which clips count as silent, where their levels are measured (`levels:` in `params.yaml`).
        classes: how classes become texts (`esc-50`, `urbansound8k`, `vggsound`); of a `folder`, that its listing has a
            column `label`, or `labels`, with the classes of each clip.
        licence: of the annotations, and of the media where these are published with them; `hearonce add` shows it.
        terms: what else is to be observed, and where the files are had.
    """

    reader: str = "folder"
    files: OfficialFiles = OfficialFiles()
    clips_from: ClipsFrom = "captions"
    window_s: Annotated[float, Field(gt=0)] | None = 10.0
    hop_s: Annotated[float, Field(gt=0)] | None = None
    min_window_s: Annotated[float, Field(ge=0)] = 1.0
    captions_from: Literal["listing", "subtitles", "text", "filename"] = "listing"
    caption_keys: list[str] = []
    media_column: str = ""
    audio: AudioSettings = AudioSettings()
    limits: Limits = Limits()
    shots: ShotSettings = ShotSettings()
    silence: SilenceSettings = SilenceSettings()
    classes: ClassSettings | None = None
    licence: str = ""
    terms: str = ""

    @model_validator(mode="after")
    def _windows(self) -> CorpusConfig:
        if self.hop_s is not None and self.window_s is None:
            raise ValueError("hop_s is given and window_s is null: give the length of the windows, or leave out hop_s")
        if self.hop_s is not None and self.window_s is not None and self.hop_s > self.window_s:
            raise ValueError(
                f"hop_s {self.hop_s:g} is longer than window_s {self.window_s:g}, which would leave gaps between "
                "windows: give at most the length of a window"
            )
        if self.files.split == "all" and self.reader != "vggsound":
            raise ValueError(f"files.split: all is for reader vggsound; {self.reader} reads one split")
        if self.classes is not None and self.reader not in CLASSIFIED:
            raise ValueError(f"classes is for readers {', '.join(CLASSIFIED)}; {self.reader} knows no classes")
        if self.classes is not None and self.reader == "folder" and self.captions_from != "listing":
            raise ValueError(f"classes of a folder come from a listing, not from captions_from: {self.captions_from}")
        if self.clips_from != "captions" and self.reader not in OWN_MEDIA:
            readers = " or ".join(OWN_MEDIA)
            raise ValueError(f"clips_from: {self.clips_from} is for reader {readers}; {self.reader} has its own clips")
        return self


def load_corpus(name: str) -> CorpusConfig:
    """Reads `configs/corpora/<name>.yaml`."""
    return load(named("corpora", name), CorpusConfig)
