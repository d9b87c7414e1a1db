"""Files that claim to be media: playlists under other names, and headers that claim far too much. Made by the tests."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from media_samples import numbered_frames, tone, write_media
from PIL import Image

RATE = 8000


def make_playlists(folder: Path) -> dict[str, str]:
    """Files that would make FFmpeg read others, which lie beside them: name -> part of the reason."""
    write_media(folder / "other.wav", samples=tone(1, RATE), sample_rate=RATE)
    write_media(folder / "other.ts", samples=tone(1, 48000), container_format="mpegts", audio_codec="aac")
    write_media(folder / "other.mp4", samples=tone(1, 48000), frames=numbered_frames(25))
    for number in range(3):
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / f"still{number:03d}.png")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / "still%03d.png")
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{folder}/other.ts\n#EXT-X-ENDLIST\n"
    dash = (
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        'bandwidth="1"><BaseURL>other.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>'
    )
    concat = "ffconcat version 1.0\nfile other.wav\n"
    texts = {
        "concat.mp4": (concat, "ffconcat"),
        "concat with bom.wav": ("\ufeff" + concat, "ffconcat"),
        "concat without head.mp4": ("file 'other.wav'\n", "ffconcat"),
        "concat to a server.mkv": ("ffconcat version 1.0\nfile http://127.0.0.1:9/a.wav\n", "ffconcat"),
        "concat for ever.wav": ("ffconcat version 1.0\nfile 'concat for ever.wav'\n", "ffconcat"),
        "hls.mp4": (hls, "HLS"),
        "hls.m3u8": (hls, "HLS"),
        "hls.ts": (hls, "HLS"),
        "dash.mp4": (dash, "DASH"),
        "dash.mpd": (dash, "DASH"),
        "session.mp4": ("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=audio 5004 RTP/AVP 97\n", "SDP"),
        "list.mp3": ("[playlist]\nFile1=other.wav\n", "PLS"),
        "list.wma": ('<asx version="3"><entry><ref href="other.wav"/></entry></asx>', "ASX"),
        "list.mov": ('<?xml version="1.0"?><playlist><trackList/></playlist>', "XSPF"),
        "tones.wav": ("#SBAGEN\nts: 100+4/60\nNOW ts\n", "SBaGen"),
        "cues.mp4": ("WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n", "WebVTT"),
    }
    for name, (text, _) in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return {name: part for name, (_, part) in texts.items()} | {"still%03d.png": "no container format"}


def referring_mov(path: Path, other: Path) -> Path:
    """A QuickTime file whose samples lie in another file, as an alias names it."""
    write_media(path, samples=tone(1, RATE), sample_rate=RATE, audio_codec="pcm_s16le", container_format="mov")
    name = other.name.encode()
    volume, folder = b"disk", other.parent.name.encode()
    full = str(other).encode()
    record = bytearray(150)
    record[10 : 10 + 1 + len(volume)] = bytes([len(volume)]) + volume  # Pascal strings at fixed places
    record[50 : 50 + 1 + len(name[:63])] = bytes([len(name[:63])]) + name[:63]
    record[130:132] = struct.pack(">h", 1)  # levels from the alias to their common folder, and down again
    record[132:134] = struct.pack(">h", 1)
    for kind, text in ((2, full), (18, full), (0, folder)):
        record += struct.pack(">hH", kind, len(text)) + text + b"\0" * (len(text) % 2)
    record += struct.pack(">hH", -1, 0)
    alias = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + bytes(record)
    path.write_bytes(_with_entry(path.read_bytes(), alias))
    return path


def _with_entry(data: bytes, entry: bytes) -> bytes:
    """A file in which every `dref` has this entry alone; `moov` lies after the samples, so that no offset changes."""

    def rebuilt(body: bytes, parents: tuple[bytes, ...]) -> bytes:
        out, at = b"", 0
        while at + 8 <= len(body):
            size, kind = struct.unpack_from(">I4s", body, at)
            inner = body[at + 8 : at + size]
            if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
                inner = rebuilt(inner, (*parents, kind))
            elif kind == b"dref":
                inner = struct.pack(">II", 0, 1) + entry
            out += struct.pack(">I4s", 8 + len(inner), kind) + inner
            at += size
        return out

    return rebuilt(data, ())


def claiming_mkv(path: Path, seconds: float) -> Path:
    """A second of audio in Matroska whose header claims another length."""
    write_media(path, samples=tone(1, RATE), sample_rate=RATE, audio_codec="pcm_s16le")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", seconds * 1000)
    path.write_bytes(bytes(data))
    return path


def far_packet(path: Path, seconds: int) -> Path:
    """Audio of which the last packet claims to be played very much later."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", RATE)
        for second in (0, seconds):
            packet = av.Packet(bytes(RATE))
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = second * RATE
            container.mux(packet)
    return path


def wav(path: Path, channels: int = 1, rate: int = RATE, data: bytes = bytes(2000)) -> Path:
    """A WAV file whose header says what it is told to."""
    block = 2 * channels
    head = struct.pack("<HHIIHH", 1, channels, rate, min(rate * block, 2**32 - 1), block % 65536, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def huge_frames(path: Path, side: int) -> Path:
    """A video in which every frame claims to have `side` pixels each way; its container says nothing of it."""
    write_media(path, frames=numbered_frames(3), video_codec="mjpeg", pixel_format="yuvj420p")
    path.write_bytes(_with_size(path.read_bytes(), side))
    return path


def huge_picture(path: Path, side: int) -> Path:
    """A JPEG that claims so many pixels each way."""
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path, "JPEG")
    path.write_bytes(_with_size(path.read_bytes(), side))
    return path


def _with_size(data: bytes, side: int) -> bytes:
    changed = bytearray(data)
    at = data.find(b"\xff\xc0\x00\x11\x08")
    while at >= 0:
        changed[at + 5 : at + 9] = struct.pack(">HH", side, side)
        at = data.find(b"\xff\xc0\x00\x11\x08", at + 1)
    return bytes(changed)
