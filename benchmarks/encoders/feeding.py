"""What feeds a GPU: `python -m benchmarks.encoders.feeding [FAMILY ...]`.

CPU milliseconds of one thread per clip of 10 s outside the network, from extracted audio, beside the limit: libFLAC's
decoding by soundfile, soxr, and the features as the encoder's own package computes them, on the same file by turns.
The limit mixes no channels, it takes the first. Where an encoder computes its features on the device, neither side
counts them.

`--sustained`: rows per second into a row store through the run of a stage, the network replaced by a sleep.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

from benchmarks.cache.measure import show
from benchmarks.encoders.material import CLIP_S, filled_encoder
from benchmarks.encoders.sustained import sustained
from cache.location import Store
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio_store import AudioStore
from pipeline.monitor.device import processors
from stages.embed.clips import Clip, Span
from stages.embed.encoder import AudioInput, Encoder
from stages.embed.inputs import clip_reader
from stages.embed.towers import LoadedTower, load_tower

Features = Callable[[np.ndarray], Any]


def audio_file(path: Path, seed: int, rate: int) -> None:
    """Stereo 16-bit WAV: tones that come and go over noise, about as large in FLAC as music is."""
    generator = np.random.default_rng(seed)
    clock = np.arange(round(CLIP_S * rate)) / rate
    mono = 0.02 * generator.standard_normal(len(clock))
    for hertz, beat in generator.uniform((80, 0.1), (8000, 4), (5, 2)):
        mono += 0.1 * np.sin(2 * np.pi * hertz * clock) * np.sin(2 * np.pi * beat * clock)
    side = 0.005 * generator.standard_normal(len(clock))
    soundfile.write(path, np.stack([mono, 0.5 * mono + side], 1), rate, subtype="PCM_16", format="WAV")


def torchaudio_decibels(**settings: Any) -> Features:
    """A power spectrogram in dB by torchaudio, its constants made once."""
    import torchaudio.transforms as transforms

    mel, decibels = transforms.MelSpectrogram(**settings), transforms.AmplitudeToDB(top_db=None)
    return lambda samples: decibels(mel(torch.from_numpy(samples)))


def of_laion_clap(encoder: Encoder) -> Features:
    """The transforms that `laion_clap.training.data.get_mel` makes anew for each clip."""
    sizes = {"sample_rate": 48000, "n_fft": 1024, "win_length": 1024, "hop_length": 480}
    return torchaudio_decibels(**sizes, n_mels=64, f_min=50, f_max=14000, power=2.0)


def of_transformers(encoder: Encoder) -> Features:
    """`ClapFeatureExtractor` of the checkpoint's folder."""
    from transformers import ClapFeatureExtractor

    extract = ClapFeatureExtractor.from_pretrained(str(encoder.config.checkpoint))  # type: ignore[attr-defined]
    return lambda samples: extract(samples, sampling_rate=48000, return_tensors="pt")


def of_yamnet(encoder: Encoder) -> Features:
    """torchaudio's transform of YAMNet's sizes; the network itself comes with one in TensorFlow."""
    import torchaudio.transforms as transforms

    sizes = {"sample_rate": 16000, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 64}
    mel = transforms.MelSpectrogram(**sizes, f_min=125, f_max=7500, power=1.0, center=False)
    return lambda samples: torch.log(mel(torch.from_numpy(samples)) + 0.001)


def of_avlnet(encoder: Encoder) -> Features:
    """What AVLnet's `LoadAudio` asks librosa for."""
    import librosa

    def spectrogram(samples: np.ndarray) -> np.ndarray:
        emphasised = np.append(samples[0], samples[1:] - 0.97 * samples[:-1])
        sizes = {"n_fft": 400, "hop_length": 160, "win_length": 400, "window": "hamming"}
        power = librosa.feature.melspectrogram(y=emphasised, sr=16000, n_mels=40, fmin=20, **sizes)
        return librosa.power_to_db(power, ref=np.max)

    return spectrogram


PEERS: dict[str, tuple[Callable[[Encoder], Features] | None, str]] = {
    "laion-clap": (of_laion_clap, "torchaudio, as the package"),
    "laion-clap-transformers": (of_transformers, "ClapFeatureExtractor"),
    "wavcaps": (None, "none: on the device"),
    "yamnet-minilm": (of_yamnet, "torchaudio, of these sizes"),
    "avlnet-spectrogram": (of_avlnet, "librosa, as the authors"),
}
"""Encoders of audio, and the features of their packages."""


@dataclass(frozen=True)
class Fed:
    """A clip tower and the audio that it is given, extracted.

    Attributes:
        encoder: with a filled checkpoint.
        tower: its clip tower.
        clips: files of 10 s.
        store: that has their audio.
    """

    encoder: Encoder
    tower: LoadedTower
    clips: Sequence[Clip]
    store: AudioStore


