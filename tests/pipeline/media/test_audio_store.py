import errno
import json
import os
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from media_samples import noise, tone, write_media

from cache.digests import DigestMemory
from cache.errors import UserError
from cache.location import Store
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio import extract_audio, read_audio
from pipeline.media.audio_store import AudioStore, NoRecord, read_record, recipe
from pipeline.media.containers import MediaError
from pipeline.monitor.problems import problem_of


@pytest.fixture(autouse=True)
def in_project(project):
    """Digests are remembered in the project's store."""


def digest_of(path) -> str:
    return DigestMemory(None).digest(path)


def no_extraction(monkeypatch) -> None:
    monkeypatch.setattr("pipeline.media.audio_store.extract_audio", lambda *_, **__: pytest.fail("extracted again"))


@pytest.fixture
def stereo(tmp_path):
    return write_media(tmp_path / "a.wav", samples=tone(0.5, 16000, channels=2), sample_rate=16000)


@pytest.fixture
def long(tmp_path):
    """A medium whose FLAC file has several blocks."""
    return write_media(tmp_path / "long.wav", samples=noise(10.0, 16000), sample_rate=16000)


def test_a_sound_track_is_extracted_once(tmp_path, stereo, monkeypatch):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(stereo)
    assert store.find(digest) is None
    made = store.ensure(digest, stereo)
    assert (made.sample_rate, made.channels, made.n_samples) == (16000, 2, 8000)
    no_extraction(monkeypatch)
    assert store.ensure(digest, stereo) == made == store.find(digest) == store.checked(digest)


def test_settings_have_files_of_their_own(tmp_path, stereo):
    keep, mono = (AudioStore(Store(tmp_path), AudioSettings(channels=channels)) for channels in ("keep", "mono"))
    assert recipe(keep.settings) != recipe(mono.settings)
    assert keep.ensure(digest_of(stereo), stereo).channels == 2
    assert mono.ensure(digest_of(stereo), stereo).channels == 1


def test_half_a_pair_of_files_is_made_anew(tmp_path, stereo):
    store, digest = AudioStore(Store(tmp_path), AudioSettings()), digest_of(stereo)
    made = store.ensure(digest, stereo)
    store.path(digest).with_suffix(".json").write_text("{")
    assert store.find(digest) is None
    assert store.ensure(digest, stereo) == made
    store.path(digest).unlink()
    assert store.ensure(digest, stereo) == made
    assert store.path(digest).is_file()


def test_no_sound_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.mp4").write_text("text")
    store = AudioStore(Store(tmp_path / "store"), AudioSettings())
    with pytest.raises(MediaError, match="not a media file"):
        store.ensure(digest_of(tmp_path / "a.mp4"), tmp_path / "a.mp4")
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_other_bytes_are_not_stored_under_a_digest(tmp_path, stereo, long):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(stereo)
    shutil.copyfile(long, stereo)
    with pytest.raises(MediaError, match=r"has changed since it was ingested: run `dvc repro` again"):
        store.ensure(digest, stereo)
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_file_that_changes_while_it_is_extracted_is_not_stored(tmp_path, stereo, long, monkeypatch):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(stereo)

    def overtaken(source, target, **settings):
        made = extract_audio(source, target, **settings)
        long.replace(stereo)
        return made

    monkeypatch.setattr("pipeline.media.audio_store.extract_audio", overtaken)
    with pytest.raises(MediaError, match="has changed while it was being read"):
        store.ensure(digest, stereo)
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_medium_that_can_no_longer_be_read_costs_itself_alone(tmp_path, stereo, monkeypatch, error):
    def failing(path):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("pipeline.media.audio.recordings", failing)
    store = AudioStore(Store(tmp_path / "store"), AudioSettings())
    with pytest.raises(MediaError, match=f"cannot be read .{os.strerror(error)}.") as caught:
        store.ensure(digest_of(stereo), stereo)
    assert problem_of(caught.value) == str(caught.value)
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_full_disk_ends_the_run(tmp_path, long, monkeypatch):
    def full(sink, data):
        sink._error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return 0

    monkeypatch.setattr("pipeline.media.flac._Sink.write", full)
    store = AudioStore(Store(tmp_path / "store"), AudioSettings())
    with pytest.raises(UserError, match="the disk is full") as caught:
        store.ensure(digest_of(long), long)
    with pytest.raises(UserError):
        problem_of(caught.value)


