"""`configs/corpora/NAME.yaml`: how the files of a corpus are read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.named import named
from pipeline.config.records import Settings, load
from pipeline.media.containers import Limits
from pipeline.official_files import OfficialFiles


class AudioSettings(Settings):
    """How sound tracks are extracted.

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
        audio: how sound tracks are extracted.
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
