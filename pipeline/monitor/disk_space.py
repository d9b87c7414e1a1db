"""DiskSpace on the disks: what a run will write is estimated before it begins, and a reserve is kept while it runs."""

from __future__ import annotations

import configparser
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError
from pipeline.monitor.events import event

RESERVE_VARIABLE = "HEARONCE_RESERVE_MB"
RESERVE_BYTES = 500_000_000
RESERVE_SHARE = 0.05
CHECK_EVERY_S = 1.0
_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Need:
    """Bytes that a run will write.

    Attributes:
        what: is written.
        folder: below which; it need not be there yet.
        nbytes: estimated.
    """

    what: str
    folder: Path
    nbytes: int


@dataclass(frozen=True)
class DiskSpace:
    """One disk, and what a run will write there.

    Attributes:
        folder: a folder on it.
        needs: what is written there.
        free: bytes that this user may still take.
        reserve: bytes that are to stay free.
    """

    folder: Path
    needs: tuple[Need, ...]
    free: int
    reserve: int

    @property
    def enough(self) -> bool:
        """Whether the reserve stays free."""
        return sum(need.nbytes for need in self.needs) + self.reserve <= self.free

    def __str__(self) -> str:
        parts = ", ".join(f"{size(need.nbytes)} of {need.what} in {need.folder}" for need in self.needs)
        return f"about {parts}; {size(self.free)} free there, of which {size(self.reserve)} are kept free"


def disk_spaces(needs: Iterable[Need]) -> list[DiskSpace]:
    """Needs by disk."""
    by_disk: dict[int, list[Need]] = {}
    for need in needs:
        by_disk.setdefault(os.stat(_existing(need.folder)).st_dev, []).append(need)
    return [_disk_space(found[0].folder, found) for found in by_disk.values()]


def check_disk_space(needs: Iterable[Need], force: bool) -> None:
    """Refuses to begin what will not fit.

    Args:
        needs: what will be written.
        force: begin all the same.

    Raises:
        UserError: a disk has too little space.
    """
    for space in disk_spaces(needs):
        event("disk_space", enough=space.enough, text=str(space))
        if not space.enough and not force:
            raise UserError(
                f"The disk is too small for this run ({space}): free some space, put the store elsewhere by "
                f"$HEARONCE_STORE, keep less free by ${RESERVE_VARIABLE}, or begin all the same by --force."
            )


class Reserve:
    """Watches that a reserve stays free while a run writes.

    Args:
        folders: that it writes into.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._checked = -CHECK_EVERY_S

    def check(self) -> None:
        """To be called before more is written, as often as one likes.

        Raises:
            UserError: a disk has less free than is to stay free.
        """
        now = time.monotonic()
        if now - self._checked < CHECK_EVERY_S:
            return
        self._checked = now
        for folder in self._folders:
            space = _disk_space(folder, ())
            if not space.enough:
                raise UserError(
                    f"The disk of {folder} has {size(space.free)} left, and {size(space.reserve)} are to stay free: "
                    f"what was computed is kept; free some space, or keep less free by ${RESERVE_VARIABLE}, and run "
                    "again."
                )


def dvc_cache() -> Path | None:
    """Where DVC will copy the outputs of this stage; None outside `dvc repro`."""
    return dvc_cache_folder() if "DVC_STAGE" in os.environ else None


def dvc_cache_folder() -> Path:
    """DVC's cache as the project's configuration has it."""
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read([".dvc/config", ".dvc/config.local"])
        return Path(".dvc", config.get("cache", "dir", fallback="cache"))
    except configparser.Error:
        return Path(".dvc/cache")


def bytes_below(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(entry.stat().st_size for entry in (path, *path.rglob("*")) if entry.is_file())


def size(nbytes: float) -> str:
    """Bytes for people, in powers of 1000."""
    value, unit = float(nbytes), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def _disk_space(folder: Path, needs: Sequence[Need]) -> DiskSpace:
    usage = shutil.disk_usage(_existing(folder))
    return DiskSpace(folder, tuple(needs), usage.free, _reserve(usage.total))


def _reserve(total: int) -> int:
    """Bytes of a disk that are to stay free.

    Raises:
        UserError: the variable is no number.
    """
    setting = os.environ.get(RESERVE_VARIABLE)
    if not setting:
        return int(min(RESERVE_BYTES, RESERVE_SHARE * total))
    try:
        return int(float(setting) * 1e6)
    except (ValueError, OverflowError):
        raise UserError(
            f"${RESERVE_VARIABLE} is {setting!r}: it must be a number of megabytes, such as 2000."
        ) from None


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above that is there."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
