"""Decoding a stream from start to end, whatever is broken in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
from av.container import InputContainer
from av.stream import Discard, Stream

from pipeline.operations.interruption import check


def read_only(container: InputContainer, stream: Stream) -> None:
    """Makes the file skip the packets of all other streams."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def packets(container: InputContainer, streams: list[Stream]) -> Iterator[tuple[av.Packet | None, str]]:
    """Reads packets from where the file stands to the last that can be read; the empty ones at the end flush decoders.

    Yields:
        (packet, ""), or at last (None, fault) where reading ended in an error, in FFmpeg's words.

    Raises:
        Interrupted, Stopped: the run is to end.
    """
    source = container.demux(streams)
    while True:
        check()
        try:
            packet = next(source)
        except StopIteration:
            return
        except IndexError:  # PyAV at the end of a file in which new streams turned up on the way
            return
        except av.error.FFmpegError as error:
            yield None, str(error.strerror)
            return
        yield packet, ""


def decoded(container: InputContainer, stream: Stream) -> Iterator[tuple[list[Any], str]]:
    """Decodes packet by packet from where the file stands to the last that can be read.

    Yields:
        (frames, fault): the fault in FFmpeg's words where a packet could not be decoded, else empty.
    """
    for packet, fault in packets(container, [stream]):
        if packet is None:
            yield [], fault
            return
        try:
            yield packet.decode(), ""
        except EOFError:
            return
        except av.error.FFmpegError as error:
            yield [], str(error.strerror)
