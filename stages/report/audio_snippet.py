"""Short sounds as MP3, to play inside the report.

MP3 because Chrome, Firefox and Safari all play it; Safari came to Ogg and Opus late.
"""

import io

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

MIME_TYPE = "audio/mpeg"
MP3_RATES = (16000, 22050, 24000, 32000, 44100, 48000)
"""Those of MPEG-1 and MPEG-2. Lower ones are an extension that not every player knows."""
LOW_RATE, LOW_BITS_PER_SECOND = 24000, 48_000
HIGH_BITS_PER_SECOND = 64_000
FADE_S = 0.02


def encode_snippet(samples: NDArray[np.float32], sample_rate: int, max_s: float = 8.0) -> bytes:
    """The first `max_s` seconds of a mono sound as an MP3 file of 48 or 64 kbit/s.

    Args:
        samples: (n,) in -1..1; what lies beyond is clipped, nan is silence.
        sample_rate: any; one that is not in MP3_RATES is resampled to the next higher, or to 48 kHz.
        max_s: where a longer sound is cut, with a fade of 20 ms.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"a snippet needs mono samples of shape (n,), got {samples.shape}")
    sound = np.clip(np.nan_to_num(samples[: max(1, int(max_s * sample_rate))]), -1, 1)
    if len(sound) < len(samples):
        fade = min(len(sound), max(1, int(FADE_S * sample_rate)))
        sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    rate = min((r for r in MP3_RATES if r >= sample_rate), default=MP3_RATES[-1])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono", format="fltp")
        stream.bit_rate = LOW_BITS_PER_SECOND if rate <= LOW_RATE else HIGH_BITS_PER_SECOND
        resampler = AudioResampler(format="fltp", layout="mono", rate=rate)
        whole = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        whole.sample_rate = sample_rate
        for frame in [*resampler.resample(whole), *resampler.resample(None), None]:
            container.mux(stream.encode(frame))
    return buffer.getvalue()
