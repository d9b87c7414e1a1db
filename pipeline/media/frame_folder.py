"""A folder of numbered pictures as a medium: EPIC-KITCHENS publishes its videos as `frame_0000000001.jpg`, ..."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipeline.media.display import Picture
from pipeline.media.errors import MediaError

PICTURE_NAME = re.compile(r"(?:.*\D)?(\d+)\.(?:jpe?g|png|webp)", re.IGNORECASE)
"""The number of a picture is what stands before the ending of its name."""


def numbered_files(folder: Path) -> dict[int, Path]:
    """The pictures of a folder by number, in ascending order; hidden files and other names are left out.

    Raises:
        MediaError: there is none, two have the same number, or the folder cannot be read.
    """
    found: dict[int, Path] = {}
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise MediaError(f"cannot be read ({error.strerror})") from error
    for name in names:
        match = PICTURE_NAME.fullmatch(name)
        if match is None or name.startswith("."):
            continue
        if int(match[1]) in found:
            raise MediaError(f"two pictures have the number {int(match[1])}")
        found[int(match[1])] = folder / name
    if not found:
        raise MediaError("is a directory without numbered pictures")
    return dict(sorted(found.items()))


def load_picture(path: Path) -> Picture:
    """A still picture as RGB uint8 (height, width, 3), turned as its EXIF data ask for.

    Raises:
        MediaError: it cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"), np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path.name} cannot be decoded") from error
