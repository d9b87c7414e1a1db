"""Which files are media: one list of container formats for every reader, and the suffixes under which they are found.

A format is on the list if FFmpeg recognises it by its content and reads nothing but the bytes of the one file. What
reads other files, devices or addresses is not: playlists (concat, HLS, DASH, IMF, SDP), image sequences (image2),
scripts and generators (lavfi, AviSynth, VapourSynth, SBaGen), capture devices, subtitles and text (tty). Neither is
what has no content to be recognised by, such as raw samples.
"""

from __future__ import annotations


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
"""A still picture is a video of one frame; these read one file, not a sequence of files as `image2` does."""

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
