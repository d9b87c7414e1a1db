"""The spectrogram function of a checkout of AVLnet, under today's libraries."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
from scipy.signal import windows


def load(checkout: Path) -> Callable[[Path], np.ndarray]:
    """Its `LoadAudio`: a wav file to decibels (40, frames).

    librosa has since changed the default padding of `stft` and the names of the arguments of `mel`, and scipy has moved
    `hamming`; these three are given as they were.

    Args:
        checkout: folder with `audio_to_spectrograms.py`.
    """
    spec = importlib.util.spec_from_file_location("audio_to_spectrograms", checkout / "audio_to_spectrograms.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.librosa = SimpleNamespace(
        load=librosa.load,
        stft=lambda samples, **options: librosa.stft(samples, pad_mode="reflect", **options),
        filters=SimpleNamespace(mel=lambda rate, size, **options: librosa.filters.mel(sr=rate, n_fft=size, **options)),
        power_to_db=librosa.power_to_db,
    )
    module.scipy = SimpleNamespace(signal=SimpleNamespace(hamming=windows.hamming))
    return lambda path: module.LoadAudio(str(path), use_raw_length=True)[0]
