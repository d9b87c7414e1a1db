"""The sounds of a report: of the right span, each made once, no more than there is room for."""

from pathlib import Path

import media_samples
import pytest

from cache import tables
from cache.digests import DigestMemory
from pipeline.config import layout
from stages.report.audio import Sounds

RATE = 16000


@pytest.fixture
def corpus(project):
    """Three clips of one file, and one of a file that is no media."""
    Path("media").mkdir()
    media_samples.write_media(Path("media/a.wav"), samples=media_samples.noise(9, RATE), sample_rate=RATE)
    Path("media/b.wav").write_bytes(b"no sound")
    Path("configs/corpora/mine.yaml").write_text("reader: folder\n")
    Path("params.yaml").write_text("corpora: {mine: {media: media, annotations: media}}\nembeddings: {}\nsubsets: {}\n")
    memory = DigestMemory(None)
    digests = {name: memory.digest(Path(f"media/{name}.wav")) for name in "ab"}
    places = [("a", "a@0", 0.0, 1.0), ("a", "a@3", 3.0, 4.0), ("a", "a@6", 6.0, 9.0), ("b", "b", 0.0, 1.0)]
    spans = [
        {
            "clip_id": clip,
            "modality": "sound",
            "media_id": f"{media}.wav",
            "media_path": f"{media}.wav",
            "media_digest": digests[media],
            "start_s": start,
            "stop_s": stop,
            "start_frame": None,
            "stop_frame": None,
        }
        for media, clip, start, stop in places
    ]
    spans.append(spans[0] | {"start_s": 8.0, "stop_s": 8.5})
    spans.append(spans[0] | {"modality": "picture", "media_path": "b.wav", "media_digest": digests["b"]})
    tables.write_table(tables.table(spans, tables.SPANS), tables.SPANS, layout.table("mine", "spans"))
    return "mine"


def test_a_clip_sounds_as_its_first_span_and_longer_ones_take_more_bytes(corpus):
    sounds = Sounds()
    short, long = sounds.snippet(corpus, "a@0"), sounds.snippet(corpus, "a@6")
    assert 4_000 < len(short) < len(long) / 2
    assert sounds.snippet(corpus, "a@3") != short
    assert sounds.snippet(corpus, "b") is None and sounds.snippet(corpus, "unknown") is None
    assert sounds.n_left_out == 0


def test_when_there_is_no_more_room_clips_stay_silent_and_are_counted(corpus):
    sounds = Sounds(max_bytes=1)
    first = sounds.snippet(corpus, "a@0")
    assert first and sounds.snippet(corpus, "a@3") is None and sounds.snippet(corpus, "a@6") is None
    assert sounds.snippet(corpus, "a@3") is None and sounds.n_left_out == 2
    assert sounds.snippet(corpus, "a@0") == first


def test_snippets_of_the_last_report_are_taken_unless_a_bit_has_flipped(corpus, monkeypatch):
    first = Sounds().snippet(corpus, "a@0")
    (kept,) = Path(".hearonce/previews").glob("*.snippet")
    monkeypatch.setattr("stages.report.audio.encode_snippet", lambda samples, rate: b"encoded again")
    assert Sounds().snippet(corpus, "a@0") == first
    data = bytearray(kept.read_bytes())
    data[100] ^= 1
    kept.write_bytes(data)
    assert Sounds().snippet(corpus, "a@0") == b"encoded again"
