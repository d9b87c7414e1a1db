"""Which files are media: one list of container formats for every reader, and the suffixes under which they are found.

A format is on the list if FFmpeg recognises it by its content and reads nothing but the bytes of the one file. What
reads other files, devices or addresses is not: playlists (concat, HLS, DASH, IMF, SDP), image sequences (image2),
scripts and generators (lavfi, AviSynth, VapourSynth, SBaGen), capture devices, subtitles and text (tty). Neither is
what has no content to be recognised by, such as raw samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar


class MediaError(Exception):
    """A file that cannot serve: missing, broken, or without the audio, video or seconds asked for.

    Attributes:
        reason: a short sentence for the problems table. It names no path, so equal faults read alike.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CONTAINERS = _names(
    """
    3dostr 4xm apng asf asf_o avi caf cdxl cine dhav dv dxa film_cpk flv gif gxf iff ifv ivf ivr kux lxf matroska
    mov mpeg mpegts mpegvideo mpjpeg mtv mv mxf mxg nsv nut nuv ogg pmp pva r3d rm roq rpl smjpeg swf ty vividas
    vivo wtv xmv yuv4mpegpipe
    """
)
"""Containers of audio and video, or of either."""

_AUDIO = _names(
    """
    aa aac aax ac3 ac4 acm act adp ads adx aea aiff amr amrnb amrwb apac ape apm aptx aptx_hd ast au avr bfstm binka
    bit bonk brstm codec2 daud dsf dss dts dtshd eac3 epaf flac fsb g722 g723_1 g729 gsm hca hcom iamf ilbc ircam
    laf lc3 loas mca mlp mmf mp3 mpc mpc8 msf nistsphere nsp oma osq pvf qcp qoa redspark rka rso sbc sdx shn sln
    sol sox spdif tak truehd tta vag voc vqf w64 wav wavarc wsd wv wve xa xvag xwma
    """
)
"""Of audio alone."""

_VIDEO = _names(
    """
    apv av1 avs2 avs3 cavsvideo dirac dnxhd evc h261 h263 h264 hevc ipu m4v mjpeg mjpeg_2000 obu vc1 vc1test vvc
    """
)
"""Elementary streams of video."""

_GAMES = _names(
    """
    bethsoftvid bfi bink bmv c93 dfa dsicin ea flic idcin ipmovie siff smk smush thp tiertexseq vmd wc3movie wsaud
    wsvqa
    """
)
"""Of games."""

_STILL = _names(
    """
    bmp_pipe jpeg_pipe png_pipe tiff_pipe webp_pipe
    """
)
"""A still image is a video of one frame; these read one file, not a sequence of files as `image2` does."""

FORMATS = _CONTAINERS | _AUDIO | _VIDEO | _GAMES | _STILL
"""Demuxers of FFmpeg that may be used, by name. Those that this build of FFmpeg lacks are simply never met."""

OPEN_OPTIONS = {
    "format_whitelist": ",".join(sorted(FORMATS)),
    "protocol_whitelist": "file",
    "enable_drefs": "0",
    "use_absolute_path": "0",
}
"""Options of every opening: these formats, plain files, and no tracks that an mp4 keeps in other files."""

VIDEO_SUFFIXES = _names(
    """
    .264 .265 .3g2 .3gp .amv .asf .avi .divx .dv .dvr-ms .f4v .flv .gif .gxf .h264 .h265 .hevc .ivf .m1v .m2p .m2t .m2ts
    .m2v .m4v .mjpeg .mjpg .mk3d .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mpv .mts .mxf .nsv .nut .nuv .ogm .ogv .ogx .qt
    .rm .rmvb .swf .tod .trp .ts .vob .webm .wm .wmv .wtv .y4m
    """
)
AUDIO_SUFFIXES = _names(
    """
    .3ga .aa3 .aac .ac3 .adts .aif .aifc .aiff .amr .ape .au .awb .bwf .caf .dsf .dts .dtshd .eac3 .ec3 .f4a .flac
    .g722 .gsm .ircam .loas .lc3 .m1a .m2a .m4a .m4b .m4r .mka .mlp .mp1 .mp2 .mp3 .mpa .mpc .mpga .nist .oga .ogg .oma
    .opus .qoa .ra .rf64 .sf .shn .snd .sox .sph .spx .tak .thd .tta .voc .w64 .wav .wave .weba .wma .wv
    """
)
SUFFIXES = VIDEO_SUFFIXES | AUDIO_SUFFIXES
"""Endings, in small letters, of the files that a folder or an address is searched for. A file that annotations name
is opened by its content, whatever it ends in."""

