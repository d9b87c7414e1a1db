import av
from media_samples import damage, noise, numbered_frames, write_media

from pipeline.media.decoding import decoded, packets, read_only
from pipeline.media.opening import best_audio, open_media


def test_other_streams_are_not_read(tmp_path):
    path = write_media(tmp_path / "a.mp4", samples=noise(20, 48000), frames=numbered_frames(500))
    with open_media(path) as container:
        read_only(container, container.streams.audio[0])
        read = [packet.stream.type for packet in container.demux() if packet.size]
    assert read.count("audio") > 900
    assert read.count("video") < 100, "only what was read to find out what the file holds"


def test_a_broken_packet_is_a_fault_and_decoding_goes_on(tmp_path):
    path = damage(write_media(tmp_path / "a.m4a", samples=noise(4, 48000)), 0.4, 0.5)
    with open_media(path) as container:
        found = list(decoded(container, best_audio(container)))
    faults = [place for place, (_, fault) in enumerate(found) if fault]
    assert faults
    assert all(not frames for frames, fault in found if fault)
    assert any(frames for frames, _ in found[faults[-1] :])


class Broken:
    """A container that ends in an error."""

    def __init__(self, error):
        self.error = error

    def demux(self, streams):
        yield from streams
        raise self.error


def test_reading_ends_where_pyav_fails_to_flush():
    """PyAV raises it where a stream turned up that was not there when reading began."""
    assert list(packets(Broken(IndexError()), ["one", "two"])) == [("one", ""), ("two", "")]


def test_reading_ends_at_an_error_of_the_file():
    error = av.error.InvalidDataError(1, "Invalid data")
    assert list(packets(Broken(error), ["one"])) == [("one", ""), (None, "Invalid data")]
