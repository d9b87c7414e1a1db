"""HowTo100M to train on: stretches of videos whose features lie in the files that AVLnet's authors describe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.networks.avlnet_shape import PICTURE_DIM, WORD_DIM
from pipeline.word_vectors import open_vectors
from stages.avlnet.caption_file import open_captions
from stages.avlnet.howto100m import HowTo100M, Stretches, read_paths, video_of
from stages.avlnet.items import Floats, Sound, text_item
from stages.train.config import TrainingConfig, VideoFiles
from stages.train.features import Item


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
        return [Item(picture, Sound(frames, n), text) for picture, (frames, n), text in items]

    def _drawn(self, i: int, random: np.random.Generator) -> Stretches:
        windows = self._windows
        if windows.least_s is None:
            return self._videos.random_windows(i, windows.per_clip, windows.frames, random)
        return self._videos.spoken(i, windows.per_clip, windows.frames, windows.least_s, random)

    def _text(self, words: Sequence[str]) -> Floats:
        assert self._vectors is not None  # the config sees to it
        return text_item(self._vectors.of(words), self._max_words)
