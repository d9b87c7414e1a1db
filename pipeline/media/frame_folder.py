"""A folder of numbered pictures as a medium: EPIC-KITCHENS publishes its videos as `frame_0000000001.jpg`, ..."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.media.containers import HEAD_BYTES, what_instead
from pipeline.media.display import Picture
from pipeline.media.errors import MediaError
from pipeline.media.limits import DEFAULT, LARGEST_NUMBER, beyond
from pipeline.media.opening import first_bytes

FORMATS = ("JPEG", "PNG", "WEBP")
"""Readers of Pillow that may be used: those of the endings below."""

_ONE_OF = "JPEG, PNG or WebP"

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
        number = int(match[1])
        if number > LARGEST_NUMBER:
            raise MediaError(f"a picture has the number {number}, larger than {LARGEST_NUMBER}")
        if number in found:
            raise MediaError(f"two pictures have the number {number}")
        found[number] = folder / name
    if not found:
        raise MediaError("is a directory without numbered pictures")
    return dict(sorted(found.items()))


def load_picture(path: Path, max_pixels: int = DEFAULT.max_pixels) -> Picture:
    """A still picture as RGB uint8 (height, width, 3), turned as its EXIF data ask for.

    Whatever its name ends in, it must be of one of `FORMATS`: Pillow would hand PostScript to another program.

    Raises:
        MediaError: it cannot be decoded, is of another format, or has too many pixels.
    """
    try:
        first_bytes(path)  # a pipe would be waited for
    except MediaError as error:
        raise MediaError(f"{path.name} cannot be decoded ({error})") from error
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise beyond(f"{path.name} has {image.width} x {image.height} pixels", "max_pixels", max_pixels)
            return np.array(ImageOps.exif_transpose(image).convert("RGB"), np.uint8)
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        with open(path, "rb") as file:
            what = what_instead(file.read(HEAD_BYTES))
        raise MediaError(f"{path.name} is {what or 'no picture'}, not {_ONE_OF}") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise beyond(f"{path.name} has more than {most} pixels", "max_pixels", max_pixels) from error
    except MemoryError as error:
        raise MediaError(f"{path.name} does not fit into memory") from error
    except Exception as error:  # Pillow's readers raise whatever the bytes lead them to
        raise MediaError(f"{path.name} cannot be decoded") from error
