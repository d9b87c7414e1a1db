"""Media that mean harm, or are merely broken in a way nobody thought of: a sentence for each, and the others go on."""

import json
import os
import struct
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import hostile_media as hostile
import numpy as np
import polars as pl
import pytest
import soundfile
from media_samples import numbered_frames, tone, write_media
from PIL import Image, UnidentifiedImageError

from cache import tables
from cache.digests import DigestMemory
from cache.errors import UserError, WriteError
from cache.keys import caption_key
from cache.location import Store
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.config import layout
from pipeline.config.corpus import AudioSettings, CorpusConfig
from pipeline.media.audio import extract_audio
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import OPEN_OPTIONS, Limits, MediaError
from pipeline.media.frames import Scaling, read_frames
from pipeline.media.numbered_frames import load_image, read_numbered
from pipeline.media.probe import probe
from pipeline.monitor.problems import Problems, StrictStop, problem_of
from pipeline.monitor.signals import Stopped
from pipeline.monitor.summary import Summary
from pipeline.runner.dask.runner import Task, compute_task
from pipeline.runner.local import LocalRunner
from pipeline.runner.rows import Row
from pipeline.runner.run import compute_missing
from stages.embed.audio_reader import AudioReader
from stages.embed.clips import Clip, Span
from stages.embed.encoder import FrameInput, FrameRate
from stages.embed.frame_reader import FrameReader
from stages.embed.frame_sampling import sample
from stages.extract_audio.extraction import Medium, extract_task
from stages.extract_audio.extraction import Task as ExtractTask
from stages.ingest.command import ingest
from stages.ingest.init import init

RATE = 8000
start = partial(init, name="mine", captions=None, window=10.0)


def problems_of(stage, corpus="mine"):
    frame = tables.read_table(layout.problems(corpus, stage), tables.PROBLEMS)
    return dict(frame.select("path", "reason").iter_rows())


# What may be opened


def test_playlists_and_image_sequences_are_not_media(tmp_path):
    for name, what in hostile.make_playlists(tmp_path).items():
        for read in (
            probe,
            lambda path: extract_audio(path, tmp_path / "out.flac"),
            lambda path: list(read_frames(path, [0.0])),
        ):
            with pytest.raises(MediaError) as refused:
                read(tmp_path / name)
            assert what in str(refused.value), name
    with av.open(str(tmp_path / "concat.mp4")) as opened:
        assert opened.format.name == "concat", "FFmpeg itself would read the other file"
    with av.open(str(tmp_path / "still%03d.png")) as opened:
        assert opened.format.name == "image2"


def test_a_movie_does_not_lead_to_samples_in_other_files(tmp_path):
    other = write_media(tmp_path / "other.wav", samples=tone(1, RATE), sample_rate=RATE)
    path = hostile.referring_mov(tmp_path / "a.mov", other)

    def bytes_read(options):
        with av.open(str(path), container_options=options) as container:
            return sum(packet.size for packet in container.demux())

    assert bytes_read({"enable_drefs": "1", "use_absolute_path": "1"}) == 2 * RATE, "the attack works"
    assert bytes_read(OPEN_OPTIONS) == 0


# Still pictures


def test_postscript_that_is_called_a_picture_is_refused_in_a_sentence(tmp_path):
    touched = tmp_path / "touched"
    text = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({touched}) (w) file\n"
    (tmp_path / "frame_0000000001.jpg").write_text(text)
    for read in (probe, lambda path: list(read_numbered(path, [1]))):
        with pytest.raises(MediaError, match=r"frame_0000000001\.jpg is a PostScript document, not JPEG, PNG or WebP"):
            read(tmp_path)
    assert not touched.exists()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM", "ICO", "EPS", "PDF"])
def test_pictures_of_other_formats_are_refused(tmp_path, kind):
    path = tmp_path / "frame_1.jpg"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path, kind)
    with pytest.raises(MediaError, match=r"frame_1\.jpg is .*, not JPEG, PNG or WebP"):
        load_image(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "MPO"])
