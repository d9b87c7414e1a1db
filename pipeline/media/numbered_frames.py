"""The frames of a video, or of a folder of images, by number: 1 is the first."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.media.clock import quick_clock
from pipeline.media.containers import DEFAULT, HEAD_BYTES, LARGEST_NUMBER, MediaError, beyond, what_instead
from pipeline.media.decoding import decoded, packets, read_only
from pipeline.media.frames import RgbImage, read_frames, to_rgb
from pipeline.media.opening import best_video, first_bytes, open_media

REORDERED = 64
"""No codec shows a frame this many packets earlier or later than its place in the file."""

WITH_HIDDEN_PACKETS = frozenset({"vp8"})
"""Codecs in which a packet may show nothing."""


def read_numbered(
    source: Path,
    numbers: Sequence[int],
    *,
    clamp: bool = False,
    threads: int = 1,
    max_pixels: int = DEFAULT.max_pixels,
    kind: str | None = None,
) -> Iterator[tuple[int, RgbImage]]:
    """Yields frames by number, as RGB uint8 (height, width, 3) in display orientation, in ascending order.

    Frame n of a video is the n-th that a decoder puts out from the start of the file, whatever the times and
    however many frames there are in a second: what `CAP_PROP_POS_FRAMES = n - 1` means. It is found by the
    timestamps of the packets, which are read without decoding, and then sought. Frame n of a folder is the file whose
    name ends in n. A number that does not exist is left out.

    Args:
        source: a video, or a folder of numbered images.
        numbers: from 1, in any order.
        clamp: a number before the first frame stands for the first, one after the last for the last.
        threads: of the decoder.
        max_pixels: a frame with more of them is not decoded.
        kind: of the file, as `pipeline.media.probe` finds it; see `quick_clock`.

    Yields:
        (index into `numbers`, image); every image is an array of its own.

    Raises:
        MediaError: there is no video track, or it cannot be decoded.
    """
    if not numbers:
        return
    if source.is_dir():
        yield from _read_folder(source, numbers, clamp, max_pixels)
        return
    times = frame_times(source, max(numbers), kind)
    if times is None:
        yield from _read_through(source, numbers, clamp, max_pixels)
        return
    chosen = {index: _within(number, 1, len(times), clamp) for index, number in enumerate(numbers)}
    indices = [index for index, number in chosen.items() if 1 <= number <= len(times)]
    wanted = [times[chosen[index] - 1] for index in indices]
    for index, image in read_frames(source, wanted, threads, max_pixels=max_pixels, kind=kind):
        yield indices[index], image


def frame_times(source: Path, count: int, kind: str | None = None) -> list[float] | None:
    """When the first frames of a video are shown: seconds, ascending, at least `count` unless there are fewer.

    Returns:
        None where the packets do not tell.

    Raises:
        MediaError: there is no video track.
    """
    with open_media(source) as container:
        stream = best_video(container)
        clock = quick_clock(container, source, kind)
        if stream.codec_context.codec.canonical_name in WITH_HIDDEN_PACKETS or not stream.time_base or clock.parts > 1:
            return None
        read_only(container, stream)
        stamps = _stamps(container, stream, count + REORDERED)
        if not stamps or any(one == other for one, other in pairwise(stamps)):
            return None
        return [float(stamp * stream.time_base - clock.zero) for stamp in stamps]


def _stamps(container: InputContainer, stream: VideoStream, count: int) -> list[int]:
    """Timestamps of the first packets that show a frame, ascending; none if one of them has no timestamp."""
    stamps: list[int] = []
    for packet, _ in packets(container, [stream]):
        if packet is None or len(stamps) == count:
            break
        if packet.size == 0 or packet.is_discard:
            continue
        if packet.pts is None:
            return []
        stamps.append(packet.pts)
    return sorted(stamps)


def _read_through(source: Path, numbers: Sequence[int], clamp: bool, max_pixels: int) -> Iterator[tuple[int, RgbImage]]:
    """Counts frames while decoding from the start."""
    waiting = sorted(((number if not clamp else max(number, 1), index) for index, number in enumerate(numbers)))
    waiting = [(number, index) for number, index in waiting if number >= 1]
    reformatter, last = VideoReformatter(), None
    with open_media(source, max_pixels) as container:
        stream = best_video(container, max_pixels)
        read_only(container, stream)
        for number, last in enumerate(_frames(container, stream), 1):
            while waiting and waiting[0][0] == number:
                yield waiting.pop(0)[1], to_rgb(last, reformatter)
            if not waiting:
                return
        if last is None:
            raise MediaError("no frame could be decoded")
        for _, index in waiting if clamp else []:
            yield index, to_rgb(last, reformatter)


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    return (frame for frames, _ in decoded(container, stream) for frame in frames)


def _read_folder(folder: Path, numbers: Sequence[int], clamp: bool, max_pixels: int) -> Iterator[tuple[int, RgbImage]]:
    files = numbered_files(folder)
    first, last = min(files), max(files)
    for number, index in sorted((_within(number, first, last, clamp), index) for index, number in enumerate(numbers)):
        if number in files:
            yield index, load_image(files[number], max_pixels)


def _within(number: int, first: int, last: int, clamp: bool) -> int:
    return min(max(number, first), last) if clamp else number


FORMATS = ("JPEG", "PNG", "WEBP")
"""Readers of Pillow that may be used: those of the endings below."""

_ONE_OF = "JPEG, PNG or WebP"

IMAGE_NAME = re.compile(r"(?:.*\D)?(\d+)\.(?:jpe?g|png|webp)", re.IGNORECASE)
"""The number of an image is what stands before the ending of its name."""


def numbered_files(folder: Path) -> dict[int, Path]:
    """The images of a folder by number, in ascending order; hidden files and other names are left out.

    Raises:
        MediaError: there is none, two have the same number, or the folder cannot be read.
    """
    found: dict[int, Path] = {}
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise MediaError(f"cannot be read ({error.strerror})") from error
    for name in names:
        match = IMAGE_NAME.fullmatch(name)
        if match is None or name.startswith("."):
            continue
        number = int(match[1])
        if number > LARGEST_NUMBER:
            raise MediaError(f"an image has the number {number}, larger than {LARGEST_NUMBER}")
        if number in found:
            raise MediaError(f"two images have the number {number}")
        found[number] = folder / name
    if not found:
        raise MediaError("is a directory without numbered images")
    return dict(sorted(found.items()))


def load_image(path: Path, max_pixels: int = DEFAULT.max_pixels) -> RgbImage:
    """A still image as RGB uint8 (height, width, 3), turned as its EXIF data ask for.

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
        raise MediaError(f"{path.name} is {what or 'no image'}, not {_ONE_OF}") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise beyond(f"{path.name} has more than {most} pixels", "max_pixels", max_pixels) from error
    except MemoryError as error:
        raise MediaError(f"{path.name} does not fit into memory") from error
    except Exception as error:  # Pillow's readers raise whatever the bytes lead them to
        raise MediaError(f"{path.name} cannot be decoded") from error
