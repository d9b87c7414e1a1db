"""Few clips of ESC-50, UrbanSound8K and VGGSound, in exactly the files that are published."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from media_samples import noise, tone, write_media

RATE = 44_100
SOUNDS = ("silence", "white_noise", "sine_wave")
"""Classes that a tagger knows and that can be synthesised."""


def sound(name: str, duration_s: float, number: int = 0) -> np.ndarray:
    """Samples float32 (n,) of a class."""
    if name == "silence":
        return np.zeros(int(duration_s * RATE), np.float32)
    if name == "white_noise":
        return noise(duration_s, RATE, seed=number).reshape(-1).astype(np.float32)
    return tone(duration_s, RATE, hertz=440.0 * (number + 1)).reshape(-1).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray) -> None:
    """A WAV file of 16 bits, mono."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def esc_50(folder: Path, folds: int = 2) -> list[str]:
    """`ESC-50-master/`, one clip of each class in each fold; names of the clips in the order of the table."""
    lines, names = ["filename,fold,target,category,esc10,src_file,take"], []
    for fold in range(1, folds + 1):
        for target, name in enumerate(SOUNDS):
            source = 100_000 + 10 * fold + target
            clip = f"{fold}-{source}-A-{target}.wav"
            write_wav(folder / "audio" / clip, sound(name, 5.0, fold))
            lines.append(f"{clip},{fold},{target},{name},{name != 'silence'},{source},A")
            names.append(clip)
    (folder / "meta").mkdir()
    (folder / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return names


def urbansound8k(folder: Path, folds: int = 2) -> list[str]:
    """`UrbanSound8K/`, likewise; the last of each fold is in the background."""
    lines, names = ["slice_file_name,fsID,start,end,salience,fold,classID,class"], []
    for fold in range(1, folds + 1):
        for number, name in enumerate(SOUNDS):
            source = 200_000 + 10 * fold + number
            clip = f"{source}-{number}-0-0.wav"
            write_wav(folder / "audio" / f"fold{fold}" / clip, sound(name, 1.0, fold))
            lines.append(f"{clip},{source},0.0,0.317551,{1 + (number == 2)},{fold},{number},{name}")
            names.append(clip)
    (folder / "metadata").mkdir()
    (folder / "metadata" / "UrbanSound8K.csv").write_text("\n".join(lines) + "\n")
    return names


FRAMES = [np.full((48, 64, 3), 20 * number, np.uint8) for number in range(5)]
VGGSOUND = (
    ("---g-f_I2yQ", 1, "people marching", "test"),
    ("--0PQM4-hqg", 30, "waterfall burbling", "train"),
    ("-0p7hKXZ1ww", 30, "playing violin, fiddle", "test"),
)


def vggsound(folder: Path) -> list[str]:
    """`vggsound.csv` and the videos of all rows but the first; names of the clips."""
    lines = [f'{video},{start},"{label}",{split}' if "," in label else f"{video},{start},{label},{split}"
             for video, start, label, split in VGGSOUND]  # fmt: skip
    (folder / "vggsound.csv").write_text("\n".join(lines) + "\n")
    names = [f"{video}_{start:06d}" for video, start, _, _ in VGGSOUND]
    for name in names[1:]:
        path = folder / "video" / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_media(path, samples=tone(1.0, 16_000), sample_rate=16_000, frames=FRAMES, rate=5)
    return names