def test_pictures_are_read_whatever_the_ending(tmp_path, kind):
    path = tmp_path / "frame_1.png"
    Image.fromarray(np.full((16, 20, 3), 99, np.uint8)).save(path, kind)
    assert load_image(path).shape == (16, 20, 3)


@pytest.mark.parametrize("side", [9000, 65000])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, side):
    hostile.huge_picture(tmp_path / "frame_1.jpg", side)
    with pytest.raises(MediaError, match=r"frame_1\.jpg has .* pixels, and max_pixels is 67108864: change `limits:`"):
        probe(tmp_path)


def test_a_picture_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "frame_1.jpg")
    with pytest.raises(MediaError, match=r"frame_1\.jpg cannot be decoded \(not a regular file\)"):
        probe(tmp_path)


def test_frame_numbers_without_end(tmp_path):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / f"frame_{10**40}.png")
    with pytest.raises(MediaError, match=f"an image has the number {10**40}, larger than"):
        probe(tmp_path)


def test_pictures_with_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9_7.png")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / name)
    assert probe(tmp_path).frames == (7, 7)


# Claims


def test_a_claim_of_many_seconds_is_not_believed_of_a_small_file(tmp_path):
    assert probe(hostile.claiming_mkv(tmp_path / "a.mkv", 1e12)).duration_s == pytest.approx(1.0)
    assert probe(hostile.claiming_mkv(tmp_path / "b.mkv", 40 * 3600)).duration_s == pytest.approx(1.0)


@pytest.mark.parametrize("seconds", [200 * 3600, 10**9])
def test_packets_far_away_are_no_length(tmp_path, seconds):
    """A jump of timestamps is a new part of the file, not silence of as many seconds."""
    assert probe(hostile.far_packet(tmp_path / "a.mkv", seconds)).duration_s < 10


def test_the_length_is_bounded():
    with pytest.raises(MediaError, match=r"claims 200 hours, and max_hours is 48: change `limits:` of the corpus if"):
        Limits().check_length(200 * 3600)
    with pytest.raises(MediaError, match="claims nan hours"):
        Limits().check_length(float("nan"))
    Limits(max_hours=500).check_length(200 * 3600)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"channels": 200}, "has 200 audio channels, and max_channels is 128"),
        ({"rate": 2_000_000}, "has audio of 2000000 Hz, and max_sample_rate is 1536000"),
        ({"rate": 1}, "has audio of 1 Hz, and min_sample_rate is 50"),
        ({"channels": 65535}, None),
        ({"rate": 4_000_000_000}, None),
        ({"rate": 0}, None),
        ({"channels": 0}, None),
    ],
)
def test_channels_and_rates_are_bounded(tmp_path, header, reason):
    with pytest.raises(MediaError, match=reason):
        probe(hostile.wav(tmp_path / "a.wav", **header))


def test_frames_are_bounded_wherever_in_the_file_they_come(tmp_path):
    small, large = numbered_frames(3), numbered_frames(3, width=384, height=128)
    path = write_media(tmp_path / "a.mp4", frames=large)
    with pytest.raises(MediaError, match="has frames of 384 x 128 pixels, and max_pixels is 20000"):
        probe(path, Limits(max_pixels=20_000))
    with pytest.raises(MediaError, match="no frame could be decoded"):
        list(read_frames(path, [0.0], max_pixels=20_000))
    with pytest.raises(MediaError, match="no frame could be decoded"):
        list(read_numbered(path, [1], max_pixels=20_000))

    options = {"container_format": "h264", "video_codec": "libx264"}
    streams = [write_media(tmp_path / f"{n}.h264", frames=one, **options) for n, one in enumerate((small, large))]
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(one.read_bytes() for one in streams))
    times = [0.0, 0.04, 0.08, 0.12, 0.16, 0.2]
    assert {picture.shape[1] for _, picture in read_frames(joined, times)} == {192, 384}
    with suppress(MediaError):
        assert {picture.shape[1] for _, picture in read_frames(joined, times, max_pixels=20_000)} <= {192}


def test_a_small_file_of_huge_frames_takes_no_memory(tmp_path):
    path = hostile.huge_frames(tmp_path / "a.avi", 30_000)
    with pytest.raises(MediaError, match="no frame could be decoded"):
        list(read_frames(path, [0.0]))


