"""What `librosa.load` gives, for files too that its decoder, libsndfile, cannot read."""

from __future__ import annotations

from pathlib import Path

import av
import librosa
import numpy as np
import soundfile


def load_mono(file: Path, rate: int) -> np.ndarray:
    """Float32 mono samples at a rate, mixed and resampled by librosa.

    AAC and the like, for which librosa calls the command `ffmpeg`, are decoded by FFmpeg's library.
    """
    try:
        samples, file_rate = soundfile.read(file, dtype="float32", always_2d=True)
        channels = samples.T
    except soundfile.LibsndfileError:
        with av.open(file) as container:
            stream = container.streams.audio[0]
            to_float = av.AudioResampler("fltp")
            frames = [part for frame in container.decode(stream) for part in to_float.resample(frame)]
            channels, file_rate = np.concatenate([frame.to_ndarray() for frame in frames], axis=1), stream.rate
    return librosa.resample(librosa.to_mono(channels), orig_sr=file_rate, target_sr=rate)
