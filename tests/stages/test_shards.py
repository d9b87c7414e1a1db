"""A corpus of WebDataset shards, from the tar files to scores, beside the same media in a folder."""

import gzip
import io
import multiprocessing
import os
import re
import shutil
import signal
import tarfile
from pathlib import Path

import polars as pl
import pytest
import s3fs
import webdataset
from media_samples import noise, numbered_frames, tone, write_media
from object_store import serving_objects

from cache import tables as schemas
from cache.errors import UserError
from hearonce.server.previews import MAKERS, Media, Span
from pipeline.config import layout
from pipeline.config.params import load_params
from pipeline.media import members
from pipeline.media.containers import MediaError
from pipeline.media.location import local, open_place
from pipeline.media.members import Member
from pipeline.remote import download
from stages.check import check
from stages.embed.command import embed
from stages.extract_audio.command import extract_audio
from stages.ingest import shards as reading
from stages.ingest.command import ingest
from stages.ingest.init import init
from stages.ingest.list_media import list_media
from stages.report.command import read_problems
from stages.score.command import score


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Four media: three sounds of different kinds, and a video with sound."""
    folder = tmp_path_factory.mktemp("media")
    for number, suffix in enumerate((".wav", ".flac", ".ogg")):
        write_media(folder / f"00{number}{suffix}", samples=tone(1, 16000, 300 + 90 * number), sample_rate=16000)
    write_media(folder / "003.mp4", samples=noise(1, 16000), sample_rate=16000, frames=numbered_frames(25))
    return folder


def write_shards(folder, media, **changed):
    """Two samples in each shard, by the webdataset library itself."""
    folder.mkdir(exist_ok=True)
    with webdataset.ShardWriter(str(folder / "%05d.tar"), maxcount=2, verbose=0) as writer:
        for path in sorted(media.iterdir()):
            sample = {"__key__": path.stem, path.suffix[1:]: path.read_bytes(), "txt": f"tone {path.stem}"}
            writer.write({**sample, "json": {"caption": "not taken", "number": 3}, **changed})
    return folder


def start(source, **options):
    init(source, **{"name": None, "captions": None, "window": 10.0, "hop": None, "shots": False, **options})


def reasons():
    return {row["path"]: row["reason"] for row in read_problems(layout.PROBLEMS, load_params())}


def table(corpus, name):
    return schemas.read_table(layout.table(corpus, name), getattr(schemas, name.upper()))


def captions(corpus):
    pairs = table(corpus, "pairs").join(table(corpus, "captions"), "caption_id")
    return dict(pairs.group_by("clip_id").agg(pl.col("text").sort()).iter_rows())


def clips_line(said, encoder):
    return re.search(rf"{encoder} clips: .*?(\d+) found in cache, (\d+) computed", said).groups()


def flacs():
    return {path.name: path.read_bytes() for path in Path(".hearonce/audio").rglob("*.flac")}


def test_the_rows_of_a_folder_are_those_of_shards_from_ingest_to_score(project, media, capsys):
    shutil.copytree(media, "folder")
    write_shards(Path("shards"), media)
    start("folder")
    start("shards")
    assert "2 shards; the first has 2 media, 2 captions." in capsys.readouterr().out
    check()
    for corpus in ("folder", "shards"):
        ingest(corpus)
    assert set(table("folder", "media")["digest"]) == set(table("shards", "media")["digest"])
    assert captions("shards") == {
        "00000.tar/000.wav": ["tone 000"],
        "00000.tar/001.flac": ["tone 001"],
        "00001.tar/002.ogg": ["tone 002"],
        "00001.tar/003.mp4": ["tone 003"],
    }
    extract_audio("folder")
    wanted = flacs()
    shutil.rmtree(".hearonce/audio")
    extract_audio("shards")
    assert flacs() == wanted and len(wanted) == 4
    video = table("shards", "media").filter(pl.col("has_video")).row(0, named=True)
    span = Span(video["path"], video["digest"], 0.0, 1.0)
    for what in ("frame", "waveform", "preview"):
        MAKERS[what](Media("shards", (span,), (span,)), project / what)
        assert (project / what).stat().st_size > 100

    capsys.readouterr()
    embed("folder", "yamnet-minilm", device="cpu")
    embed("shards", "yamnet-minilm", device="cpu")
    embed("shards", "efficientnet-minilm", device="cpu", keep_going=True)
    shutil.rmtree("shards")
    embed("folder", "efficientnet-minilm", device="cpu", keep_going=True)
    said = capsys.readouterr().out
    assert clips_line(said, "embed folder yamnet-minilm") == ("0", "4")
    assert clips_line(said, "embed shards yamnet-minilm") == ("4", "0")
    assert clips_line(said, "embed shards efficientnet-minilm") == ("0", "1")
    assert clips_line(said, "embed folder efficientnet-minilm") == ("1", "0")
    score("shards", "all")
    assert list(Path("data/results/shards").rglob("*.json"))


def test_an_unchanged_shard_is_not_read_and_a_new_or_changed_one_is(project, media, capsys, monkeypatch):
    write_shards(Path("shards"), media)
    start("shards")
    opened = []
    real = reading.open_tar
    monkeypatch.setattr(reading, "open_tar", lambda path: opened.append(Path(path).name) or real(path))
    ingest("shards")
    assert opened == ["00001.tar"]  # init has read the first one
    before = table("shards", "media")
    ingest("shards")
    assert opened == ["00001.tar"]
    assert "2 shards, 0 read, 2 unchanged" in capsys.readouterr().out

    shutil.copyfile("shards/00001.tar", "shards/00002.tar")
    with tarfile.open("shards/00000.tar", "a") as tar:
        tar.add(media / "002.ogg", "more/007.ogg")
    ingest("shards", keep_going=True)
    assert sorted(opened[1:]) == ["00000.tar", "00002.tar"]
    assert len(table("shards", "media")) == len(before) + 3

    shutil.rmtree(".hearonce/shards")
    opened.clear()
    ingest("shards", keep_going=True)
    assert sorted(opened) == ["00000.tar", "00001.tar", "00002.tar"]


def write_tar(path, members):
    """A tar file of (name, bytes)."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def a_sound(media, number=0):
    return (media / sorted(os.listdir(media))[number]).read_bytes()