def test_narrow_frames_that_would_be_scaled_to_billions_of_pixels_are_refused(tmp_path):
    """By its short side, as encoders do it: 2 x 8000 pixels are 16 kB, and 224 x 896,000 are 600 MB."""
    narrow = np.zeros((8000, 2, 3), np.uint8)
    options = {"video_codec": "ffv1", "pixel_format": "yuv444p"}
    path = write_media(tmp_path / "a.mkv", frames=[narrow] * 2, **options)
    with pytest.raises(MediaError, match="has frames of 2 x 8000 pixels, and max_aspect is 100"):
        probe(path)
    assert probe(path, Limits(max_aspect=5000)).video.height == 8000
    with pytest.raises(MediaError, match="a frame of 2 x 8000 pixels would be scaled to 224 x 896000"):
        list(read_frames(path, [0.0], convert=Scaling(224)))
    Image.fromarray(narrow).save(tmp_path / "frame_1.png")
    with pytest.raises(MediaError, match="max_aspect is 100"):
        probe(tmp_path)


def test_frames_of_one_clip_are_bounded():
    clip = Clip("a", (Span(Path("a.mkv"), "0" * 32, 0.0, 47 * 3600.0),), "a.mkv")
    with pytest.raises(
        MediaError, match="a clip of 169200 s has more than 1000000 frames at 24 per second: cut it into"
    ):
        sample(FrameRate(24, 112), clip)


def test_windows_are_bounded(project):
    folder = project / "videos"
    folder.mkdir()
    for name in ("long", "short"):
        write_media(folder / f"{name}.wav", samples=tone(20.0 if name == "long" else 1.0, RATE), sample_rate=RATE)
    start(Path("videos"))
    config = project / "configs" / "corpora" / "mine.yaml"
    config.write_text(config.read_text() + "limits: {max_windows: 3}\n")
    config.write_text(config.read_text().replace("window_s: 10.0", "window_s: 5.0"))
    ingest("mine", keep_going=True)
    reason = "would be cut into 4 windows of 5 s, and max_windows is 3: change `limits:` of the corpus if this is right"
    assert problems_of("ingest") == {"long.wav": reason}
    assert tables.read_table(layout.table("mine", "clips"), tables.CLIPS)["clip_id"].to_list() == ["short.wav"]


def test_limits_are_settings_of_the_corpus(project):
    folder = project / "videos"
    folder.mkdir()
    write_media(folder / "a.wav", samples=tone(4.0, RATE), sample_rate=RATE)
    write_media(folder / "b.wav", samples=tone(1.0, RATE), sample_rate=RATE)
    start(Path("videos"))
    config = project / "configs" / "corpora" / "mine.yaml"
    text = config.read_text()
    config.write_text(f"{text}limits: {{max_hours: 0.001}}\n")
    ingest("mine", keep_going=True)
    assert problems_of("ingest") == {
        "a.wav": "claims 0.00111 hours, and max_hours is 0.001: change `limits:` of the corpus if this is right"
    }
    for wrong, reason in (
        ("{max_hour: 1}", "did you mean 'max_hours'"),
        ("{max_pixels: 0}", "max_pixels must be more"),
    ):
        config.write_text(f"{text}limits: {wrong}\n")
        with pytest.raises(UserError, match=reason):
            ingest("mine")


# Names, links and what is no file


