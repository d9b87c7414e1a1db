"""Media that change between two stages, or while one reads them: nothing is stored under a digest of other bytes."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from media_samples import frame_number, noise, numbered_frames, tone, write_media
from PIL import Image

from cache import tables as schemas
from cache.digests import DigestMemory
from cache.location import Store
from pipeline.config import layout
from pipeline.config.corpus import AudioSettings
from pipeline.config.params import load_params
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import MediaError
from pipeline.media.frames import read_frames
from pipeline.media.location import MediaFolder
from stages.embed.audio_reader import AudioReader
from stages.embed.clips import Clip, Span
from stages.embed.encoder import FrameInput, FrameRate
from stages.embed.frame_reader import FrameReader
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.ingest.init import init
from stages.ingest.media_files import MediaOpener
from stages.report.command import read_problems


def rewrite(source: Path, target: Path) -> None:
    """In place."""
    target.write_bytes(source.read_bytes())


def rewrite_with_old_times(source: Path, target: Path) -> None:
    before = os.stat(target)
    target.write_bytes(source.read_bytes())
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(source: Path, target: Path) -> None:
    """By another file of the same size and times, as `cp -p` and `mv` leave it."""
    before = os.stat(target)
    shutil.copyfile(source, other := target.with_name("other"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(target)


def retarget(source: Path, target: Path) -> None:
    """A link that points elsewhere now."""
    if not target.is_symlink():
        target.rename(target.parents[1] / target.name)
    target.unlink(missing_ok=True)
    target.symlink_to(source)


WAYS = [rewrite, rewrite_with_old_times, replace, retarget]


@pytest.fixture
def sounds(project, tmp_path):
    """Two sounds of the same size, of which the corpus has the first, and one that never changes."""
    for name, hertz in (("one", 440.0), ("two", 550.0)):
        write_media(tmp_path / f"{name}.wav", samples=tone(1.0, 16000, hertz), sample_rate=16000)
    (project / "media").mkdir()
    write_media(project / "media/stays.wav", samples=noise(1.0, 16000), sample_rate=16000)
    shutil.copyfile(tmp_path / "one.wav", project / "media/x.wav")
    init(Path("media"), name="mine", captions=None, window=1.0)
    return tmp_path / "one.wav", tmp_path / "two.wav"


def stored() -> set[str]:
    return {path.stem for path in Path(".hearonce/audio").rglob("*.flac")}


def digests() -> dict[str, str]:
    media = schemas.read_table(layout.table("mine", "media"), schemas.MEDIA)
    return dict(media.select("path", "digest").iter_rows())


@pytest.mark.parametrize("change", WAYS)
def test_sound_that_changes_after_ingest_is_refused_and_never_stored(sounds, change):
    first, second = sounds
    ingest("mine")
    known = digests()
    change(second, Path("media/x.wav"))
    with pytest.raises(SystemExit):
        extract_audio("mine")
    found = [(row["path"], row["reason"]) for row in read_problems(layout.PROBLEMS, load_params())]
    assert found == [("x.wav", "has changed since it was ingested: run `dvc repro` again")]
    assert stored() == {known["stays.wav"]}

    ingest("mine")
    assert digests()["x.wav"] != known["x.wav"]
    extract_audio("mine")
    assert stored() == set(digests().values())

    change(first, Path("media/x.wav"))
    ingest("mine")
    assert digests() == known
    extract_audio("mine")
    assert stored() > set(known.values())
    manifest = schemas.read_table(layout.audio("mine"), schemas.AUDIO)
    assert set(manifest["digest"]) == set(known.values())


def test_a_file_that_is_written_while_it_is_ingested_is_a_problem(sounds, monkeypatch):
    from pipeline.media import probe

    def slow_writer(path, *limits):
        info = probe.probe(path, *limits)
        if path.name == "x.wav":
            with path.open("ab") as file:
                file.write(b"\0" * 1000)
        return info

    monkeypatch.setattr("stages.ingest.media_files.probe", slow_writer)
    ingest("mine", keep_going=True)
    found = [(row["path"], row["reason"]) for row in read_problems(layout.PROBLEMS, load_params())]
    assert found == [("x.wav", "has changed while it was being read: run `dvc repro` again when it is whole")]
    assert set(digests()) == {"stays.wav"}


def test_a_file_that_was_only_touched_is_read_again_and_taken(sounds):
    ingest("mine")
    os.utime("media/x.wav")
    os.chmod("media/stays.wav", 0o600)
    extract_audio("mine")
    assert stored() == set(digests().values())


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two videos of numbered frames, the second 500 ahead."""
    folder = tmp_path_factory.mktemp("films")
    return [
        write_media(folder / f"{first}.mp4", frames=numbered_frames(300, 192, 64, first), rate=30) for first in (0, 500)
    ]


