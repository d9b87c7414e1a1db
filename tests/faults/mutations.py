"""Inputs of every kind, damaged at random: each is read rightly or refused by one sentence, in bounded time and memory.

`test_mutations.py` runs a short campaign and `python -m benchmarks.faults` a long one. A mutant is a valid file with
flipped bits, bytes that stand for the largest numbers, a part that is doubled, moved, or left out, or a cut end.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import resource
import signal
import tarfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faults.killing import in_child
from media_samples import numbered_frames, tone, write_media
from PIL import Image

from cache.errors import UserError
from pipeline.checkpoints.archives import Limits, extract
from pipeline.checkpoints.weights import read_state_dict
from pipeline.config.records import load_yaml
from pipeline.formats.pickled_arrays import read_array
from pipeline.formats.word_vectors import open_vectors
from pipeline.media.audio import extract_audio
from pipeline.media.containers import MediaError
from pipeline.media.frames import read_frames
from pipeline.media.location import MediaFolder
from pipeline.media.media_list import read_media_list
from pipeline.media.numbered_frames import load_image
from pipeline.media.probe import probe
from stages.ingest.listing import read_listing
from stages.ingest.readers.ego_mcq import read_questions
from stages.ingest.subtitles import read_cues

OUTCOMES = ("inputs", "read", "refused", "wrong")
SECONDS, MEMORY = 30, 1 << 30
NUMBERS = (b"\xff" * 4, b"\x7f" + b"\xff" * 7, b"\0" * 8, b"9" * 5000, b"1e400", b"NaN", b"\x1b[2J", b"[" * 50_000)

Tally = Counter[tuple[str, str]]
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        name: of a file of it, whose ending says how it is read.
        data: a valid one.
        read: what reads it.
    """

    name: str
    data: bytes
    read: Read


def kinds(folder: Path) -> dict[str, Kind]:
    """All kinds, by the name for the table; samples are made in an empty folder."""
    made = {
        **{f"audio as {kind}": _audio(folder, kind) for kind in ("wav", "flac", "ogg", "matroska", "mp4")},
        **{f"video as {kind}": _video(folder, kind) for kind in ("mp4", "matroska", "mpegts", "avi")},
        **{f"picture as {kind}": _picture(kind) for kind in ("JPEG", "PNG", "WEBP")},
        **{f"archive {ending}": _archive(ending) for ending in (".tar", ".tar.gz", ".zip")},
        "checkpoint": _checkpoint(),
        "pickled matrix": Kind("a.pkl", pickle.dumps(np.eye(4)), read_array),
        "word vectors": Kind("a.bin", b"2 3\na " + bytes(12) + b"\nb " + bytes(12) + b"\n", open_vectors),
    }
    cue = "00:00:01,000 --> 00:00:02,000\na <i>caption</i>\n\n"
    rows = "".join(f'a.wav,{i},{i + 1},"caption {i}"\n' for i in range(5))
    urls = "url,path,size\n" + "".join(f"https://example.org/{i}.wav,{i}.wav,10\n" for i in range(5))
    texts: dict[str, tuple[str, str, Read]] = {
        "captions as CSV": ("a.csv", "file,start,end,caption\n" + rows, _listing),
        "captions as TSV": ("a.tsv", ("file,start,end,caption\n" + rows).replace(",", "\t"), _listing),
        "subtitles as SRT": ("a.srt", cue * 3, read_cues),
        "subtitles as WebVTT": ("a.vtt", "WEBVTT\n\n" + cue.replace(",", ".") * 3, read_cues),
        "media list": ("a.csv", urls, read_media_list),
        "questions": ("a.json", _questions(), lambda path: read_questions(path, "x")),
        "YAML": ("a.yaml", "corpora:\n  a: {media: m, list: [1, 2.5, null]}\n", load_yaml),
    }
    return made | {kind: Kind(name, text.encode(), read) for kind, (name, text, read) in texts.items()}


def campaign(folder: Path, n: int, seed: int) -> tuple[Tally, list[str]]:
    """Reads n mutants of every kind.

    Args:
        folder: an empty one, to work in.
        n: mutants of each kind.
        seed: of what is changed.

    Returns:
        How many ended how, and of each that is wrong what happened.
    """
    (folder / "samples").mkdir()
    tally: Tally = Counter()
    wrong: list[str] = []
    for number, (what, kind) in enumerate(kinds(folder / "samples").items()):
        (work := folder / str(number)).mkdir()
        mutants = [kind.data, *_mutants(kind.data, n, random.Random(f"{seed} {what}"))]
        valid, *outcomes = _outcomes(kind, mutants, work)
        assert valid == "read", f"{what} as it is: {valid}"
        for place, outcome in enumerate(outcomes):
            tally[what, "inputs"] += 1
            tally[what, outcome if outcome in OUTCOMES else "wrong"] += 1
            if outcome not in OUTCOMES:
                wrong.append(f"{what}, mutant {place}: {outcome}")
    return tally, wrong


