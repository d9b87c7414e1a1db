"""HowTo100M to train on: random windows of videos whose features lie in the files that AVLnet's authors describe."""

from __future__ import annotations

import numpy as np

from stages.avlnet.howto100m import HowTo100M, read_paths
from stages.avlnet.items import Sound
from stages.avlnet.shape import PICTURE_DIM, WORD_DIM
from stages.train.config import TrainingConfig, VideoFiles
from stages.train.features import Item


class WindowedVideos:
    """Random windows of videos, as `CachedFeatures` gives them of clips.

    Args:
        files: where the features are.
        config: of the training.

    Attributes:
        clip_ids: paths of the videos.

    Raises:
        UserError: the path list is missing or no such list.
    """

    picture_dim, word_dim, n_without_sound = PICTURE_DIM, WORD_DIM, 0

    def __init__(self, files: VideoFiles, config: TrainingConfig) -> None:
        assert config.windows is not None  # the config sees to it
        self._windows = config.windows
        self.clip_ids = read_paths(files.paths)
        self._videos = HowTo100M(self.clip_ids, files.features, files.sounds)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def identity(self) -> dict[str, object]:
        """What decides the features, as far as it can be told without reading all of them."""
        return {"videos": self.clip_ids}

    def training_items(self, i: int, random: np.random.Generator) -> list[Item]:
        """Windows of video i."""
        drawn = self._videos.random_windows(i, self._windows.per_clip, self._windows.frames, random)
        sounds = zip(drawn.sounds.astype(np.float32), drawn.n_frames.tolist(), strict=True)
        items = zip(drawn.pictures, sounds, strict=True)
        return [Item(picture, Sound(frames, n), None) for picture, (frames, n) in items]
