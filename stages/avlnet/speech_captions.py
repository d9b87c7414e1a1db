"""Captions of HowTo100M, what is said in a video and when, as stretches of a video to train AVLnet-Text on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.word_vectors import words_of

SAMPLE_RATE, HOP, HALF_WINDOW = 16_000, 160, 200


@dataclass(frozen=True)
class SpeechCaptions:
    """What is said in one video, n texts in the order of time.

    Attributes:
        starts_s: in seconds.
        stops_s: in seconds.
        texts: by automatic speech recognition.
    """

    starts_s: Sequence[float]
    stops_s: Sequence[float]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class SpokenStretch:
    """A stretch of a video and what is said in it.

    Attributes:
        start_s: in seconds.
        stop_s: in seconds.
        words: of the text that was chosen, then of those that were joined to it, in the order in which they were.
    """

    start_s: float
    stop_s: float
    words: tuple[str, ...]

    def sound(self, n_frames: int, as_reference: bool = False) -> tuple[int, int]:
        """First frame of the spectrogram, and one past the last.

        Args:
            n_frames: of the whole spectrogram.
            as_reference: a stretch that begins within the first 12.5 ms has a negative first frame in the authors'
                code, which numpy counts from the end: such a stretch is nearly always without sound there. Otherwise
                it begins with the first frame.
        """
        start, stop = (frame_at(one) for one in (self.start_s, self.stop_s))
        if as_reference:
            start, stop, _ = slice(start, stop).indices(n_frames)
            return start, max(start, stop)
        return max(0, start), max(0, stop)

    def picture(self, rate: float) -> tuple[int, int]:
        """First picture feature, and one past the last."""
        return int(self.start_s * rate), int(self.stop_s * rate) + 1


def frame_at(time_s: float) -> int:
    """The frame of a spectrogram that is centred at or before a time; negative before the first."""
    return (int(time_s * SAMPLE_RATE) - HALF_WINDOW) // HOP


def spoken_stretch(captions: SpeechCaptions, chosen: int, least_s: float) -> SpokenStretch:
    """A text, joined to its neighbours until the stretch is long enough or the video ends.

    Of the neighbours before and after, the one is taken that makes the shorter stretch; the one before if both do.

    Args:
        captions: of the video.
        chosen: number of the text.
        least_s: seconds wanted.
    """
    first = last = chosen
    starts, stops = captions.starts_s, captions.stops_s
    order = [chosen]
    while stops[last] - starts[first] < least_s and (first > 0 or last < len(captions) - 1):
        backwards = first > 0
        if backwards and last < len(captions) - 1:
            backwards = stops[last] - starts[first - 1] <= stops[last + 1] - starts[first]
        if backwards:
            first -= 1
        else:
            last += 1
        order.append(first if backwards else last)
    words = [word for one in order for word in words_of(captions.texts[one])]
    return SpokenStretch(float(starts[first]), float(stops[last]), tuple(words))