@pytest.mark.parametrize("where", [20, 21, 70_000, -1], ids=["rate", "channels", "frame", "last"])
def test_a_damaged_file_is_extracted_again_when_it_is_read(tmp_path, long, where):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(long)
    store.ensure(digest, long)
    path = store.path(digest)
    before, expected = path.read_bytes(), store.read(digest, long, 1.0, 9.9, 16000)
    flip(path, where)
    np.testing.assert_array_equal(store.read(digest, long, 1.0, 9.9, 16000), expected)
    read_all = store.read(digest, long, 0.0, 10.0, 16000)
    assert len(read_all) == 160_000
    assert path.read_bytes() == before


@pytest.mark.parametrize("gone", ["cut", "lost", "longer"])
def test_a_cut_or_lost_file_is_extracted_again(tmp_path, long, gone):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(long)
    store.ensure(digest, long)
    path = store.path(digest)
    before = path.read_bytes()
    if gone == "lost":
        path.unlink()
    else:
        path.write_bytes(before[:1000] if gone == "cut" else before + b"more")
    assert store.find(digest) is None
    assert len(store.read(digest, long, 0.0, 1.0, 16000)) == 16000
    assert path.read_bytes() == before


def test_damage_is_named_where_the_medium_is_gone(tmp_path, long):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(long)
    store.ensure(digest, long)
    flip(store.path(digest), 20)
    long.unlink()
    with pytest.raises(MediaError, match=rf"{digest}\.flac does not match its checksum.*file not found; bring the"):
        store.read(digest, long, 0.0, 1.0, 16000)
    assert store.checked(digest) is None


def test_a_clip_outside_the_file_is_no_damage(tmp_path, long, monkeypatch):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(long)
    store.ensure(digest, long)
    no_extraction(monkeypatch)
    with pytest.raises(MediaError) as said:
        store.read(digest, long, 20.0, 21.0, 16000)
    assert "damaged" not in str(said.value)


def test_a_flipped_bit_in_a_record_is_found(tmp_path, stereo):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(stereo)
    made = store.ensure(digest, stereo)
    record = store.path(digest).with_suffix(".json")
    for byte in range(0, record.stat().st_size, 7):
        flip(record, byte)
        with pytest.raises(NoRecord):
            read_record(record, digest, recipe(store.settings))
        assert store.find(digest) is None
        flip(record, byte)
        assert store.find(digest) == made


def older(store: AudioStore, digest: str, source) -> None:
    """Extracts as older versions did: a record without checksums."""
    path = store.path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = extract_audio(source, path)
    path.with_suffix(".json").write_text(json.dumps(asdict(made)))


def test_audio_of_an_older_version_is_extracted_again_and_stays_the_same(tmp_path, stereo):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(stereo)
    older(store, digest, stereo)
    before = store.path(digest).read_bytes()
    assert store.find(digest) is None
    store.ensure(digest, stereo)
    assert store.path(digest).read_bytes() == before
    assert store.differing == set()


def test_audio_of_an_older_version_that_is_of_another_file_is_named(tmp_path, stereo, long):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(stereo)
    older(store, digest, long)
    assert store.ensure(digest, stereo).n_samples == 8000
    assert store.differing == {digest}


def test_audio_of_an_older_version_whose_medium_is_gone_is_not_believed(tmp_path, stereo):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(stereo)
    older(store, digest, stereo)
    stereo.unlink()
    with pytest.raises(MediaError, match=r"of an older version, without checksums.*: file not found"):
        store.read(digest, stereo, 0.0, 0.1, 16000)
    assert store.path(digest).is_file()


def test_clips_are_read_as_from_the_plain_file(tmp_path, long):
    store, digest = AudioStore(Store(tmp_path / "store"), AudioSettings()), digest_of(long)
    for start, stop, rate in ((0.0, 10.0, 16000), (3.21, 3.22, 8000), (9.5, 12.0, 44100)):
        found = store.read(digest, long, start, stop, rate)
        np.testing.assert_array_equal(found, read_audio(store.path(digest), start, stop, rate))


def flip(path, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 4
    path.write_bytes(data)
