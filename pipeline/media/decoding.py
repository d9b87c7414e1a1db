"""Decoding a stream from start to end, whatever is broken in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import av
from av.container import InputContainer
from av.stream import Discard, Stream

from pipeline.media.clock import Shifter
from pipeline.media.opening import id3_bytes
from pipeline.operations.interruption import check


class Ending(str):
    """The fault that ended the reading of a file, unlike one that cost a packet."""


def read_only(container: InputContainer, stream: Stream) -> None:
    """Makes the file skip the packets of all other streams."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def packets(
    container: InputContainer, streams: list[Stream], shifter: Shifter | None = None
) -> Iterator[tuple[av.Packet | None, str]]:
    """Reads packets from where the file stands to the last that can be read; the empty ones at the end flush decoders.

    Args:
        container: the file.
        streams: whose packets.
        shifter: moves their timestamps; of one stream, and of a file that stands at its start.

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
        if shifter is not None and packet.size:
            shifter(packet)
        yield packet, ""


def decoded(
    container: InputContainer, stream: Stream, shifter: Shifter | None = None
) -> Iterator[tuple[list[Any], str]]:
    """Decodes packet by packet from where the file stands to the last that can be read.

    Args:
        container: the file.
        stream: to decode.
        shifter: moves the timestamps of packets before they are decoded; see `packets`.

    Yields:
        (frames, fault): the fault in FFmpeg's words where a packet could not be decoded, else empty; an `Ending` where
            no more packets could be read.
    """
    source = packets(container, [stream], shifter)
    for packet, fault, anew in _beginnings(source, shifter) if shifter else ((*one, False) for one in source):
        if packet is None:
            yield [], Ending(fault)
            return
        if anew:
            yield _rest(stream), ""
        try:
            yield packet.decode(), ""
        except EOFError:
            return
        except av.error.FFmpegError as error:
            yield _behind_tag(packet, stream) or ([], str(error.strerror))


def _behind_tag(packet: av.Packet, stream: Stream) -> tuple[list[Any], str] | None:
    """Decodes the header that follows an ID3 tag where MP3 files are joined, a frame of silence; None if it is none."""
    data = bytes(packet)
    length = 10 + id3_bytes(data)
    if not data.startswith(b"ID3") or not any(mark in data[length : length + 64] for mark in (b"Xing", b"Info")):
        return None
    rest = av.Packet(data[length:])
    rest.pts, rest.dts, rest.time_base = packet.pts, packet.dts, packet.time_base
    try:
        return stream.codec_context.decode(rest), ""
    except av.error.FFmpegError as error:
        return [], str(error.strerror)


def _beginnings(
    source: Iterator[tuple[av.Packet | None, str]], shifter: Shifter
) -> Iterator[tuple[av.Packet | None, str, bool]]:
    """Packets, and whether the decoder has to begin anew: at the first of a part, unless new headers tell it.

    In Ogg the first packet of a part cannot be told by its timestamp, but it lies in the page of the second.
    """
    held: tuple[av.Packet | None, str, bool] | None = None
    for packet, fault in source:
        anew = packet is not None and packet.size > 0 and shifter.jumped
        if held is not None:
            before = held[0]
            if (
                anew
                and before is not None
                and packet is not None
                and before.pos is not None
                and before.pos == packet.pos
            ):
                held, anew = (before, "", _needs_to(before)), False
                shifter.fresh = True
            yield held
        if anew and packet is not None:
            anew = _needs_to(packet)
            shifter.fresh = True
        held = (packet, fault, anew)
    if held is not None:
        yield held


def _needs_to(first: av.Packet) -> bool:
    """Not where a recording goes on after a jump, in the midst of pictures that need those before."""
    return first.is_keyframe and not first.has_sidedata("new_extradata")


def _rest(stream: Stream) -> list[Any]:
    """What the decoder still holds. It then begins anew, as another recording needs it."""
    frames: list[Any] = []
    with suppress(av.error.FFmpegError, EOFError):
        frames = list(stream.codec_context.decode(None))
    stream.codec_context.flush_buffers()
    return frames
