import pytest
from media_samples import tone, write_media

from cache.location import Store
from pipeline.audio_store import AudioStore, recipe
from pipeline.config.corpus import AudioSettings
from pipeline.media.errors import MediaError

DIGEST = "0123456789abcdef" * 2


def test_a_sound_track_is_extracted_once(tmp_path, monkeypatch):
    source = write_media(tmp_path / "a.wav", samples=tone(0.5, 16000, channels=2), sample_rate=16000)
    store = AudioStore(Store(tmp_path / "store"), AudioSettings())
    assert store.find(DIGEST) is None
    made = store.ensure(DIGEST, source)
    assert (made.sample_rate, made.channels, made.n_samples) == (16000, 2, 8000)
    monkeypatch.setattr("pipeline.audio_store.extract_audio", lambda *_, **__: pytest.fail("extracted again"))
    assert store.ensure(DIGEST, source) == made == store.find(DIGEST)


def test_settings_have_files_of_their_own(tmp_path):
    source = write_media(tmp_path / "a.wav", samples=tone(0.5, 16000, channels=2), sample_rate=16000)
    keep, mono = (AudioStore(Store(tmp_path), AudioSettings(channels=channels)) for channels in ("keep", "mono"))
    assert recipe(keep.settings) != recipe(mono.settings)
    assert keep.ensure(DIGEST, source).channels == 2
    assert mono.ensure(DIGEST, source).channels == 1


def test_half_a_pair_of_files_is_made_anew(tmp_path):
    source = write_media(tmp_path / "a.wav", samples=tone(0.5, 16000), sample_rate=16000)
    store = AudioStore(Store(tmp_path), AudioSettings())
    made = store.ensure(DIGEST, source)
    store.path(DIGEST).with_suffix(".json").write_text("{")
    assert store.find(DIGEST) is None
    assert store.ensure(DIGEST, source) == made
    store.path(DIGEST).unlink()
    assert store.ensure(DIGEST, source) == made
    assert store.path(DIGEST).is_file()


def test_no_sound_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.mp4").write_text("text")
    store = AudioStore(Store(tmp_path / "store"), AudioSettings())
    with pytest.raises(MediaError):
        store.ensure(DIGEST, tmp_path / "a.mp4")
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