def reader_of(path: Path, clip_input, n: int = 9) -> FrameReader:
    digest = DigestMemory(None).digest(path)
    spans = [Span(path, digest, float(at), at + 1.0, at * 30 + 1, at * 30 + 30) for at in range(n)]
    return FrameReader(clip_input, [Clip(str(at), (span,), "film") for at, span in enumerate(spans)])


@pytest.mark.parametrize("change", WAYS)
def test_pictures_of_a_video_that_has_changed_are_refused(project, films, change):
    Path("media").mkdir()
    film = Path("media/film.mp4").absolute()
    shutil.copyfile(films[0], film)
    reader = reader_of(film, FrameInput(2))
    change(films[1], film)
    reasons = {str(item) for _, item in reader.read(reader.rows)}
    assert reasons == {"has changed since it was ingested: run `dvc repro` again"}


@pytest.mark.parametrize("change", WAYS)
@pytest.mark.parametrize("clip_input", [FrameInput(2), FrameRate(10, 64)], ids=["middles", "rate"])
def test_pictures_read_before_a_change_are_kept_and_none_after_it(project, films, change, clip_input):
    Path("media").mkdir()
    film = Path("media/film.mp4").absolute()
    shutil.copyfile(films[0], film)
    reader = reader_of(film, clip_input)
    found = []
    for row, item in reader.read(reader.rows):
        found.append((row.id, item))
        if len(found) == 2:
            change(films[1], film)
    assert len(found) == 9
    assert all(frame_number(picture) < 500 for _, item in found[:2] for picture in item)
    assert {str(item) for _, item in found[2:]} == {
        "has changed while it was being read: run `dvc repro` again when it is whole"
    }


@pytest.fixture
def folder(project, films):
    """The first 270 pictures of a video as files."""
    path = Path("media/frames").absolute()
    path.mkdir(parents=True)
    for index, picture in read_frames(films[0], [number / 30 for number in range(270)]):
        Image.fromarray(picture).save(path / f"frame_{index + 1:06d}.png", compress_level=0)
    return path


@pytest.mark.parametrize("change", [rewrite, rewrite_with_old_times, replace])
def test_one_other_picture_in_a_folder_refuses_what_is_read_afterwards(folder, change):
    reader = reader_of(folder, FrameInput(2))
    change(folder / "frame_000001.png", folder / "frame_000038.png")
    assert {str(item) for _, item in reader.read(reader.rows)} == {
        "has changed since it was ingested: run `dvc repro` again"
    }


def test_a_picture_that_changes_meanwhile_costs_the_clip_that_shows_it(folder):
    chosen = FrameInput(2)
    reader = reader_of(folder, chosen)
    found = {}
    for row, item in reader.read(reader.rows):
        found[row.id] = item
        if len(found) == 1:  # the second clip has pictures 31 to 60, of which the middles of its halves are shown
            for number in range(31, 61):
                rewrite_with_old_times(folder / "frame_000001.png", folder / f"frame_{number:06d}.png")
    assert len(found) == 9
    assert not isinstance(found["0"], MediaError)
    assert isinstance(found["1"], MediaError) and "while it was being read" in str(found["1"])


def test_clips_of_damaged_audio_are_read_as_before_or_say_why(sounds):
    ingest("mine")
    extract_audio("mine")
    store, known = AudioStore(Store.default(), AudioSettings()), digests()
    spans = {name: Span(Path("media", name), digest, 0.0, 1.0) for name, digest in known.items()}
    reader = AudioReader(16000, [Clip(name, (span,), name) for name, span in spans.items()], store)
    expected = {row.id: samples for row, samples in reader.read(reader.rows)}
    for digest in known.values():
        data = bytearray(store.path(digest).read_bytes())
        data[20] ^= 1  # the rate
        store.path(digest).write_bytes(data)
    replace(sounds[1], Path("media/x.wav"))
    found = {row.id: samples for row, samples in reader.read(reader.rows)}
    np.testing.assert_array_equal(found["stays.wav"], expected["stays.wav"])
    assert "does not match its checksum" in str(found["x.wav"]) and "has changed since it was ing" in str(
        found["x.wav"]
    )
    assert store.checked(known["stays.wav"]) is not None and store.checked(known["x.wav"]) is None


@pytest.mark.parametrize("what", ["rewritten", "added"])
def test_a_folder_that_changes_while_it_is_ingested_is_refused(folder, what, monkeypatch):
    from pipeline.media import probe

    first = folder / "frame_000001.png"

    def overtaken(path, *limits):
        info = probe.probe(path, *limits)
        if what == "rewritten":
            rewrite_with_old_times(folder / "frame_000002.png", first)
        else:
            shutil.copyfile(first, folder / "frame_000999.png")
        return info

    monkeypatch.setattr("stages.ingest.media_files.probe", overtaken)
    memory = DigestMemory(None)
    opener = MediaOpener(MediaFolder(folder.parent), memory, AudioStore(Store.default(), AudioSettings()), frozenset())
    with pytest.raises(MediaError, match="has changed while it was being read"):
        opener.open(Path(folder.name))