def _outcomes(kind: Kind, mutants: list[bytes], work: Path) -> list[str]:
    """What became of each: read in another process, so that a crash or a hang is seen as such."""
    ended: list[str] = []
    while len(ended) < len(mutants):
        report = work / f"report-{len(ended)}"

        def read(say: object, start: int = len(ended), report: Path = report) -> None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            with report.open("w") as lines:
                for data in mutants[start:]:
                    (work / kind.name).write_bytes(data)
                    signal.alarm(SECONDS)  # whose default is to end the process
                    lines.write(json.dumps(_outcome(kind.read, work / kind.name)) + "\n")
                    lines.flush()

        with suppress(AssertionError):  # it has died
            in_child(read)
        ended += [json.loads(line) for line in report.read_text().splitlines()]
        if len(ended) < len(mutants):
            ended.append("the process died, or took too long")
    return ended


def _outcome(read: Read, path: Path) -> str:
    try:
        read(path)
    except (UserError, MediaError) as error:
        text = str(error)
        return "refused" if text and "\n" not in text and len(text) < 2000 else f"said {text[:300]!r}"
    except BaseException:
        return traceback.format_exc()[-800:]
    return "read"


def _mutants(data: bytes, n: int, dice: random.Random) -> Iterator[bytes]:
    for _ in range(n):
        mutant = bytearray(data)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(max(1, min(len(mutant), 400 if dice.random() < 0.5 else len(mutant))))
            length = dice.randint(1, 64)
            match dice.randrange(6):
                case 0 | 1 if mutant:
                    mutant[min(at, len(mutant) - 1)] ^= 1 << dice.randrange(8)
                case 2:
                    number = dice.choice(NUMBERS)
                    mutant[at : at + (len(number) if len(number) <= 8 else 0)] = number
                case 3:
                    mutant[at:at] = mutant[at : at + length] * dice.choice((1, 2, 500))
                case 4:
                    del mutant[at : at + length]
                case _:
                    del mutant[dice.randrange(len(mutant) + 1) if dice.random() < 0.3 else len(mutant) :]
        yield bytes(mutant)


def _audio(folder: Path, container: str) -> Kind:
    codec = {"wav": "pcm_s16le", "flac": "flac", "ogg": "libopus", "matroska": "ac3", "mp4": "aac"}[container]
    rate = 16_000 if container in ("wav", "flac") else 48_000
    path = folder / f"audio.{container}"
    write_media(path, samples=tone(0.3, rate), sample_rate=rate, audio_codec=codec, container_format=container)
    return Kind("a.wav", path.read_bytes(), _probe_and_extract)


def _probe_and_extract(path: Path) -> None:
    probe(path)
    extract_audio(path, path.with_name("made.flac"))


def _video(folder: Path, container: str) -> Kind:
    path = folder / f"video.{container}"
    write_media(path, frames=numbered_frames(5), container_format=container, video_codec="mpeg4")
    return Kind("a.mp4", path.read_bytes(), lambda path: (probe(path), list(read_frames(path, [0.0, 0.1]))))


def _picture(kind: str) -> Kind:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(buffer, kind)
    return Kind("frame_1.jpg", buffer.getvalue(), load_image)


def _archive(ending: str) -> Kind:
    buffer = io.BytesIO()
    if ending == ".zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("a/b", b"weights" * 9)
            packed.writestr("c", b"1")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in ("a/b", "c"):
                header = tarfile.TarInfo(name)
                header.size = 63
                archive.addfile(header, io.BytesIO(b"weights" * 9))
    data = buffer.getvalue()
    return Kind(f"a{ending}", gzip.compress(data) if ending.endswith("gz") else data, _unpack)


def _unpack(path: Path) -> None:
    target = path.with_name(f"made-{len(os.listdir(path.parent))}")
    target.mkdir()
    extract(path, target, Limits())
    assert not [one for one in target.rglob("*") if one.is_symlink() or not (one.is_file() or one.is_dir())]


def _checkpoint() -> Kind:
    import torch

    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3, 2), "bias": torch.ones(2)}, buffer)
    return Kind("a.pth", buffer.getvalue(), read_state_dict)


def _listing(path: Path) -> None:
    read_listing(path, MediaFolder(path.parent))


def _questions() -> str:
    moment = {"video_uid": "v", "clip_start": 0.0, "clip_end": 1.0, "clip_text": "#C C cuts"}
    return json.dumps({"0": {"answer": 0, "types": 1, "query": moment, "choices": {str(i): moment for i in range(5)}}})