def test_names_links_and_pipes_through_init_and_ingest(project, capsys):
    folder = project / "videos"
    (folder / "sub").mkdir(parents=True)
    write_media(folder / "ok.wav", samples=tone(1.0, RATE), sample_rate=RATE)
    for name in (b"caf\xe9.wav", b"sub/\xff\xfe.caf"):
        Path(folder, os.fsdecode(name)).write_bytes((folder / "ok.wav").read_bytes())
    (folder / "sub" / "up").symlink_to("..")
    (folder / "self.wav").symlink_to("self.wav")
    os.mkfifo(folder / "pipe.wav")
    for name in ("a.foo", "b.foo", "c.bar"):
        (folder / name).write_bytes(b"x")
    start(Path("videos"))
    told = capsys.readouterr().out
    assert "1 media file, " in told
    assert "caf\\xe9.wav: its name is not UTF-8: rename it" in told and "self.wav: a link to itself" in told
    assert "4 files left out: 2 .foo, 1 .bar, 1 pipes, sockets or devices" in told
    patterns = (project / ".dvcignore").read_text().splitlines()
    assert "/videos/self.wav" in patterns and "/videos/pipe.wav" in patterns and len(patterns) == 4

    ingest("mine", keep_going=True)
    assert problems_of("ingest") == {
        "caf\\xe9.wav": "its name is not UTF-8: rename it",
        "sub/\\xff\\xfe.caf": "its name is not UTF-8: rename it",
        "self.wav": "a link to itself",
    }
    assert tables.read_table(layout.table("mine", "media"), tables.MEDIA)["path"].to_list() == ["ok.wav"]
    assert "4 files left out" in capsys.readouterr().out
    with pytest.raises(StrictStop):
        ingest("mine", strict=True)


def test_what_a_listing_names_may_be_anything(project):
    folder = project / "videos"
    folder.mkdir()
    write_media(folder / "ok.wav", samples=tone(1.0, RATE), sample_rate=RATE)
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    wrong = {"pipe": "not a regular file", "loop": "a link to itself", "/dev/zero": "not a regular file",
             "n" * 300: "File name too long", "missing.wav": "file not found"}  # fmt: skip
    rows = [json.dumps({"file": name, "caption": "text"}) for name in ("ok.wav", *wrong)]
    (folder / "captions.jsonl").write_text("\n".join(rows))
    start(Path("videos"))
    ingest("mine", keep_going=True)
    found = problems_of("ingest")
    assert set(found) == set(wrong)
    for name, reason in wrong.items():
        assert reason in found[name], name


# Exceptions of every kind from every reader


def _undecodable():
    return UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid")


