"""`hearonce checkpoints` as a user types it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from pathlib import Path

import pytest
import yaml

from cache.errors import UserError
from pipeline.checkpoints.catalogue import load_catalogue
from pipeline.checkpoints.official import scratch
from pipeline.checkpoints.weights import CheckpointError, read_state_dict

DATA = random.Random(0).randbytes(1_500_000)
OTHER = random.Random(1).randbytes(1_500_000)
FILE = Path("checkpoints/small.pt")
LOCK = Path("checkpoints.lock.yaml")


@pytest.fixture
def small(site, catalogue):
    """A catalogue of one file that the server publishes."""
    site.files["/small.pt"] = DATA
    catalogue(small={"file": "small.pt", "places": [{"url": f"{site.url}/small.pt"}]})
    return site


def one_sentence(err: str) -> bool:
    return err.startswith("hearonce: ") and len(err.strip().splitlines()) == 1


def test_fetch_records_what_it_fetched_and_asks_nobody_again(small, checkpoints):
    small.faults["/small.pt"] = ["cut:700000"]
    code, out, _ = checkpoints("fetch", "small")
    assert code == 0
    assert "checkpoints/small.pt: fetched from http://127.0.0.1" in out
    assert FILE.read_bytes() == DATA
    assert [one.name for one in FILE.parent.iterdir()] == ["small.pt"]
    record = yaml.safe_load(LOCK.read_text())["checkpoints/small.pt"]
    assert record["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert (record["size"], record["name"]) == (len(DATA), "small")
    assert record["source"] == f"{small.url}/small.pt"
    assert str(record["date"]).startswith("20")
    small.asked.clear()
    before = LOCK.stat().st_mtime_ns
    code, out, _ = checkpoints("fetch", "SMALL.pt")
    assert (code, small.asked, LOCK.stat().st_mtime_ns) == (0, [], before)
    assert "already there" in out


def test_a_changed_file_is_refused_until_it_is_accepted(small, checkpoints):
    checkpoints("fetch", "small")
    FILE.unlink()
    small.files["/small.pt"] = OTHER
    code, _, err = checkpoints("fetch", "small")
    assert code == 2
    assert one_sentence(err)
    assert "is not the file that checkpoints.lock.yaml knows" in err
    assert "--accept-changed" in err
    assert not FILE.exists()
    assert checkpoints("fetch", "small", "--accept-changed")[0] == 0
    assert FILE.read_bytes() == OTHER
    assert checkpoints("verify")[0] == 0


def test_a_damaged_file_is_found_by_fetch_and_by_verify(small, checkpoints):
    checkpoints("fetch", "small")
    assert "1 checked, all as recorded" in checkpoints("verify", "small")[1]
    damaged = bytearray(DATA)
    damaged[1000] ^= 1
    FILE.write_bytes(damaged)
    code, _, err = checkpoints("fetch", "small")
    assert code == 2
    assert "delete it to fetch it again" in err
    code, out, _ = checkpoints("verify", "--json")
    assert code == 3
    assert json.loads(out) == [{"path": str(FILE), "name": "small", "state": "changed"}]
    FILE.unlink()
    assert checkpoints("verify")[0] == 0
    assert checkpoints("verify", "small")[0] == 3


def test_a_file_that_was_put_there_is_recorded(small, checkpoints):
    FILE.parent.mkdir()
    FILE.write_bytes(DATA)
    code, out, _ = checkpoints("fetch", "small")
    assert code == 0
    assert "recorded now" in out
    assert not small.asked
    assert checkpoints("verify")[0] == 0


@pytest.mark.parametrize("fault", ["status:404", "status:403", "status:500", "page", "long"])
def test_what_cannot_be_had_says_what_to_put_where(small, checkpoints, fault):
    small.always["/small.pt"] = fault
    code, _, err = checkpoints("fetch", "small")
    assert code == 2
    assert one_sentence(err)
    assert f"download small.pt from {small.url}/small.pt to checkpoints/small.pt" in err
    assert "`hearonce checkpoints fetch small --from FILE`" in err
    assert not FILE.exists()
    assert not LOCK.exists()


def test_a_second_place_helps_out(site, catalogue, checkpoints):
    site.files["/b"] = DATA
    catalogue(small={"file": "small.pt", "places": [{"url": f"{site.url}/a"}, {"url": f"{site.url}/b"}]})
    assert checkpoints("fetch", "small")[0] == 0
    assert yaml.safe_load(LOCK.read_text())[str(FILE)]["source"] == f"{site.url}/b"


def test_several_names_at_once_each_get_their_answer(site, catalogue, checkpoints):
    site.files |= {"/a.pt": DATA, "/c.pt": OTHER}
    catalogue(**{one: {"file": f"{one}.pt", "places": [{"url": f"{site.url}/{one}.pt"}]} for one in "abc"})
    code, _, err = checkpoints("fetch", "a", "b", "c")
    assert code == 2
    assert "1 of 3 could not be fetched" in err
    assert Path("checkpoints/a.pt").read_bytes() == DATA
    assert Path("checkpoints/c.pt").read_bytes() == OTHER
    assert list(yaml.safe_load(LOCK.read_text())) == ["checkpoints/a.pt", "checkpoints/c.pt"]
    code, _, err = checkpoints("fetch", "a", "d")
    assert code == 2
    assert "No checkpoint 'd'" in err


def test_from_takes_files_and_folders_and_checks_them_alike(small, checkpoints, tmp_path):
    mine = tmp_path / "downloads/renamed by my browser.pt"
    mine.parent.mkdir()
    mine.write_bytes(DATA)
    assert checkpoints("fetch", "small", "--from", mine)[0] == 0
    assert FILE.read_bytes() == DATA
    FILE.unlink()
    mine.write_bytes(OTHER)
    code, _, err = checkpoints("fetch", "small", "--from", mine)
    assert code == 2
    assert "is not the file" in err
    code, _, err = checkpoints("fetch", "small", "--from", mine.parent)
    assert code == 2
    assert "has no small.pt" in err
    mine.with_name("small.pt").write_bytes(DATA)
    assert checkpoints("fetch", "small", "--from", mine.parent)[0] == 0
    FILE.unlink()
    mine.with_name("small.pt").write_bytes(b"<!doctype html><html>Sign in")
    code, _, err = checkpoints("fetch", "small", "--from", mine.parent)
    assert code == 2
    assert "is a web page" in err
    assert not FILE.exists()
    assert not small.asked


def test_a_folder_is_fetched_file_by_file_and_alternatives_are_tried(site, catalogue, checkpoints):
    site.files |= {"/tower/config.json": b"{}", "/tower/vocab.txt": b"a\nb\n", "/tower/pytorch_model.bin": DATA}
    files = ["config.json", "vocab.txt"]
    tower = {"folder": "tower", "files": files, "weights": ["model.safetensors|pytorch_model.bin"]}
    catalogue(tower={**tower, "places": [{"url": f"{site.url}/tower"}]})
    assert checkpoints("fetch", "tower")[0] == 0
    folder = Path("checkpoints/tower")
    assert sorted(one.name for one in folder.iterdir()) == files
    assert checkpoints("fetch", "tower", "--weights")[0] == 0
    assert (folder / "pytorch_model.bin").read_bytes() == DATA
    assert not (folder / "model.safetensors").exists()
    site.asked.clear()
    assert checkpoints("fetch", "tower", "--weights")[0] == 0
    assert not site.asked


def test_archives_are_unpacked_on_demand_and_do_not_escape(site, catalogue, checkpoints, project):
    def packed(name: str) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(DATA)
            archive.addfile(member, io.BytesIO(DATA))
        return buffer.getvalue()

    site.files |= {"/good.tar.gz": packed("release/a.pth"), "/evil.tar.gz": packed("../../evil.pth")}
    site.files |= {"/words.bin.gz": gzip.compress(DATA), "/cut.tar.gz": packed("a")[:100_000]}
    names = {"good": "good.tar.gz", "evil": "evil.tar.gz", "words": "words.bin.gz", "cut": "cut.tar.gz"}
    catalogue(**{key: {"file": file, "places": [{"url": f"{site.url}/{file}"}]} for key, file in names.items()})
    assert checkpoints("fetch", "good", "words", "--unpack")[0] == 0
    assert Path("checkpoints/good/a.pth").read_bytes() == DATA
    assert Path("checkpoints/words.bin").read_bytes() == DATA
    code, _, err = checkpoints("fetch", "evil", "--unpack")
    assert code == 2
    assert "tries to write outside" in err
    assert not list(project.parent.rglob("evil.pth"))
    code, _, err = checkpoints("fetch", "cut", "--unpack")
    assert code == 2
    assert "is damaged" in err
    assert not Path("checkpoints/cut").exists()


def test_a_damaged_lock_file_is_one_sentence(small, checkpoints):
    LOCK.write_text("checkpoints/small.pt: {sha256: abc, size: 1, name: small, source: x, date: 2026-01-01}\n")
    code, _, err = checkpoints("fetch", "small")
    assert code == 2
    assert one_sentence(err)
    assert "checkpoints.lock.yaml" in err


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"file": "../a.pt", "places": [{"url": "http://x/a"}]}, "without `..`"),
        ({"file": "a.pt", "places": [{"url": "file:///etc/passwd"}]}, "url"),
        ({"file": "a.pt", "places": [{"url": "http://x/a", "drive": "b"}]}, "exactly one"),
        ({"file": "a.pt", "folder": "a", "places": [{"url": "http://x/a"}]}, "exactly one"),
        ({"folder": "a", "places": [{"url": "http://x/a"}]}, "must be listed"),
    ],
)
def test_a_wrong_catalogue_is_one_sentence(catalogue, checkpoints, entry, says):
    catalogue(a=entry)
    code, _, err = checkpoints("list")
    assert code == 2
    assert one_sentence(err)
    assert says in err


def test_the_catalogue_has_every_official_file(project, checkpoints):
    entries = load_catalogue()
    assert {"630k-audioset-fusion-best", "HTSAT", "HTSAT-BERT-FT-AudioCaps", "HTSAT-BERT-FT-Clotho"} <= entries.keys()
    assert {"egovlp", "AVLnet_release_models", "AVLnet_release_data", "YouCook_Japanese"} <= entries.keys()
    code, out, _ = checkpoints("list", "--json")
    assert code == 0
    assert {one["state"] for one in json.loads(out)} == {"not here"}
    paths = [one["path"] for one in json.loads(out) if not one["path"].startswith("annotations/")]
    assert len(set(paths)) == len(paths)


def test_a_missing_checkpoint_says_which_command_fetches_it(project):
    with pytest.raises(CheckpointError, match=r"not found: .*egovlp\.pth: run `hearonce checkpoints fetch egovlp`"):
        read_state_dict(Path("checkpoints/egovlp.pth"))
    with pytest.raises(UserError, match=r"not found: mine\.pth: correct the path"):
        read_state_dict(Path("mine.pth"))


def test_two_at_once_do_not_write_into_each_other(small, checkpoints):
    with scratch(FILE):
        code, _, err = checkpoints("fetch", "small")
    assert code == 2
    assert "is being fetched by another process" in err
    assert checkpoints("fetch", "small")[0] == 0
