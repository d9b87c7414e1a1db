"""The boundaries of shots in a video, by PySceneDetect over the frames and times that the project decodes itself."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.video.reformatter import VideoReformatter

from cache.digests import DigestMemory
from cache.errors import UserError
from pipeline.config.corpus import ShotSettings
from pipeline.media.containers import DEFAULT
from pipeline.media.frames import every_frame, to_array
from pipeline.media.probe import MediaInfo

if TYPE_CHECKING:
    from scenedetect.detector import SceneDetector  # type: ignore[import-untyped]

FACTS = "shots 1"
"""Under which name boundaries are remembered, with the package's version and the settings; to be raised when they are
found in another way."""

WIDTH = 256
"""To which wider frames are scaled, PySceneDetect's own least width."""

MISSING = "Shots are found by PySceneDetect, which is not installed: run `uv sync --extra shots`."


def check_installed() -> None:
    """Makes sure that shots can be found here.

    Raises:
        UserError: the package is missing.
    """
    if find_spec("scenedetect") is None:
        raise UserError(MISSING)


class ShotFinder:
    """Finds where shots begin, and remembers it; may be used by many threads.

    Args:
        settings: the detector and its parameters.
        memory: in which boundaries are kept, by digest of the video, settings and version of the package.
        max_pixels: a frame with more of them counts as broken.

    Attributes:
        method: package, version, detector and parameters, for notes.

    Raises:
        UserError: PySceneDetect is missing, or too old.
    """

    def __init__(self, settings: ShotSettings, memory: DigestMemory, max_pixels: int = DEFAULT.max_pixels) -> None:
        check_installed()
        import scenedetect  # type: ignore[import-untyped]

        if tuple(map(int, scenedetect.__version__.split(".")[:2])) < (0, 7):
            raise UserError(f"PySceneDetect {scenedetect.__version__} is too old: run `uv sync --extra shots`.")
        self._settings, self._memory, self._max_pixels = settings, memory, max_pixels
        options = settings.options()
        given = ", ".join(f"{name} {value:g}" for name, value in options.items() if name != "luma_only" or value)
        self.method = f"PySceneDetect {scenedetect.__version__}, {settings.detector}" + f" ({given})" * bool(given)
        self._kind = f"{FACTS} {scenedetect.__version__} {settings.detector} {json.dumps(options, sort_keys=True)}"

    def recalled(self, digest: str, info: MediaInfo) -> tuple[float, ...] | None:
        """What was found in the bytes of this digest, None if that has not been done; nothing without frames."""
        if info.video is None or info.frames is not None:
            return ()
        text = self._memory.recall_facts(digest, self._kind)
        return tuple(json.loads(text)) if text else None

    def remember(self, digest: str, boundaries_s: tuple[float, ...]) -> None:
        """Keeps what `find` has found in the bytes of this digest."""
        self._memory.remember_facts(digest, self._kind, json.dumps(boundaries_s))

    def find(self, source: Path, info: MediaInfo) -> tuple[float, ...]:
        """Decodes a video: the seconds at which a shot begins that another one precedes, ascending.

        Raises:
            MediaError: no frame can be decoded.
        """
        from scenedetect import FrameTimecode

        detector, reformatter = self._detector(), VideoReformatter()
        size: tuple[int, int] | None = None
        times_s: list[float] = []
        found: set[float] = set()
        for time_s, frame in every_frame(source, max_pixels=self._max_pixels, kind=info.kind):
            size = size or _scaled(frame.width, frame.height)
            image = to_array(frame, reformatter, "bgr24", size)
            cuts = detector.process_frame(FrameTimecode(len(times_s), 25.0), np.ascontiguousarray(image))
            times_s.append(time_s)
            found.update(times_s[one.frame_num] for one in cuts)
        return tuple(sorted(found))

    def _detector(self) -> SceneDetector:
        """A new one that reports every boundary: which shots are too short is a matter of seconds, not of frames."""
        from scenedetect import AdaptiveDetector, ContentDetector

        kind = ContentDetector if self._settings.detector == "content" else AdaptiveDetector
        return kind(min_scene_len=0, **self._settings.options())


def _scaled(width: int, height: int) -> tuple[int, int]:
    """The size at which frames are compared: no wider than `WIDTH`."""
    if width <= WIDTH:
        return width, height
    return WIDTH, max(1, round(height * WIDTH / width))
