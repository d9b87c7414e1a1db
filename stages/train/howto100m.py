"""HowTo100M to train on: segments of videos whose features lie in the files that AVLnet's authors describe."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.formats.word_vectors import open_vectors
from pipeline.monitor.problems import problem_of
from pipeline.networks import avlnet_inputs as items
from pipeline.networks.avlnet_inputs import Floats, Spectrogram, Window, padded_spectrogram, padded_words
from pipeline.networks.avlnet_shape import VIDEO_DIM, WORD_DIM
from stages.train.batches import Item
from stages.train.config import TrainingConfig, VideoFiles
from stages.train.speech_captions import SpeechCaptions, SpeechSegment, open_captions, speech_segment

PATH_LIST = "HowTo100M_1166_videopaths.txt"
HINT = "see training.md of github.com/roudimit/AVLnet"


@dataclass(frozen=True, eq=False)
class VideoSegments:
    """k segments of one video.

    Attributes:
        video_id: of the video.
        video: float32 (k, 4096): pooled 2D features, then pooled 3D features; zeros where there are none.
        audio: float16 (k, frames, 40), zeros behind the audio.
        n_frames: int32 (k,), frames of the audio before padding.
        words: of each segment; None for random windows.
    """

    video_id: str
    video: Floats
    audio: NDArray[np.float16]
    n_frames: NDArray[np.int32]
    words: list[tuple[str, ...]] | None


def read_paths(path: Path) -> list[str]:
    """The videos of a path list, such as `HowTo100M_1166_videopaths.txt`: `category/video_x/ID` each.

    Raises:
        UserError: it is missing, or has no column `path`.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if "path" not in (rows.fieldnames or ()):
                raise UserError(f"{path} has no column `path` in its first line: {HINT}.")
            return [row["path"].replace("None/", "") for row in rows if row["path"]]
    except OSError as error:
        remedy = f"run `hearonce checkpoints fetch {path.stem}`" if path.name == PATH_LIST else "correct `files: paths`"
        raise UserError(f"{path} cannot be read ({error.strerror}): {remedy}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no readable list of paths ({error}): {HINT}.") from None


def video_of(path: str) -> str:
    """Id of the video that a path is of."""
    return path.rpartition("/")[2]


class HowTo100M:
    """Reads segments of videos; nothing is kept in memory.

    Args:
        paths: of the videos, as of `read_paths`.
        features: folder of the video features.
        audio: folder of the spectrograms; that of the video features if None.
        captions: speech of each video, by id; not needed for random windows.
    """

    def __init__(
        self,
        paths: Sequence[str],
        features: Path,
        audio: Path | None = None,
        captions: Mapping[str, SpeechCaptions] | None = None,
    ) -> None:
        self._paths = paths
        self._features = features
        self._audio = audio or features
        self._captions = captions

    def __len__(self) -> int:
        return len(self._paths)

    def random_windows(self, i: int, n: int, n_frames: int, random: np.random.Generator) -> VideoSegments:
        """n segments of video i that begin at random seconds.

        Args:
            i: number of the video.
            n: segments wanted; they may be the same.
            n_frames: of the spectrogram of each.
            random: generator.
        """
        spectrogram = self._spectrogram(i)
        windows = items.random_windows(len(spectrogram), n_frames, n, random)
        audio = [padded_spectrogram(spectrogram[slice(*window.spectrogram_range)], n_frames) for window in windows]
        return self._segments(i, windows, audio, None)

    def speech_segments(
        self, i: int, n: int, n_frames: int, least_s: float, random: np.random.Generator, as_reference: bool = False
    ) -> VideoSegments:
        """n segments of video i around randomly chosen captions.

        Args:
            i: number of the video.
            n: segments wanted; they may be the same.
            n_frames: to which spectrograms are padded or cut.
            least_s: to which shorter captions are joined to their neighbours.
            random: generator.
            as_reference: as of `SpeechSegment.spectrogram_range`.

        Raises:
            UserError: the video has no captions, or files are missing or damaged.
        """
        video = self.video(i)
        captions = (self._captions or {}).get(video)
        if not captions:
            raise UserError(f"Video {video} has no captions: take a caption.pickle that goes with the path list.")
        drawn = random.integers(0, len(captions), n)
        chosen = [speech_segment(captions, int(position), least_s) for position in drawn]
        spectrogram = self._spectrogram(i)
        audio = []
        for segment in chosen:
            part = spectrogram[slice(*segment.spectrogram_range(len(spectrogram), as_reference))]
            audio.append(padded_spectrogram(part, n_frames, min(len(part), n_frames)))
        return self._segments(i, chosen, audio, [segment.words for segment in chosen])

    def video(self, i: int) -> str:
        """Id of video i."""
        return video_of(self._paths[i])

    def _segments(
        self,
        i: int,
        chosen: Sequence[Window | SpeechSegment],
        audio: Sequence[Spectrogram],
        words: list[tuple[str, ...]] | None,
    ) -> VideoSegments:
        features_2d = self._array(i, self._features, "2d", "features")
        features_3d = self._array(i, self._features, "3d", "features")
        video = []
        for segment in chosen:
            rows_2d, rows_3d = (slice(*segment.feature_range(rate)) for rate in (items.RATE_2D, items.RATE_3D))
            video.append(items.pooled_features(features_2d[rows_2d], features_3d[rows_3d]))
        return VideoSegments(
            self.video(i),
            np.stack(video),
            np.stack([spectrogram.frames for spectrogram in audio]).astype(np.float16),
            np.array([spectrogram.n_frames for spectrogram in audio], np.int32),
            words,
        )

    def _spectrogram(self, i: int) -> NDArray[Any]:
        return self._array(i, self._audio, "spec", "arr_0").T

    def _array(self, i: int, folder: Path, kind: str, name: str) -> NDArray[Any]:
        path = folder / self._paths[i] / f"{self.video(i)}_{kind}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                values = file[name]
        except FileNotFoundError:
            raise UserError(f"{path} is missing: compute its features or take it out of the path list.") from None
        except Exception as error:  # zipfile, zlib and numpy raise whatever the bytes lead them to
            reason = problem_of(error) if isinstance(error, OSError | MemoryError) else str(error)
            raise UserError(f"{path} holds no readable array `{name}` ({reason}): compute it again.") from None
        if values.ndim != 2:
            raise UserError(f"{path} holds an array of shape {values.shape}, expected (a, b): compute it again.")
        return values