def test_each_problem_is_said_and_the_others_are_used(project, media, hearonce):
    sound, other = a_sound(media), a_sound(media, 1)
    folder = Path("shards")
    write_tar(
        folder / "0.tar",
        [
            ("a.wav", sound),
            ("a.json", b'{"caption": ["first", "second", null], "text": "not taken"}'),
            ("b.wav", sound),
            ("c.wav", b"RIFF no sound at all"),
            ("c.txt", b"a caption"),
            ("d.wav", sound),
            ("d.json", b"[1]"),
            ("e.wav", sound),
            ("e.txt", b"\xff\xfe\x00"),
            ("f.wav", sound),
            ("f.json", b'{"caption": 5}'),
            ("a.wav", other),
            ("../g.wav", sound),
            ("picture.jpg", b"jpg"),
            ("h.1.flac", other),
            ("h.1.txt", b"one of two media"),
            ("h.2.flac", other),
            ("h.txt", b"line one\nline two"),
        ],
    )
    write_tar(folder / "1.tar", [("a.wav", other), ("a.txt", b"its key again"), ("z.wav", sound), ("z.txt", b"z")])
    data = (folder / "1.tar").read_bytes()
    (folder / "1.tar").write_bytes(data[: len(other) + 5000])  # z is cut
    (folder / "2.tar.gz").write_bytes(gzip.compress(data))
    (folder / "3.tar").write_bytes(gzip.compress(data))
    start("shards", name="mine")
    assert hearonce("ingest", "mine", "--keep-going")[0] == 0
    assert captions("mine") == {
        "0.tar/a.wav": ["first", "second"],
        "0.tar/h.1.flac": ["one of two media"],
        "0.tar/h.2.flac": ["line one", "line two"],
        "1.tar/a.wav": ["its key again"],
    }
    clips = {f"0.tar/{name}" for name in ("a.wav", "b.wav", "d.wav", "e.wav", "f.wav", "h.1.flac", "h.2.flac")}
    assert set(table("mine", "clips")["clip_id"]) == clips | {"1.tar/a.wav"}
    found = [(row["path"], row["reason"]) for row in read_problems(layout.PROBLEMS, load_params())]
    wanted = {
        "0.tar/a.wav": "is in its shard twice: the first one is used",
        "0.tar/b.wav": "has no caption: its sample 'b' has none in .txt, `caption`, `captions`",
        "0.tar/c.wav": "not a media file",
        "0.tar/d.json": "is no JSON object",
        "0.tar/e.txt": "is damaged UTF-16",
        "0.tar/f.wav": "'caption' holds int, not a text",
        "0.tar/../g.wav": "has an unsafe name",
        "1.tar/a.wav": "its key 'a' is in 0.tar and in 1.tar: both are used, as clips of their own",
        "1.tar": "is cut short: it ends within z.wav; the members before it are used",
        "2.tar.gz": "is compressed, so that no member can be read by itself: unpack it once",
        "3.tar": "is compressed by gzip",
    }
    for path, reason in wanted.items():
        assert [one for name, one in found if name == path and reason in one], (path, found)
    assert {path for path, _ in found} - set(wanted) == {"0.tar/d.wav", "0.tar/e.wav"}  # without a caption
    code, _, said = hearonce("ingest", "mine", "--strict")
    assert code == 4 and "(strict run)" in said


