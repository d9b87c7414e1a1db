"""Decoding a stream from start to end, whatever is broken in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
from av.container import InputContainer
from av.stream import Discard, Stream


def read_only(container: InputContainer, stream: Stream) -> None:
    """Makes the file skip the packets of all other streams."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def decoded(container: InputContainer, stream: Stream) -> Iterator[tuple[list[Any], str]]:
    """Decodes packet by packet from where the file stands to the last that can be read.

    Yields:
        (frames, fault): the fault in FFmpeg's words where a packet could not be decoded, else empty.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            yield [], str(error.strerror)
            return
        try:
            yield packet.decode(), ""
        except EOFError:
            return
        except av.error.FFmpegError as error:
            yield [], str(error.strerror)