def fed(family: str, folder: Path, count: int, rate: int) -> Fed:
    """Makes files, extracts their audio and loads a tower."""
    media = folder / f"media-{rate}"
    media.mkdir(parents=True, exist_ok=True)
    store, clips = AudioStore(Store(folder), AudioSettings()), []
    for number in range(count):
        path, digest = media / f"{number:05d}.wav", f"{rate + (number << 20):032x}"
        if not path.is_file():
            audio_file(path, number % 64, rate)
        if store.find(digest) is None:
            _extract(store, path, digest)
        clips.append(Clip(path.stem, (Span(path, digest, 0.0, CLIP_S),), path.name))
    checkpoints = folder / f"checkpoints-{family}"
    checkpoints.mkdir(exist_ok=True)
    encoder = filled_encoder(family, checkpoints)
    return Fed(encoder, load_tower(encoder, "clips", torch.device("cpu")), clips, store)


def _extract(store: AudioStore, path: Path, digest: str) -> None:
    """Extracts a file under a made-up digest, as `AudioStore.ensure` does under the right one."""
    from pipeline.media.audio import extract_audio
    from pipeline.media.audio_store import AudioRecord

    target = store.path(digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = extract_audio(path, target)
    AudioRecord.of(target, digest, store.recipe(digest), made).write(target.with_suffix(".json"))


def cpu_ms(work: Callable[[Any], object], items: Sequence[Any]) -> tuple[float, list[Any]]:
    """CPU milliseconds an item, and what each gave."""
    started = time.process_time()
    results = [work(item) for item in items]
    return (time.process_time() - started) * 1000 / len(items), results


def measured(family: str, folder: Path, count: int, rounds: int, rate: int) -> dict[str, float]:
    """Medians over rounds of CPU milliseconds a clip: ours by parts, the limit by parts, and their ratio."""
    made, (peer, _) = fed(family, folder, count, rate), PEERS[family]
    assert isinstance(made.encoder.clip_input, AudioInput)
    wanted = made.encoder.clip_input.sample_rate or rate
    reader, own = clip_reader(made.encoder.clip_input, made.clips, made.store), peer and peer(made.encoder)
    files = [made.store.path(clip.spans[0].digest) for clip in made.clips]

    def plain(path: Path) -> np.ndarray:
        samples = soundfile.read(path, dtype="float32", always_2d=True)[0]
        mono = np.ascontiguousarray(samples[:, 0])
        return mono if wanted == rate else soxr.resample(mono, rate, wanted, quality="HQ")

    def read(row: Any) -> Any:
        (_, item), *_ = reader.read([row])
        return item

    rows, found = list(reader.rows), []
    with torch.inference_mode():
        for number in range(rounds + 1):
            ours_read, items = cpu_ms(read, rows)
            limit_read, samples = cpu_ms(plain, files)
            pairs = [(item, row.key) for item, row in zip(items, rows, strict=True)]
            prepare = cpu_ms(lambda pair: made.tower.prepare(*pair), pairs)[0]
            features = cpu_ms(own, samples)[0] if own else 0.0
            if number:  # the first warms up
                found.append((ours_read, prepare, limit_read, features))
    names = ("read", "prepare", "limit read", "limit features")
    medians = {name: statistics.median(column) for name, column in zip(names, zip(*found, strict=True), strict=True)}
    ratios = [(r + p) / (lr + lf) for r, p, lr, lf in found]
    return {**medians, "ours": medians["read"] + medians["prepare"], "ours / limit": statistics.median(ratios)}


def main() -> None:
    """Measures and prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=list(PEERS), help=f"of {', '.join(PEERS)}; all by default")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=48000, help="of the extracted audio, in Hz")
    parser.add_argument("--sustained", type=int, default=0, metavar="CLIPS", help="also run so many, 0.3 ms each")
    parser.add_argument("--folder", type=Path, help="where audio and checkpoints are kept; temporary by default")
    parsed = parser.parse_args()
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="hearonce-benchmark-") as temporary:
        folder = (parsed.folder or Path(temporary)).resolve()
        lines, runs = [], []
        for family in parsed.families:
            torch.set_num_threads(1)
            found = measured(family, folder, parsed.clips, parsed.rounds, parsed.rate)
            lines.append([family, *(f"{value:.2f}" for value in found.values()), PEERS[family][1]])
            if parsed.sustained:
                torch.set_num_threads(threads)
                made = fed(family, folder, min(parsed.sustained, 256), parsed.rate)
                runs.append([family, *sustained(made, parsed.sustained, found["ours"])])
    head = ["encoder", "read", "prepare", "limit: read", "limit: features", "ours", "ours / limit", "features by"]
    load = f"load {os.getloadavg()[0]:.1f} on {processors()} processors"
    show(f"CPU ms per clip of {CLIP_S:.0f} s at {parsed.rate} Hz in stereo, one thread; {load}", head, lines)
    if runs:
        head = [
            "encoder",
            "rows/s",
            "bound",
            "sustained / bound",
            "of plain threads",
            "CPU ms a row",
            "processors had",
            "idle",
        ]
        show("Rows/s, the network a sleep of 0.3 ms a clip", head, runs)


if __name__ == "__main__":
    main()
