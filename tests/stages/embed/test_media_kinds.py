"""Media that were once read wrongly have row keys of their own; all others keep theirs."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from media_samples import bursts, frame_number, numbered_frames, write_media

from cache.digests import DigestMemory
from cache.keys import clip_key, joined_clip_key, unpack_keys
from cache.location import Store
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio_store import AudioStore
from stages.embed.audio_reader import AudioReader
from stages.embed.clips import Clip, Clips, Span
from stages.embed.encoder import FrameInput
from stages.embed.frame_reader import FrameReader

PLAIN, JOINED, LOUD = "a" * 32, "b" * 32, "c" * 32
KINDS = {JOINED: "joined", LOUD: "beyond"}


def clip(*digests: str, source: Path = Path("x.ts"), start_s: float = 0.0, stop_s: float = 2.0) -> Clip:
    spans = tuple(Span(source, digest, start_s, stop_s) for digest in digests)
    return Clip("+".join(digests), spans, source.name)


CLIPS = [clip(PLAIN), clip(JOINED), clip(PLAIN, PLAIN), clip(PLAIN, JOINED), clip(LOUD)]


def test_keys_of_audio(tmp_path):
    reader = AudioReader(16000, CLIPS, AudioStore(Store(tmp_path), AudioSettings(), KINDS))
    twice, mixed = ([(digest, 0.0, 2.0) for digest in pair] for pair in ((PLAIN, PLAIN), (PLAIN, JOINED)))
    assert unpack_keys(reader.rows.keys) == [
        clip_key(PLAIN, 0.0, 2.0, "flac16-keep-1"),
        clip_key(JOINED, 0.0, 2.0, "flac16-keep-1-joined-1"),
        joined_clip_key(twice, "flac16-keep-1"),
        joined_clip_key(mixed, "flac16-keep-1-joined-1"),
        clip_key(LOUD, 0.0, 2.0, "flac16-keep-1-beyond-1"),
    ]


def test_keys_of_frames():
    keys = unpack_keys(FrameReader(FrameInput(2), CLIPS, KINDS).rows.keys)
    assert keys[1] == clip_key(JOINED, 0.0, 2.0, "joined-1")
    plain = unpack_keys(FrameReader(FrameInput(2), CLIPS).rows.keys)
    assert [one == other for one, other in zip(keys, plain, strict=True)] == [True, False, True, False, True]
    assert plain[0] == clip_key(PLAIN, 0.0, 2.0)


def test_columns_and_objects_give_the_same_keys():
    clips = Clips.of(CLIPS)
    assert unpack_keys(clips.keys("r", {JOINED: "joined-1"})) == [one.key("r", {JOINED: "joined-1"}) for one in CLIPS]


@pytest.mark.parametrize("known", [True, False])
def test_readers_of_a_joined_file_reach_all_of_it(tmp_path, known):
    parts = []
    for n in range(2):
        frames = numbered_frames(75, 48, 32, first=100 * n)
        options = {"video_codec": "libx264", "audio_codec": "aac", "frames": frames}
        parts.append(write_media(tmp_path / f"{n}.ts", samples=bursts(3, 48000, [1.0 + n]), **options).read_bytes())
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    digest = DigestMemory(None).digest(path)
    kinds = {digest: "joined"} if known else None
    wanted = [clip(digest, source=path, start_s=start, stop_s=start + 2) for start in (0.5, 3.5)]
    reader = pickle.loads(pickle.dumps(FrameReader(FrameInput(1), wanted, kinds)))
    frames = [frame_number(item[0]) for _, item in reader.read(list(reader.part(list(reader.rows)).rows))]
    assert frames == pytest.approx([37, 136], abs=3)
    audio = AudioReader(48000, wanted, AudioStore(Store(tmp_path), AudioSettings(), kinds))
    first, second = (samples for _, samples in audio.read(list(audio.rows)))
    assert np.argmax(np.abs(first) > 0.2) / 48000 == pytest.approx(0.52, abs=0.03)
    assert np.argmax(np.abs(second) > 0.2) / 48000 == pytest.approx(1.55, abs=0.03)