_KNOWN_STARTS = (
    (b"ffconcat version", "a playlist that names other files (ffconcat)"),
    (b"#EXTM3U", "a playlist that names other files (HLS, M3U)"),
    (b"[playlist]", "a playlist that names other files (PLS)"),
    (b"v=0", "a description of a network session (SDP)"),
    (b"%!PS", "a PostScript document"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "an archive (ZIP)"),
    (b"\x1f\x8b", "an archive (gzip)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"#SBAGEN", "a script (SBaGen)"),
    (b"\x7fELF", "a program"),
    (b"RTSP", "a description of a network session (RTSP)"),
    (b"WEBVTT", "subtitles (WebVTT)"),
)
_KNOWN_MARKS = (
    (b"<MPD", "a playlist that names other files (DASH)"),
    (b"<CompositionPlaylist", "a playlist that names other files (IMF)"),
    (b"<playlist", "a playlist that names other files (XSPF)"),
    (b"<SmoothStreamingMedia", "a playlist that names other files (Smooth Streaming)"),
    (b"<asx", "a playlist that names other files (ASX)"),
    (b"<smil", "a playlist that names other files (SMIL)"),
    (b"<svg", "a drawing (SVG)"),
    (b"<html", "a web page"),
    (b"#EXT-X-", "a playlist that names other files (HLS)"),
)
HEAD_BYTES = 4096
"""As much of a file's start as `what_instead` should be given."""


def what_instead(head: bytes) -> str:
    """What a file that is no medium seems to be, by its first bytes: in a few words, empty if that is not known."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, what in _KNOWN_STARTS:
        if text[: len(start)].lower() == start.lower():
            return what
    lowered = text.lower()
    for mark, what in _KNOWN_MARKS:
        if mark.lower() in lowered:
            return what
    if lowered.startswith((b"file '", b'file "', b"file ")):
        return "a playlist that names other files (ffconcat)"
    if lowered.startswith(b"<?xml"):
        return "an XML document"
    return "text" if text and _is_text(text) else ""


def _is_text(head: bytes) -> bool:
    try:
        decoded = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a letter may be cut at the end
            return False
        decoded = head[: error.start].decode("utf-8")
    return decoded.isprintable() or not any(letter < " " and letter not in "\t\r\n\f" for letter in decoded)


LARGEST_NUMBER = 2**31 - 1
"""Of a frame in a folder; tables hold numbers of 64 bits, file names of 255 digits."""


@dataclass(frozen=True)
class Limits:
    """Limits of one medium.

    Attributes:
        max_hours: of its length, by its packets.
        max_pixels: of one frame: 8192 x 8192 by default, twice the 8K of televisions.
        max_aspect: how many times longer one side of a frame may be than the other: scaled by its short side, a frame
            of 1 x 65,000 pixels would have billions of them.
        max_channels: of its audio.
        min_sample_rate: of its audio, in hertz: one that is too low makes hours of a few bytes.
        max_sample_rate: likewise.
        max_frames: images in a folder of frames.
        max_windows: clips that one medium without times is cut into.
    """

    max_hours: float = 48.0
    max_pixels: int = 8192 * 8192
    max_aspect: float = 100.0
    max_channels: int = 128
    min_sample_rate: int = 50
    max_sample_rate: int = 1_536_000
    max_frames: int = 20_000_000
    max_windows: int = 200_000

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # in a YAML file, a key nobody knows is an error

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be more than 0")

    def check_length(self, seconds: float) -> None:
        """Of a medium.

        Raises:
            MediaError: it is too long, or no number.
        """
        if math.isnan(seconds) or seconds > self.max_hours * 3600:
            raise beyond(f"claims {seconds / 3600:.3g} hours", "max_hours", self.max_hours)

    def check_frame(self, width: int, height: int) -> None:
        """Of a video or an image, by its size in pixels: 0 where no frame could be decoded, which others say.

        Raises:
            MediaError: it has too many, or is too narrow.
        """
        if width * height > self.max_pixels:
            raise beyond(f"has frames of {width} x {height} pixels", "max_pixels", self.max_pixels)
        if min(width, height) and max(width, height) > self.max_aspect * min(width, height):
            raise beyond(f"has frames of {width} x {height} pixels", "max_aspect", self.max_aspect)

    def check_audio(self, sample_rate: int, channels: int) -> None:
        """Of an audio track.

        Raises:
            MediaError: its rate or number of channels is out of bounds.
        """
        if channels > self.max_channels:
            raise beyond(f"has {channels} audio channels", "max_channels", self.max_channels)
        if sample_rate > self.max_sample_rate:
            raise beyond(f"has audio of {sample_rate} Hz", "max_sample_rate", self.max_sample_rate)
        if sample_rate < self.min_sample_rate:
            raise beyond(f"has audio of {sample_rate} Hz", "min_sample_rate", self.min_sample_rate)

    def check_frames(self, count: int) -> None:
        """Of a folder of frames, by their number.

        Raises:
            MediaError: there are too many.
        """
        if count > self.max_frames:
            raise beyond(f"has {count} frames", "max_frames", self.max_frames)

    def check_windows(self, seconds: float, window_s: float) -> None:
        """Of a medium that is to be cut into windows.

        Raises:
            MediaError: there would be too many.
        """
        if seconds / window_s > self.max_windows:
            count = seconds / window_s
            raise beyond(f"would be cut into {count:.3g} windows of {window_s:g} s", "max_windows", self.max_windows)


DEFAULT = Limits()


def beyond(what: str, setting: str, bound: float) -> MediaError:
    """The error that says what is out of bounds, and which setting says so."""
    return MediaError(f"{what}, and {setting} is {bound:.12g}: change `limits:` of the corpus if this is right")
