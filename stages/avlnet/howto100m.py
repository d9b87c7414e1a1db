"""HowTo100M as AVLnet is trained on it: a list of paths, three feature files per video, and what is said in them.

The authors' layout: a table with a column `path` (`category/video_x/ID`), and below a folder, in the folder of each
path, `ID_2d.npz` and `ID_3d.npz` (array `features`: 1 and 1.5 rows of 2,048 per second) and, there or below a folder of
their own, `ID_spec.npz` (array `arr_0`: 40 mels times frames).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.problems import problem_of
from stages.avlnet import items
from stages.avlnet.items import Floats, Sound, Window, padded_sound
from stages.avlnet.speech_captions import SpeechCaptions, SpokenStretch, spoken_stretch

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
        sounds = [padded_sound(spectrogram[slice(*one.sound)], n_frames) for one in windows]
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
            sounds.append(padded_sound(part, n_frames, min(len(part), n_frames)))
        return self._stretches(i, chosen, sounds, [one.words for one in chosen])

    def video(self, i: int) -> str:
        """Id of video i."""
        return video_of(self._paths[i])

    def _stretches(
        self,
        i: int,
        chosen: Sequence[Window | SpokenStretch],
        sounds: Sequence[Sound],
        words: list[tuple[str, ...]] | None,
    ) -> Stretches:
        flat = self._array(i, self._features, "2d", "features")
        moving = self._array(i, self._features, "3d", "features")
        pictures = []
        for one in chosen:
            flat_rows, moving_rows = (slice(*one.picture(rate)) for rate in (items.FLAT_RATE, items.MOVING_RATE))
            pictures.append(items.picture_item(flat[flat_rows], moving[moving_rows]))
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