KINDS = {
    "media": lambda: MediaError("no video track"),
    "value": lambda: ValueError("thirteen"),
    "key": lambda: KeyError("moov"),
    "index": lambda: IndexError("list index out of range"),
    "attribute": lambda: AttributeError("'NoneType' object has no attribute 'rate'"),
    "type": lambda: TypeError("unsupported"),
    "assertion": lambda: AssertionError(),
    "unicode": _undecodable,
    "surrogate": lambda: ValueError("caf\udce9.wav and half of \ud83d"),
    "memory": MemoryError,
    "recursion": lambda: RecursionError("maximum recursion depth exceeded"),
    "zero": lambda: ZeroDivisionError("division by zero"),
    "overflow": lambda: OverflowError("int too large"),
    "end": EOFError,
    "stop": lambda: StopIteration("value"),
    "io": lambda: OSError(5, "Input/output error"),
    "no errno": lambda: OSError("disk trouble"),
    "permission": lambda: PermissionError(13, "Permission denied"),
    "timeout": lambda: TimeoutError(),
    "runtime": lambda: RuntimeError("a frame\nwith two lines"),
    "not implemented": lambda: NotImplementedError(),
    "struct": lambda: struct.error("unpack requires 4 bytes"),
    "ffmpeg": lambda: av.error.InvalidDataError(1094995529, "Invalid data found"),
    "ffmpeg argument": lambda: av.error.ArgumentError(22, "Invalid argument"),
    "sound": lambda: soundfile.LibsndfileError(1),
    "picture": lambda: UnidentifiedImageError("cannot identify"),
    "bomb": lambda: Image.DecompressionBombError("exceeds limit"),
    "polars": lambda: pl.exceptions.ComputeError("cannot"),
    "long": lambda: ValueError("x" * 10_000),
}
OF_THE_RUN = {
    "disk": lambda: WriteError("x was not written: the disk is full", OSError(28, "No space left")),
    "full": lambda: OSError(28, "No space left on device"),
    "files": lambda: OSError(24, "Too many open files"),
    "user": lambda: UserError("The setting is wrong."),
    "strict": lambda: StrictStop("strict run"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_an_item_raises_is_its_problem(kind):
    reason = problem_of(KINDS[kind]())
    assert reason and "\n" not in reason and len(reason) <= 500
    problems = Problems("embed")
    problems.add("a", "b", reason)
    problems.found[0].reason.encode()


@pytest.mark.parametrize("kind", OF_THE_RUN)
def test_what_would_befall_every_item_ends_the_run(kind):
    with pytest.raises(UserError):
        problem_of(OF_THE_RUN[kind]())


def test_an_end_that_was_asked_for_is_no_problem():
    with pytest.raises(Stopped):
        problem_of(Stopped())
    for error in (KeyboardInterrupt, SystemExit, GeneratorExit):
        assert not issubclass(error, Exception), "no reader takes these for a problem"


def raising(names, real):
    """A function that raises the error that the name of its first path stands for."""

    def call(source, *arguments, **options):
        kind = Path(str(source)).stem
        if kind in names:
            raise names[kind]()
        return real(source, *arguments, **options)

    return call


@pytest.fixture
def every_kind(project):
    folder = project / "videos"
    folder.mkdir()
    whole = write_media(folder / "fine.wav", samples=tone(1.0, RATE), sample_rate=RATE).read_bytes()
    for number, kind in enumerate(KINDS):
        (folder / f"{kind}.wav").write_bytes(whole + bytes(number + 1))
    return folder


def test_ingest_goes_on(every_kind, monkeypatch):
    monkeypatch.setattr("stages.ingest.media_files.probe", raising(KINDS, probe))
    monkeypatch.setattr("stages.ingest.init.probe", raising(KINDS, probe))
    start(Path("videos"))
    ingest("mine", keep_going=True)
    assert set(problems_of("ingest")) == {f"{kind}.wav" for kind in KINDS}
    assert tables.read_table(layout.table("mine", "media"), tables.MEDIA)["path"].to_list() == ["fine.wav"]
    with pytest.raises(StrictStop):
        ingest("mine", strict=True)
    with pytest.raises(SystemExit):
        ingest("mine")


@pytest.mark.parametrize("kind", OF_THE_RUN)
def test_ingest_ends_where_it_cannot_go_on(project, monkeypatch, kind):
    (project / "videos").mkdir()
    for name, seconds in (("fine", 1.0), (kind, 1.5)):
        write_media(project / "videos" / f"{name}.wav", samples=tone(seconds, RATE), sample_rate=RATE)
    start(Path("videos"))
    monkeypatch.setattr("stages.ingest.media_files.probe", raising(OF_THE_RUN, probe))
    with pytest.raises(UserError):
        ingest("mine", keep_going=True)


def test_workers_that_extract_audio_go_on(every_kind, tmp_path, monkeypatch):
    kinds = {kind: make for kind, make in KINDS.items() if kind not in ("io", "permission")}  # so writing fails
    monkeypatch.setattr("pipeline.media.audio_store.extract_audio", raising(kinds, extract_audio))
    for kind in KINDS.keys() - kinds:
        (every_kind / f"{kind}.wav").unlink()
    media = [Medium(path, DigestMemory(None).digest(path), 1.0) for path in sorted(every_kind.iterdir())]
    store = AudioStore(Store(tmp_path / "store"), AudioSettings())
    results, *_ = extract_task(ExtractTask(media, store, workers=2))
    failed = {medium.source.stem for medium, result in zip(media, results, strict=True) if isinstance(result, str)}
    assert failed == set(kinds)
    full = every_kind / "full.wav"
    full.write_bytes(media[0].source.read_bytes())
    monkeypatch.setattr("pipeline.media.audio_store.extract_audio", raising(OF_THE_RUN, extract_audio))
    with pytest.raises(UserError):
        extract_task(ExtractTask([replace(media[0], source=full)], store, workers=1))


class Tower:
    """Embeds the number of samples or the size of frames; fails at items of a length that stands for a kind."""

    def __init__(self, fails=()):
        self.fails = dict(fails)

    def prepare(self, item, key):
        return len(item)

    def encode(self, batch):
        for one in batch:
            if one in self.fails:
                raise self.fails[one]()
        return np.array([[one, 1.0] for one in batch], np.float32)


def embedded(tmp_path, reader, tower, **options):
    store = RowStore.ensure(tmp_path / "rows", "clips", "ab" * 16, RowFormat(2))
    problems = Problems("embed", options.pop("strict", False))
    maker = LocalRunner(reader.read, lambda: (tower, {}), workers=2, **{"batch_size": 4, **options})
    compute_missing(reader.rows, store, maker, problems=problems, summary=Summary("test"))
    return store, {one.id: one.reason for one in problems.found}


def clips_in(folder):
    digest = DigestMemory(None).digest
    return [Clip(path.stem, (Span(path, digest(path), 0.0, 0.5),), path.name) for path in sorted(folder.iterdir())]


def test_embedding_audio_goes_on_whatever_is_raised(every_kind, tmp_path, monkeypatch):
    audio = AudioStore(Store(tmp_path / "store"), AudioSettings())
    clips = clips_in(every_kind)
    named = {clip.spans[0].digest: clip.id for clip in clips}

    def read(self, digest, *_):
        return raising(KINDS, lambda source: np.zeros(10, np.float32))(f"{named[digest]}.wav")

    monkeypatch.setattr(AudioStore, "read", read)
    reader = AudioReader(RATE, clips, audio)
    store, failed = embedded(tmp_path, reader, Tower())
    assert set(failed) == set(KINDS)
    fine = [row.key for row in reader.rows if row.id == "fine"]
    assert store.read(fine)[0, 0] == 10
    with pytest.raises(StrictStop):
        embedded(tmp_path / "strict", reader, Tower(), strict=True)

    rows = list(reader.rows)
    done = compute_task(Task(rows, reader.read, lambda: (Tower(), {}), "as a worker does", 4, 2))
    failed = {row.id for row, result in zip(rows, done.results, strict=True) if isinstance(result, Exception)}
    assert failed == set(KINDS)


def test_embedding_frames_goes_on_whatever_is_raised(every_kind, tmp_path, monkeypatch):
    frame = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(
        "stages.embed.frame_reader.read_frames",
        raising(KINDS, lambda source, times, **_: iter([(number, frame) for number in range(len(times))])),
    )
    _, failed = embedded(tmp_path, FrameReader(FrameInput(2), clips_in(every_kind)), Tower())
    assert set(failed) == set(KINDS)


class Numbers:
    """Reads items from the names of their rows."""

    def __init__(self, count):
        self.rows = [Row(str(n), caption_key(str(n)), f"group{n // 5}", "") for n in range(1, count + 1)]

    def read(self, group):
        return ((row, "x" * int(row.id)) for row in group)


@pytest.mark.parametrize("batch_size", [1, 8, None])
def test_a_row_that_the_tower_fails_at_is_its_own_problem(tmp_path, batch_size):
    fails = dict(zip(range(3, 3 + 2 * len(KINDS), 2), KINDS.values(), strict=True))
    _, failed = embedded(tmp_path, Numbers(80), Tower(fails), batch_size=batch_size)
    assert set(failed) == {str(length) for length in fails}


def test_a_tower_that_fails_at_all_it_is_given_ends_the_run(tmp_path):
    for count in (3, 80):
        with pytest.raises(ZeroDivisionError):
            embedded(tmp_path, Numbers(count), Tower(dict.fromkeys(range(100), ZeroDivisionError)))


def test_rows_computed_before_the_run_must_end_are_kept(tmp_path):
    reader = Numbers(20)
    real = reader.read

    def read(group):
        for row, item in real(group):
            yield row, OF_THE_RUN["full"]() if row.id == "17" else item

    reader.read = read
    with pytest.raises(UserError, match="the disk is full"):
        embedded(tmp_path, reader, Tower(), batch_size=20)
    store = RowStore.ensure(tmp_path / "rows", "clips", "ab" * 16, RowFormat(2))
    assert len(store.lookup([row.key for row in reader.rows]).missing()) < 20


def test_the_settings_of_a_corpus_have_generous_limits():
    assert CorpusConfig().limits == Limits() and Limits().max_pixels >= 8192 * 4320 and Limits().max_hours >= 48
