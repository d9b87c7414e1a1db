"""HowTo100M to train on: stretches of videos whose features lie in the files that AVLnet's authors describe."""

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
from pipeline.networks.avlnet_shape import PICTURE_DIM, WORD_DIM
from stages.train.config import TrainingConfig, VideoFiles
from stages.train.features import Item
from stages.train.speech_captions import SpeechCaptions, SpokenStretch, open_captions, spoken_stretch

PATH_LIST = "HowTo100M_1166_videopaths.txt"
HINT = "see training.md of github.com/roudimit/AVLnet"


@dataclass(frozen=True, eq=False)
class Stretches:
    """k stretches of one video.

    Attributes:
        video: its id.
        pictures: float32 (k, 4096): pooled 2D features, then pooled 3D features; zeros where there are none.
        sounds: float16 (k, frames, 40), zeros behind the sound.
        n_frames: int32 (k,), frames of the sound before padding.
        words: of each stretch; None for random windows.
    """

    video: str
    pictures: Floats
    sounds: NDArray[np.float16]
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
    """Reads stretches of videos; nothing is kept in memory.

    Args:
        paths: of the videos, as of `read_paths`.
        features: folder of the picture features.
        sounds: folder of the spectrograms; that of the picture features if None.
        captions: what is said in each video, by id; not needed for random windows.
    """

    def __init__(
        self,
        paths: Sequence[str],
        features: Path,
        sounds: Path | None = None,
        captions: Mapping[str, SpeechCaptions] | None = None,
    ) -> None:
        self._paths = paths
        self._features = features
        self._sounds = sounds or features
        self._captions = captions

    def __len__(self) -> int:
        return len(self._paths)

    def random_windows(self, i: int, n: int, n_frames: int, random: np.random.Generator) -> Stretches:
        """n stretches of video i that begin at random seconds.

        Args:
            i: number of the video.
            n: stretches wanted; they may be the same.
            n_frames: of the spectrogram of each.
            random: generator.
        """
        spectrogram = self._spectrogram(i)
        windows = items.random_windows(len(spectrogram), n_frames, n, random)
        sounds = [padded_spectrogram(spectrogram[slice(*one.sound)], n_frames) for one in windows]
        return self._stretches(i, windows, sounds, None)

    def spoken(
        self, i: int, n: int, n_frames: int, least_s: float, random: np.random.Generator, as_reference: bool = False
    ) -> Stretches:
        """n stretches of video i around randomly chosen captions.

        Args:
            i: number of the video.
            n: stretches wanted; they may be the same.
            n_frames: to which spectrograms are padded or cut.
            least_s: to which shorter captions are joined to their neighbours.
            random: generator.
            as_reference: as of `SpokenStretch.sound`.

        Raises:
            UserError: the video has no captions, or files are missing or damaged.
        """
        video = self.video(i)
        captions = (self._captions or {}).get(video)
        if not captions:
            raise UserError(f"Video {video} has no captions: take a caption.pickle that goes with the path list.")
        chosen = [spoken_stretch(captions, int(one), least_s) for one in random.integers(0, len(captions), n)]
        spectrogram = self._spectrogram(i)
        sounds = []
        for one in chosen:
            part = spectrogram[slice(*one.sound(len(spectrogram), as_reference))]
            sounds.append(padded_spectrogram(part, n_frames, min(len(part), n_frames)))
        return self._stretches(i, chosen, sounds, [one.words for one in chosen])

    def video(self, i: int) -> str:
        """Id of video i."""
        return video_of(self._paths[i])

    def _stretches(
        self,
        i: int,
        chosen: Sequence[Window | SpokenStretch],
        sounds: Sequence[Spectrogram],
        words: list[tuple[str, ...]] | None,
    ) -> Stretches:
        flat = self._array(i, self._features, "2d", "features")
        moving = self._array(i, self._features, "3d", "features")
        pictures = []
        for one in chosen:
            flat_rows, moving_rows = (slice(*one.picture(rate)) for rate in (items.RATE_2D, items.RATE_3D))
            pictures.append(items.pooled_features(flat[flat_rows], moving[moving_rows]))
        return Stretches(
            self.video(i),
            np.stack(pictures),
            np.stack([one.frames for one in sounds]).astype(np.float16),
            np.array([one.n_frames for one in sounds], np.int32),
            words,
        )

    def _spectrogram(self, i: int) -> NDArray[Any]:
        return self._array(i, self._sounds, "spec", "arr_0").T

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
    """Stretches of videos at random seconds or around random captions, as `CachedFeatures` gives them of clips.

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

    picture_dim = PICTURE_DIM

    def __init__(self, files: VideoFiles, config: TrainingConfig) -> None:
        assert config.windows is not None  # the config sees to it
        self._files, self._windows, self._max_words = files, config.windows, config.max_words
        self._vectors = None if files.vectors is None else open_vectors(files.vectors)
        self.word_dim = WORD_DIM if self._vectors is None else self._vectors.dim
        captions = None if files.captions is None else open_captions(files.captions)
        paths = read_paths(files.paths)
        self.clip_ids = paths if captions is None else [one for one in paths if captions.count(video_of(one))]
        n_silent = len(paths) - len(self.clip_ids)
        self.left_out = f"{n_silent} videos without captions" if n_silent else ""
        self._videos = HowTo100M(self.clip_ids, files.features, files.sounds, captions)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def identity(self) -> dict[str, object]:
        """What decides the features, as far as it can be told without reading all of them."""
        texts = {name: one for name in ("captions", "vectors") if (one := getattr(self._files, name)) is not None}
        return {"videos": self.clip_ids, **texts}

    def training_items(self, i: int, random: np.random.Generator) -> list[Item]:
        """Stretches of video i."""
        drawn = self._drawn(i, random)
        sounds = zip(drawn.sounds.astype(np.float32), drawn.n_frames.tolist(), strict=True)
        texts = [None] * len(drawn.pictures) if drawn.words is None else [self._text(one) for one in drawn.words]
        items = zip(drawn.pictures, sounds, texts, strict=True)
        return [Item(picture, Spectrogram(frames, n), text) for picture, (frames, n), text in items]

    def _drawn(self, i: int, random: np.random.Generator) -> Stretches:
        windows = self._windows
        if windows.least_s is None:
            return self._videos.random_windows(i, windows.per_clip, windows.frames, random)
        return self._videos.spoken(i, windows.per_clip, windows.frames, windows.least_s, random)

    def _text(self, words: Sequence[str]) -> Floats:
        assert self._vectors is not None  # the config sees to it
        return padded_words(self._vectors.of(words), self._max_words)
