"""Where the sound and the pictures of a video lie: published corpora come in more than one layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Formatter

from cache.errors import UserError
from pipeline.media_place import MediaPlace
from pipeline.suggest import did_you_mean

FIELDS = ("participant", "video", "chunk")


class MediaLayout:
    """Finds the files of videos below a media folder.

    Args:
        media: the media folder or list.
        kind: `sound` or `picture`, for messages.
        patterns: relative paths with {participant}, {video} and {chunk}; the first that exists is taken.

    Raises:
        UserError: a pattern has an unknown placeholder.
    """

    def __init__(self, media: MediaPlace, kind: str, patterns: Sequence[str]) -> None:
        self._media, self._kind, self._patterns = media, kind, patterns
        self._found: dict[tuple[str, ...], Path | None] = {}
        for pattern in patterns:
            for _, name, _, _ in Formatter().parse(pattern):
                if name is not None and name not in FIELDS:
                    raise UserError(f"files.{kind}: {pattern!r} has {{{name}}}, {did_you_mean(name, FIELDS)}")

    def whole(self, video: str, participant: str = "") -> Path | None:
        """The medium of a whole video, by its path in the media folder; None if no pattern without {chunk} exists."""
        return self._find(video, participant, "")

    def chunk(self, video: str, number: int, participant: str = "") -> Path | None:
        """One piece of a video that has been cut into pieces; None if no pattern with {chunk} exists."""
        return self._find(video, participant, str(number))

    def _find(self, video: str, participant: str, chunk: str) -> Path | None:
        key = (video, participant, chunk)
        if key not in self._found:
            paths = (
                Path(pattern.format(video=video, participant=participant, chunk=chunk))
                for pattern in self._patterns
                if ("{chunk}" in pattern) == bool(chunk)
            )
            self._found[key] = next((path for path in paths if self._media.has(path)), None)
        return self._found[key]

    def report(self, missing: Sequence[str], n_videos: int) -> tuple[list[tuple[str, str, str]], list[str]]:
        """What to say of videos that were not found: (faults, remarks).

        Where some are missing, each is a fault; where all are, the corpus is used without, and one remark says so.

        Args:
            missing: names of the videos or pieces.
            n_videos: how many were looked for.
        """
        if not missing or not self._patterns:
            return [], []
        looked = " or ".join(self._patterns)
        if len(missing) < n_videos:
            return [(name, "", f"no {self._kind}: {self._media} has no {looked}") for name in missing], []
        return [], [f"no {self._kind} of any video: {self._media} has no {looked} (as in {missing[0]})"]