class WindowedVideos:
    """Segments of videos at random seconds or around random captions, as `CachedFeatures` gives them of clips.

    Args:
        files: where the features are.
        config: of the training.

    Attributes:
        clip_ids: paths of the videos; with text, of those that have captions.
        left_out: videos without captions.
        word_dim: length of a word vector.

    Raises:
        UserError: a file is missing or something else.
    """

    video_dim = VIDEO_DIM

    def __init__(self, files: VideoFiles, config: TrainingConfig) -> None:
        assert config.windows is not None  # the config sees to it
        self._files, self._windows, self._max_words = files, config.windows, config.max_words
        self._vectors = None if files.vectors is None else open_vectors(files.vectors)
        self.word_dim = WORD_DIM if self._vectors is None else self._vectors.dim
        captions = None if files.captions is None else open_captions(files.captions)
        paths = read_paths(files.paths)
        self.clip_ids = paths if captions is None else [path for path in paths if captions.count(video_of(path))]
        n_silent = len(paths) - len(self.clip_ids)
        self.left_out = f"{n_silent} videos without captions" if n_silent else ""
        self._videos = HowTo100M(self.clip_ids, files.features, files.audio, captions)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def identity(self) -> dict[str, object]:
        """What decides the features, as far as it can be told without reading all of them."""
        texts = {name: path for name in ("captions", "vectors") if (path := getattr(self._files, name)) is not None}
        return {"videos": self.clip_ids, **texts}

    def training_items(self, i: int, random: np.random.Generator) -> list[Item]:
        """Segments of video i."""
        drawn = self._drawn(i, random)
        audio = map(Spectrogram, drawn.audio.astype(np.float32), drawn.n_frames.tolist())
        texts = [None] * len(drawn.video) if drawn.words is None else [self._text(words) for words in drawn.words]
        return [Item(*parts) for parts in zip(drawn.video, audio, texts, strict=True)]

    def _drawn(self, i: int, random: np.random.Generator) -> VideoSegments:
        windows = self._windows
        if windows.least_s is None:
            return self._videos.random_windows(i, windows.per_clip, windows.frames, random)
        return self._videos.speech_segments(i, windows.per_clip, windows.frames, windows.least_s, random)

    def _text(self, words: Sequence[str]) -> Floats:
        assert self._vectors is not None  # the config sees to it
        return padded_words(self._vectors.of(words), self._max_words)
