"""Media in an object store (a real server with the S3 interface) go through all stages as those of a folder do."""

import hashlib
import shutil
from pathlib import Path

import polars as pl
import pytest
import s3fs
from media_samples import noise, numbered_frames, tone, write_media
from object_store import serving_objects

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.experiments import experiments_of
from pipeline.config.params import load_params
from pipeline.remote import download
from stages.check import check
from stages.embed.command import embed
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.ingest.init import init
from stages.ingest.list_media import list_media
from stages.report.command import read_problems

ENCODERS = ("efficientnet-minilm",)
"""Looks at pictures, which are read from the media; sound passes through the store, whose files are compared."""

PARAMS = """
corpora: {{mine: {{media: {media}, annotations: captions.csv}}}}
embeddings:
  mine-seen: {{
    corpus: mine, encoder: efficientnet-minilm, config: configs/encoders/efficientnet-minilm.yaml,
    reads: data/tables/mine/media.parquet
  }}
subsets: {{}}
descriptions: {{}}
imports: {{}}
labels: {{}}
trainings: {{}}
search: {{}}
"""
CAPTIONS = """file,caption,start,stop
a dog.mp4,a dog,0,1
a dog.mp4,a dog again,1,2
more/cat.mp4,a cat,,
hiss.wav,hiss,,
"""


@pytest.fixture(scope="module")
def objects():
    with serving_objects() as store:
        yield store


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Two videos with sound and a sound, one name with a space and one in a folder of its own."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "more").mkdir()
    frames = numbered_frames(50)
    write_media(folder / "a dog.mp4", samples=tone(2, 16000), sample_rate=16000, frames=frames)
    write_media(folder / "more/cat.mp4", samples=noise(2, 16000), sample_rate=16000, frames=frames[::-1])
    write_media(folder / "hiss.wav", samples=noise(1, 16000, seed=3), sample_rate=16000)
    return folder


@pytest.fixture
def remote(project, objects, media, monkeypatch):
    """A project whose corpus `mine` is a folder, and the same media in the bucket `videos`."""
    for name, value in objects.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(download, "PAUSE_S", 0.01)
    download._down.clear()
    s3fs.S3FileSystem.clear_instance_cache()
    files = [path for path in media.rglob("*") if path.is_file()]
    objects.put("videos", {f"kitchen/{path.relative_to(media)}": path.read_bytes() for path in files})
    objects.put("videos", {"kitchen/notes.txt": b"no medium", "kitchen/.hidden.mp4": b""})
    Path("captions.csv").write_text(CAPTIONS)
    Path("configs/corpora/mine.yaml").write_text("reader: folder\n")
    Path("params.yaml").write_text(PARAMS.format(media=media))
    objects.requests.seen.clear()
    yield objects
    s3fs.S3FileSystem.clear_instance_cache()


def use(media):
    Path("params.yaml").write_text(PARAMS.format(media=media))


def run(encoders=ENCODERS):
    ingest("mine", keep_going=True)
    extract_audio("mine", keep_going=True)
    for encoder in encoders:
        embed("mine", encoder, device="cpu", keep_going=True)


