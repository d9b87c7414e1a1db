import subprocess
import sys

import pytest
from media_samples import numbered_frames, tone, write_media

from pipeline.media.containers import FORMATS, OPEN_OPTIONS, SUFFIXES, what_instead
from pipeline.media.probe import probe

AUDIO = {
    ".aac": ("adts", "aac"),
    ".ac3": ("ac3", "ac3"),
    ".aif": ("aiff", "pcm_s16be"),
    ".aiff": ("aiff", "pcm_s24be"),
    ".au": ("au", "pcm_s16be"),
    ".caf": ("caf", "pcm_s16le"),
    ".eac3": ("eac3", "eac3"),
    ".flac": ("flac", "flac"),
    ".m4a": ("ipod", "aac"),
    ".m4b": ("ipod", "aac"),
    ".mka": ("matroska", "flac"),
    ".mp2": ("mp2", "mp2"),
    ".mp3": ("mp3", "libmp3lame"),
    ".oga": ("oga", "flac"),
    ".opus": ("opus", "libopus"),
    ".snd": ("au", "pcm_s16be"),
    ".sox": ("sox", "pcm_s32le"),
    ".tta": ("tta", "tta"),
    ".voc": ("voc", "pcm_s16le"),
    ".w64": ("w64", "pcm_s16le"),
    ".wav": ("wav", "pcm_s16le"),
    ".weba": ("webm", "libopus"),
    ".wma": ("asf", "libmp3lame"),
    ".wv": ("wv", "wavpack"),
}
VIDEO = {
    ".264": ("h264", "libx264"),
    ".3g2": ("3g2", "mpeg4"),
    ".3gp": ("3gp", "mpeg4"),
    ".asf": ("asf", "msmpeg4"),
    ".avi": ("avi", "mpeg4"),
    ".f4v": ("f4v", "libx264"),
    ".flv": ("flv", "flv"),
    ".gif": ("gif", "gif"),
    ".h264": ("h264", "libx264"),
    ".ivf": ("ivf", "libvpx"),
    ".m1v": ("mpeg1video", "mpeg1video"),
    ".m2ts": ("mpegts", "libx264"),
    ".m2v": ("mpeg2video", "mpeg2video"),
    ".m4v": ("mp4", "mpeg4"),
    ".mjpg": ("mjpeg", "mjpeg"),
    ".mkv": ("matroska", "libx264"),
    ".mov": ("mov", "mjpeg"),
    ".mp4": ("mp4", "libx264"),
    ".mpeg": ("mpeg", "mpeg1video"),
    ".mpg": ("mpeg", "mpeg1video"),
    ".mts": ("mpegts", "mpeg2video"),
    ".mxf": ("mxf", "mpeg2video"),
    ".nut": ("nut", "ffv1"),
    ".ogv": ("ogv", "libvpx"),
    ".rm": ("rm", "rv10"),
    ".ts": ("mpegts", "mpeg2video"),
    ".vob": ("vob", "mpeg2video"),
    ".webm": ("webm", "libvpx"),
    ".wmv": ("asf", "wmv2"),
    ".wtv": ("wtv", "mpeg2video"),
    ".y4m": ("yuv4mpegpipe", "wrapped_avframe"),
}
PIXELS = {"gif": "rgb8", "mjpeg": "yuvj420p"}


@pytest.mark.parametrize("suffix", AUDIO)
def test_audio_is_found_and_opened(tmp_path, suffix):
    container, codec = AUDIO[suffix]
    path = tmp_path / f"a{suffix}"
    write_media(path, samples=tone(1, 48000), container_format=container, audio_codec=codec)
    assert suffix in SUFFIXES
    info = probe(path)
    assert info.audio is not None and info.duration_s == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("suffix", VIDEO)
def test_video_is_found_and_opened(tmp_path, suffix):
    container, codec = VIDEO[suffix]
    path = tmp_path / f"a{suffix}"
    options = {"pixel_format": PIXELS[codec]} if codec in PIXELS else {}
    frames = numbered_frames(25, width=176, height=144)
    write_media(path, frames=frames, container_format=container, video_codec=codec, **options)
    assert suffix in SUFFIXES
    info = probe(path)
    assert info.video is not None and (info.video.width, info.video.height) == (176, 144)


OTHERS = """
    concat hls dash imf sdp rtsp rtp sap image2 image2pipe lavfi alsa oss fbdev v4l2 x11grab kmsgrab tty srt ass
    webvtt vobsub tedcaptions sbg ffmetadata rawvideo data s16le u8 mlv webm_dash_manifest live_flv mpegtsraw
    svg_pipe gif_pipe psd_pipe avisynth vapoursynth dvdvideo bluray
"""


@pytest.mark.parametrize("name", OTHERS.split())
def test_what_reads_other_files_devices_or_anything_at_all_is_not_on_the_list(name):
    assert name not in FORMATS


def test_the_list_is_given_to_ffmpeg_and_files_alone():
    assert set(OPEN_OPTIONS["format_whitelist"].split(",")) == FORMATS
    assert OPEN_OPTIONS["protocol_whitelist"] == "file"


def test_suffixes_are_small_and_no_captions():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
    assert not SUFFIXES & {".txt", ".srt", ".vtt", ".csv", ".tsv", ".json", ".jsonl", ".m3u8", ".mpd", ".jpg", ".png"}


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"#EXTM3U\n", "HLS"),
        (b"\xef\xbb\xbf#EXTM3U", "HLS"),
        (b"  <?xml version='1.0'?>\n<mpd>", "DASH"),
        (b"<!DOCTYPE HTML><HTML>", "web page"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04abc", "ZIP"),
        (b"plain words, and an umlaut: \xc3\xbc", "text"),
        ("cut within a letter ü".encode()[:-1], "text"),
    ],
)
def test_what_a_file_is_instead(head, what):
    assert what in what_instead(head)


@pytest.mark.parametrize(
    "head", [b"", b"\0\0\0\x18ftypmp42", b"RIFF\x10\0\0\0WAVE", b"\xff\xfb\x90\x00" * 9, bytes(range(256))]
)
def test_what_is_no_text_is_not_called_so(head):
    assert what_instead(head) == ""


def test_no_other_place_opens_media_or_pictures():
    """One list serves all: whoever opens a file of the user goes through `opening` or `frame_folder`."""
    found = subprocess.run(
        [sys.executable, "-c", "import re, pathlib\nfor root in ('pipeline', 'stages'):\n    for path in "
         "pathlib.Path(root).rglob('*.py'):\n        for line in path.read_text().splitlines():\n            "
         "if re.search(r'\\bav\\.open\\(|Image\\.open\\(', line): print(path)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert sorted(found) == [
        "pipeline/media/numbered_frames.py",
        "pipeline/media/opening.py",
        "stages/report/audio.py",
    ], "the last one writes"
