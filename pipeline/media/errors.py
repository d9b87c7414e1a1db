"""The one error of media access."""

import sys

from cache.errors import OutOfFiles, is_out_of_files


class MediaError(Exception):
    """A file that cannot serve: missing, broken, or without the sound, picture or seconds asked for.

    Attributes:
        reason: a short sentence for the problems table. It names no path, so equal faults read alike.
    """

    def __init__(self, reason: str) -> None:
        if is_out_of_files(sys.exception()):
            raise OutOfFiles  # which says nothing of the file: the run ends, and no clip is listed as bad
        super().__init__(reason)
        self.reason = reason