def outputs():
    """All that the stages have written, and the sound in the store."""
    files = [path for path in Path("data").rglob("*") if path.is_file()] + list(Path(".hearonce/audio").rglob("*.flac"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def reasons():
    return {row["path"]: row["reason"] for row in read_problems(layout.PROBLEMS, load_params())}


def fetches(objects):
    return {name: objects.requests.gets(name) for name in ("a%20dog.mp4", "more/cat.mp4", "hiss.wav")}


def test_the_rows_are_those_of_a_folder_and_each_object_is_fetched_once(remote, capsys):
    run()
    wanted = outputs()
    shutil.rmtree(".hearonce")
    shutil.rmtree("data")
    list_media("s3://videos/kitchen", Path("media.csv"))
    assert "media.csv: 3 media" in capsys.readouterr().out
    use("media.csv")
    check()
    run()
    assert outputs() == wanted
    assert fetches(remote) == {"a%20dog.mp4": 1, "more/cat.mp4": 1, "hiss.wav": 1}

    ingest("mine")  # what is known of an object that has not changed is not fetched again
    shutil.rmtree(".hearonce/staging")
    ingest("mine")
    assert fetches(remote) == {"a%20dog.mp4": 1, "more/cat.mp4": 1, "hiss.wav": 1}
    assert outputs() == wanted


def test_shots_of_remote_media_are_found_while_they_are_staged(remote):
    list_media("s3://videos/kitchen", Path("media.csv"))
    Path("configs/corpora/mine.yaml").write_text("clips_from: shots\n")
    use("media.csv")
    ingest("mine")
    pairs = schemas.read_table(layout.table("mine", "pairs"), schemas.PAIRS)
    shutil.rmtree(".hearonce/staging")
    ingest("mine")  # boundaries are remembered
    assert fetches(remote) == {"a%20dog.mp4": 1, "more/cat.mp4": 1, "hiss.wav": 1}
    Path("configs/corpora/mine.yaml").write_text("clips_from: shots\nshots: {threshold: 255}\n")
    ingest("mine")  # another question, for which the videos are fetched again
    assert fetches(remote) == {"a%20dog.mp4": 2, "more/cat.mp4": 2, "hiss.wav": 1}
    assert len(pairs) >= 4 and len(schemas.read_table(layout.table("mine", "clips"), schemas.CLIPS)) == 3


def test_sound_passes_the_network_once_though_nothing_stays_staged(remote, monkeypatch, media):
    largest = max(path.stat().st_size for path in media.rglob("*"))
    monkeypatch.setenv("HEARONCE_STAGING_GB", str((largest + 1) / 1e9))
    list_media("s3://videos/kitchen", Path("media.csv"))
    use("media.csv")
    run([])
    assert len(schemas.read_table(layout.audio("mine"), schemas.AUDIO)) == 3
    assert fetches(remote) == {"a%20dog.mp4": 1, "more/cat.mp4": 1, "hiss.wav": 1}
    staged = [one for one in Path(".hearonce/staging").iterdir() if one.suffix != ".lock"]
    assert sum(one.stat().st_size for one in staged) <= largest + 1


def test_a_changed_object_changes_its_line_and_its_clips_only(remote):
    list_media("s3://videos/kitchen", Path("media.csv"))
    use("media.csv")
    run([])
    before, digests = Path("media.csv").read_text().splitlines(), media_digests()
    new = write_media(Path("new.wav"), samples=noise(1, 16000, seed=9), sample_rate=16000).read_bytes()
    remote.put("videos", {"kitchen/hiss.wav": new})
    run([])
    assert reasons() == {} and media_digests() == digests  # it is the list that counts, and it says nothing new
    shutil.rmtree(".hearonce/staging")
    Path(".hearonce/digests.sqlite").unlink()
    ingest("mine", keep_going=True)
    assert list(reasons()) == ["hiss.wav"] and "changed since it was listed" in reasons()["hiss.wav"]
    list_media("s3://videos/kitchen", Path("media.csv"))
    after = Path("media.csv").read_text().splitlines()
    assert [one for one in after if one not in before] == [one for one in after if "hiss.wav" in one]
    run([])
    assert reasons() == {}
    assert [name for name, digest in media_digests().items() if digest != digests[name]] == ["hiss.wav"]


def media_digests():
    return dict(schemas.read_table(layout.table("mine", "media"), schemas.MEDIA).select("path", "digest").iter_rows())


def test_what_cannot_be_had_is_said_for_each_and_the_rest_goes_on(remote):
    list_media("s3://videos/kitchen", Path("media.csv"))
    with Path("media.csv").open("a") as file:
        file.write("gone.mp4,s3://videos/kitchen/gone.mp4,,\nlost.mp4,s3://no-such-bucket/lost.mp4,,\n")
        file.write("refused.mp4,http://127.0.0.1:1/refused.mp4?sig=5ecre7,,\n")
    with Path("captions.csv").open("a") as file:
        file.write("gone.mp4,gone,,\nlost.mp4,lost,,\nrefused.mp4,refused,,\nunlisted.mp4,unlisted,,\n")
    use("media.csv")
    run([])
    assert reasons() == {
        "gone.mp4": "not found: s3://videos/kitchen/gone.mp4",
        "lost.mp4": "not found: s3://no-such-bucket/lost.mp4",
        "refused.mp4": "no connection: http://127.0.0.1:1/refused.mp4",
        "unlisted.mp4": "captions.csv row 9: not in the media list media.csv",
    }
    assert list(media_digests()) == ["a dog.mp4", "more/cat.mp4", "hiss.wav"]


def test_objects_that_vanish_between_two_stages_cost_their_own_clips_only(remote, monkeypatch):
    list_media("s3://videos/kitchen", Path("media.csv"))
    use("media.csv")
    run([])
    shutil.rmtree(".hearonce/staging")
    remote.remove("videos", "kitchen/more/cat.mp4")
    embed("mine", "efficientnet-minilm", device="cpu", keep_going=True)
    assert reasons() == {
        "hiss.wav": "no video track",
        "more/cat.mp4": "not found: s3://videos/kitchen/more/cat.mp4",
    }
    assert len(open_artifact(layout.embeddings("mine", "efficientnet-minilm", "clips")).ids) == 2


def test_no_credentials_and_no_package_are_said(remote, monkeypatch, hearonce):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    s3fs.S3FileSystem.clear_instance_cache()
    code, _, said = hearonce("list-media", "s3://videos/kitchen", "-o", "media.csv")
    assert code == 2 and "no credentials: s3://videos/kitchen (are credentials set? AWS_PROFILE" in said
    Path("media.csv").write_text("url\ns3://videos/kitchen/hiss.wav\n")
    Path("captions.csv").write_text("file,caption\nhiss.wav,hiss\n")
    use("media.csv")
    with pytest.raises(UserError, match="has no usable clip"):
        ingest("mine")
    assert reasons()["hiss.wav"].startswith("no credentials: s3://videos/kitchen/hiss.wav (are credentials set?")
    if not _installed("gcsfs"):
        Path("media.csv").write_text("url\ngs://videos/kitchen/hiss.wav\n")
        with pytest.raises(UserError, match=r"media\.csv: gs:// needs `uv sync --extra gs`\.$"):
            check()
    Path("media.csv").write_text("url\nss3://videos/kitchen/hiss.wav\n")
    with pytest.raises(UserError, match=r"media\.csv: no kind of URL 'ss3', did you mean 's3'"):
        check()


def _installed(package):
    from importlib.util import find_spec

    return find_spec(package) is not None


@pytest.mark.parametrize("source", ["bucket", "captions"])
def test_init_makes_the_list(remote, source, capsys):
    Path("params.yaml").write_text("corpora: {}\nembeddings: {}\nsubsets: {}\n")
    if source == "bucket":
        init("s3://videos/kitchen", captions=Path("captions.csv"), name=None, window=10.0)
    else:
        Path("kitchen.csv").write_text(
            "url,caption\ns3://videos/kitchen/hiss.wav,hiss\ns3://videos/kitchen/more/cat.mp4,cat\n"
        )
        init("kitchen.csv", captions=None, name=None, window=10.0)
    place = load_params().corpora["kitchen"]
    assert place.media == Path("configs/corpora/kitchen.media.csv")
    n_media = len(pl.read_csv(place.media).filter(pl.col("etag").is_not_null()))
    assert n_media == (3 if source == "bucket" else 2)
    assert {one.name for one in experiments_of("kitchen")} == {"kitchen-audio", "kitchen-visual", "kitchen-both"}
    check()
    ingest("kitchen")
    assert len(schemas.read_table(layout.table("kitchen", "media"), schemas.MEDIA)) == n_media


def test_captions_may_name_urls_of_their_own(remote, media):
    Path("captions.csv").write_text(
        "file,caption\ns3://videos/kitchen/hiss.wav,hiss\na dog.mp4,a dog\nhttps://h/a.wav?sig=5ecre7,x\n"
    )
    run([])
    heard = schemas.read_table(layout.audio("mine"), schemas.AUDIO)["media_id"]
    assert sorted(heard) == ["a dog.mp4", "s3:/videos/kitchen/hiss.wav"]
    (problem,) = read_problems(layout.PROBLEMS, load_params())
    assert problem["id"] == "https://h/a.wav" and "needs a media list" in problem["reason"]