def test_captions_come_from_the_keys_that_are_named_and_it_is_said_which(project, media, capsys):
    write_tar(Path("shards/0.tar"), [("a.wav", a_sound(media)), ("a.json", b'{"sound": "bark", "caption": "x"}')])
    start("shards", name="mine")
    ingest("mine")
    assert captions("mine") == {"0.tar/a.wav": ["x"]}
    assert "captions: 1 from JSON key 'caption'" in capsys.readouterr().out
    config = Path("configs/corpora/mine.yaml")
    config.write_text(config.read_text() + "caption_keys: [sound]\n")
    ingest("mine")
    assert captions("mine") == {"0.tar/a.wav": ["bark"]}
    config.write_text(config.read_text().replace("sound", "tags"))
    ingest("mine")
    said = capsys.readouterr().out
    assert "1 shard, 0 read" in said
    assert "no medium has a caption in `tags`; JSON keys with text are 'sound', 'caption': name one in" in said


def test_a_shard_that_changes_after_ingest_gives_no_audio_of_other_bytes(project, media):
    write_tar(Path("shards/0.tar"), [("a.wav", a_sound(media)), ("b.flac", a_sound(media, 1))])
    start("shards", name="mine")
    ingest("mine")
    write_tar(Path("shards/0.tar"), [("a.wav", a_sound(media, 2))])
    extract_audio("mine", keep_going=True)
    assert not flacs()
    assert reasons()["0.tar/a.wav"] == "has changed since it was ingested: run `dvc repro` again"
    assert reasons()["0.tar/b.flac"].startswith("is not in the shard")


def killed_in_the_second_shard():
    real, seen = reading._Pass.take, []

    def take(self, entry):
        seen.append(self._path.name)
        if len(set(seen)) == 2 and seen.count(seen[-1]) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, entry)

    reading._Pass.take = take
    os.cpu_count = lambda: 1
    ingest("shards")


