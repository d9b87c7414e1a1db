"""Bit flips in what the store keeps beside rows: extracted audio, its records, remembered digests, answers.

`test_flipped_bits_in_audio.py` runs a short campaign and `python -m benchmarks.faults` a long one. Each trial flips one
bit and asks for values as a run does. What comes of it is one of

- `healed`: the right value, and the file is as it was, or has no damage left;
- `found`: no value, the damage is named;
- `harmless`: the right value, though nothing was healed (bytes that hold nothing, such as free pages of SQLite);
- `wrong`: another value. There must be none.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from media_samples import noise, tone, write_media

from cache import answers
from cache.answers import Answer, AnswerStore
from cache.digests import DigestMemory
from cache.digests import verify as verify_digests
from cache.location import Store
from pipeline.commands.cache import audio
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import MediaError

RATE = 16_000
SECONDS = 6.0

Outcomes = dict[str, Counter[str]]
"""Outcomes by the kind of file."""


def flipped(path: Path, dice: random.Random, pristine: bytes) -> None:
    """Writes a file anew with one bit flipped; in a third of all trials in its first 64 bytes."""
    data = bytearray(pristine)
    at = dice.randrange(min(64, len(data)) if dice.random() < 1 / 3 else len(data))
    data[at] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def campaign(folder: Path, rounds: int, seed: int = 0) -> Outcomes:
    """Flips so many bits in each kind of file.

    Args:
        folder: an empty folder.
        rounds: flips for each kind of file.
        seed: of the places.
    """
    dice = random.Random(seed)
    kinds: dict[str, Callable[[Path, random.Random, int], Counter[str]]] = {
        "extracted audio": lambda *of: _audio(*of, ending=".flac", at_hand=True),
        "extracted audio, medium gone": lambda *of: _audio(*of, ending=".flac", at_hand=False),
        "records of audio": lambda *of: _audio(*of, ending=".json", at_hand=True),
        "remembered digests": _digests,
        "answers": _answers,
    }
    outcomes = {}
    for name, trials in kinds.items():
        (place := folder / name.replace(" ", "-")).mkdir()
        outcomes[name] = trials(place, dice, rounds)
    return outcomes


def _audio(folder: Path, dice: random.Random, rounds: int, ending: str, at_hand: bool) -> Counter[str]:
    """Clips are read from a damaged FLAC file, or beside a damaged record."""
    samples = np.concatenate([tone(SECONDS / 2, RATE), noise(SECONDS / 2, RATE)])
    medium = write_media(folder / "a.wav", samples=samples, sample_rate=RATE)
    digest = DigestMemory(None).digest(medium)
    store = AudioStore(Store(folder / "store"), AudioSettings())
    store.ensure(digest, medium)
    clips = [(0.0, SECONDS), (0.2, 1.2), (4.5, 5.5)]
    expected = [store.read(digest, medium, *clip, RATE) for clip in clips]
    flac = store.path(digest)
    pristine = {path: path.read_bytes() for path in (flac, flac.with_suffix(".json"))}
    target = flac.with_suffix(ending)
    if not at_hand:
        medium.unlink()
    outcomes: Counter[str] = Counter()
    for _ in range(rounds):
        for path, data in pristine.items():
            path.write_bytes(data)
        flipped(target, dice, pristine[target])
        named = bool(audio.verify(store.folder))
        clip = dice.randrange(len(clips))
        try:
            found = store.read(digest, medium, *clips[clip], RATE)
        except MediaError:
            outcomes["found" if named else "wrong"] += 1
            continue
        same = np.array_equal(found, expected[clip])
        if not same or not named:
            outcomes["wrong"] += 1
        elif all(path.read_bytes() == data for path, data in pristine.items()):
            outcomes["healed"] += 1
        else:  # the clip lies elsewhere in the file
            outcomes["found"] += 1
    return outcomes


def _digests(folder: Path, dice: random.Random, rounds: int) -> Counter[str]:
    """Digests are asked of a damaged memory."""
    path, media = folder / "digests.sqlite", [folder / f"{number}.bin" for number in range(40)]
    for number, medium in enumerate(media):
        medium.write_bytes(b"%d" % number * 100)
    memory = DigestMemory(path)
    expected = [memory.digest(medium) for medium in media]
    remote = [f"{number:032x}" for number in range(40)]
    for number, digest in enumerate(remote):
        memory.remember(f"https://example.org/{number}", number, "etag", digest)
        memory.remember_facts(digest, "probe 1", f'{{"duration_s": {number}}}')
    memory.close()
    pristine = path.read_bytes()
    outcomes: Counter[str] = Counter()
    for _ in range(rounds):
        for beside in folder.glob("digests.sqlite?*"):
            beside.unlink()
        flipped(path, dice, pristine)
        damaged = folder / "looked-at.sqlite"
        shutil.copyfile(path, damaged)
        named = bool(verify_digests(damaged))
        memory = DigestMemory(path)
        right = [memory.digest(medium) for medium in media] == expected
        for number, digest in enumerate(remote):
            right &= memory.recall(f"https://example.org/{number}", number, "etag") in (digest, None)
            right &= memory.recall_facts(digest, "probe 1") in (f'{{"duration_s": {number}}}', None)
        memory.close()
        outcomes["wrong" if not right else "healed" if named else "harmless"] += 1
    return outcomes


def _answers(folder: Path, dice: random.Random, rounds: int) -> Counter[str]:
    """Answers are read from a damaged file or beside a damaged description."""
    kept = AnswerStore(folder, {"task": "description", "model": {"name": "m"}, "prompt": "Describe."})
    texts = [f"a dog barks {number} times" for number in range(10)]
    kept.add([Answer(kept.key(text), text, f"reply {text}", "stop", "m", 3, 2) for text in texts])
    kept.close()
    expected = kept.read()
    files = {path: path.read_bytes() for path in sorted(kept.path.iterdir())}
    outcomes: Counter[str] = Counter()
    for _ in range(rounds):
        target = dice.choice(list(files))
        flipped(target, dice, files[target])
        damages = answers.verify(kept.path)
        found = kept.read()
        right = all(found[key] == expected[key] for key in found)
        lost = len(expected) - len(found)
        outcomes["found" if right and damages and lost <= 2 else "wrong"] += 1
        answers.repair(kept.path)
        if answers.verify(kept.path) or len(kept.read()) != len(found):
            outcomes["wrong"] += 1
        for path in kept.path.iterdir():
            path.unlink()
        for path, data in files.items():
            path.write_bytes(data)
    return outcomes
