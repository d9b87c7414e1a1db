"""The one error of media access."""


class MediaError(Exception):
    """A file that cannot serve: missing, broken, or without the sound, picture or seconds asked for.

    Attributes:
        reason: a short sentence for the problems table. It names no path, so equal faults read alike.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
