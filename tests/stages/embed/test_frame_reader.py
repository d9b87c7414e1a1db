"""From clips to pictures: which file, which frame, which key."""

import numpy as np
import pytest
from media_samples import frame_number, noise, numbered_frames, write_media
from PIL import Image

from cache.digests import DigestMemory
from cache.keys import clip_key
from pipeline.media.containers import MediaError
from pipeline.media.frames import read_frames
from stages.embed.clips import Clip, Span
from stages.embed.encoder import FrameInput
from stages.embed.frame_reader import FrameReader


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two chunks of 20 s of one video at 30 frames per second, and the first second of it as a folder of frames."""
    root = tmp_path_factory.mktemp("frames")
    for chunk in (0, 1):
        frames = numbered_frames(600, 96, 32, first=1000 * chunk)
        write_media(root / f"{chunk}.mp4", frames=frames, rate=30, b_frames=2)
    (root / "P01_01").mkdir()
    for index, image in read_frames(root / "0.mp4", [number / 30 for number in range(30)]):
        Image.fromarray(image).save(root / "P01_01" / f"frame_{index + 1:010d}.png")
    write_media(root / "sound.wav", samples=noise(1, 8000))
    write_media(root / "small.mp4", frames=numbered_frames(60, 48, 32), rate=30)
    return root


@pytest.fixture(scope="module")
def span(root):
    memory = DigestMemory(root / "digests.sqlite")

    def make(name, start_s=0.0, stop_s=1.0, start_frame=None, stop_frame=None):
        return Span(root / name, memory.digest(root / name), start_s, stop_s, start_frame, stop_frame)

    yield make
    memory.close()


def read(clip_input, *clips):
    """What the reader yields, by clip id, group by group as a run reads it."""
    reader = FrameReader(clip_input, clips)
    groups = {row.group: [one for one in reader.rows if one.group == row.group] for row in reader.rows}
    items = {row.key: item for rows in groups.values() for row, item in reader.read(rows)}
    return {row.id: items[row.key] for row in reader.rows}


def shown(item):
    return [frame_number(picture) for picture in item]


def clip(id, *spans):
    return Clip(id, spans, str(spans[0].source))


def test_the_middles_of_equal_parts_and_the_keys_they_always_had(span):
    one = span("0.mp4", 2.0, 4.0)
    assert shown(read(FrameInput(4), clip("a", one))["a"]) == [67, 82, 97, 112]
    assert FrameReader(FrameInput(4), [clip("a", one)]).rows[0].key == clip_key(one.digest, 2.0, 4.0)


def test_a_clip_that_goes_on_in_a_second_file(span):
    spans = span("0.mp4", 18.0, 20.0), span("1.mp4", 0.0, 2.0)
    found = read(FrameInput(4), clip("a", *spans), clip("b", span("0.mp4", 1.0, 2.0)), clip("c", span("1.mp4")))
    assert shown(found["a"]) == [555, 585, 1015, 1045]
    assert shown(found["b"]) == [33, 41, 48, 56]
    found = read(FrameInput(4, "egovlp-egomcq"), clip("a", *spans))
    assert shown(found["a"]) == [553, 583, 1013, 1043], "of 540, 570, 600, 630, 660 the middles, less 1 of the seek"


def test_frame_numbers_decide_and_belong_to_the_key(span):
    numbered = [
        clip("a", span("0.mp4", 1.0, 2.0, 30, 60)),
        clip("b", span("0.mp4", 1.0, 2.0, 31, 61)),
        clip("c", span("0.mp4", 1.0, 2.0, 30, 60)),
    ]
    chosen = FrameInput(3, "egovlp-epic")
    found = read(chosen, *numbered)
    assert [shown(found[id]) for id in "abc"] == [[33, 43, 53], [34, 44, 54], [33, 43, 53]]
    keys = [row.key for row in FrameReader(chosen, numbered).rows]
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize("sampling", ["egovlp-epic", "middle-of-parts"])
def test_a_folder_of_frames_gives_what_the_video_gives(span, sampling):
    folder = read(FrameInput(4, sampling), clip("a", span("P01_01", 0.2, 0.9, 6, 27)))["a"]
    film = read(FrameInput(4, "egovlp-epic"), clip("a", span("0.mp4", 0.2, 0.9, 6, 27)))["a"]
    if sampling == "egovlp-epic":
        assert np.array_equal(folder, film)
    else:
        assert shown(folder) == [7, 13, 18, 24]


def test_what_cannot_be_read_says_why(span):
    epic = FrameInput(4, "egovlp-epic")
    found = read(
        epic,
        clip("past the end", span("P01_01", 0.0, 2.0, 20, 60)),
        clip("good", span("P01_01", 0.0, 2.0, 1, 30)),
        clip("before the start", span("P01_01", 0.0, 0.1, 1, 1)),
        clip("no numbers", span("P01_01")),
        clip("sound", span("sound.wav", 0.0, 1.0, 1, 30)),
    )
    assert shown(found["good"]) == [3, 10, 17, 24]
    reasons = {id: str(item) for id, item in found.items() if isinstance(item, MediaError)}
    assert reasons == {
        "past the end": "there is no frame 34",
        "before the start": "there is no frame 0",
        "no numbers": "a clip in a folder of frames needs frame numbers, and the corpus's reader gave none",
        "sound": "no video track",
    }
    sizes = read(FrameInput(2), clip("a", span("small.mp4", 0.0, 2.0), span("0.mp4", 0.0, 2.0)))["a"]
    assert str(sizes) == "the frames of this clip differ in size"


def test_egomcq_past_the_end_repeats_the_last_frame(span):
    found = read(FrameInput(4, "egovlp-egomcq"), clip("a", span("0.mp4", 19.0, 22.0)))["a"]
    assert shown(found) == [579, 599, 599, 599]


def test_memory_is_freed_clip_by_clip(span):
    """Clips come as soon as their last picture is there, not at the end of the file."""
    reader = FrameReader(FrameInput(2), [clip(str(at), span("0.mp4", at, at + 1.0)) for at in range(10)])
    items = reader.read(reader.rows)
    assert [next(items)[0].id for _ in range(3)] == ["0", "1", "2"]
    items.close()