def test_a_killed_ingest_goes_on_with_the_shard_it_was_in(project, media, capsys):
    write_shards(Path("shards"), media)
    start("shards")
    shutil.rmtree(".hearonce/shards")
    process = multiprocessing.get_context("fork").Process(target=killed_in_the_second_shard)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not Path("data/tables/shards/media.parquet").exists()
    left = list(Path(".hearonce/staging/members").glob(f"*-{process.pid}-*"))
    capsys.readouterr()
    members._of_processes.clear()  # as in a new process
    ingest("shards")
    assert "2 shards, 1 read, 1 unchanged" in capsys.readouterr().out
    assert len(table("shards", "media")) == 4
    assert left and not any(path.exists() for path in left)


def test_braces_and_lists_name_shards_of_this_machine(project, media, capsys):
    write_shards(Path("shards"), media)
    start("shards/{00000..00001}.tar", name="whole")
    assert load_params().corpora["whole"].media == Path("shards")
    start("shards/00001.tar", name="part")
    assert load_params().corpora["part"].media == Path("configs/corpora/part.media.csv")
    ingest("part")
    assert table("part", "media")["path"].to_list() == ["00001.tar/002.ogg", "00001.tar/003.mp4"]
    extract_audio("part")
    with pytest.raises(UserError, match=r"The shard shards/00002\.tar does not exist"):
        start("shards/{00000..00002}.tar", name="more")
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("media: shards,", "media: 'shards/{00000..00001}.tar',"))
    with pytest.raises(UserError, match="stands for several files, but DVC watches one path"):
        load_params()


def test_remote_shards_are_fetched_once_and_their_audio_is_extracted_at_once(project, media, monkeypatch, capsys):
    write_shards(Path("shards"), media)
    with serving_objects() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(download, "PAUSE_S", 0.01)
        s3fs.S3FileSystem.clear_instance_cache()
        store.put("sounds", {f"train/{path.name}": path.read_bytes() for path in Path("shards").iterdir()})
        start("s3://sounds/train/{00000..00001}.tar", name="remote")
        start("shards")
        for corpus in ("remote", "shards"):
            ingest(corpus)
        assert captions("remote") == captions("shards")
        assert table("remote", "media").equals(table("shards", "media"))
        assert [store.requests.gets(f"0000{number}.tar") for number in (0, 1)] == [1, 1]
        shutil.rmtree(".hearonce/staging")
        extract_audio("remote")
        assert "4 found in cache, 0 computed" in capsys.readouterr().out
        ingest("remote")
        assert [store.requests.gets(f"0000{number}.tar") for number in (0, 1)] == [1, 1]
        with local(open_place(Path("configs/corpora/remote.media.csv")).source("00001.tar/003.mp4")) as path:
            assert path.read_bytes() == a_sound(media, 3)  # frames are read from the shard, which is fetched again
        assert [store.requests.gets(f"0000{number}.tar") for number in (0, 1)] == [1, 2]
        list_media("s3://sounds/train", Path("list.csv"))
        assert pl.read_csv("list.csv")["path"].to_list() == ["00000.tar", "00001.tar"]
    s3fs.S3FileSystem.clear_instance_cache()


def test_copies_of_members_are_kept_while_they_are_read_and_few_after(project, media, monkeypatch):
    write_tar(Path("shards/0.tar"), [(f"{number}.wav", a_sound(media)) for number in range(9)])
    monkeypatch.setattr(members, "MOST_KEPT", 2)
    sources = [Member(Path("shards/0.tar"), f"{number}.wav") for number in range(9)]
    with members.packed_file(sources[0]) as first:
        for source in sources[1:]:
            with members.packed_file(source) as path:
                assert path.read_bytes() == first.read_bytes() and path != first
        assert len(list(first.parent.iterdir())) == 3
    with members.packed_file(sources[8]) as again:
        assert again == path
    with pytest.raises(MediaError, match="has changed since"), members.packed_file(sources[0], "0" * 32):
        pass
