"""Google Drive through the real gdown, which talks to a Drive of ours."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from google_drive import drive, listing

DATA = random.Random(3).randbytes(2_000_000)
ID, SECOND, FOLDER = "a" * 33, "b" * 33, "f" * 33
LOCK = Path("checkpoints.lock.yaml")


@pytest.fixture
def google(tmp_path, monkeypatch):
    with drive(tmp_path, monkeypatch) as site:
        site.files[f"/{ID}"] = DATA
        yield site


@pytest.fixture
def big(catalogue):
    catalogue(big={"file": "big.pt", "places": [{"drive": ID}]})


def test_a_big_file_is_fetched_past_the_confirmation_page(google, big, checkpoints):
    assert checkpoints("fetch", "big")[0] == 0
    assert Path("checkpoints/big.pt").read_bytes() == DATA
    assert yaml.safe_load(LOCK.read_text())["checkpoints/big.pt"]["source"].startswith("https://drive.google.com/file/")


def test_a_cut_download_goes_on_in_the_next_run(google, big, checkpoints, monkeypatch):
    monkeypatch.setattr("pipeline.checkpoints.drive.RETRIES", 0)
    google.faults[f"/{ID}"] = ["cut:1200000"]
    code, _, err = checkpoints("fetch", "big")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert not Path("checkpoints/big.pt").exists()
    assert checkpoints("fetch", "big")[0] == 0
    assert Path("checkpoints/big.pt").read_bytes() == DATA
    starts = [int(one.removeprefix("bytes=").rstrip("-")) for one in google.ranges() if one]
    assert starts
    assert all(0 < start <= 1_200_000 for start in starts)
    assert [one.name for one in Path("checkpoints").iterdir()] == ["big.pt"]


def test_a_file_that_has_changed_by_the_next_run_is_not_mixed(google, big, checkpoints, monkeypatch):
    monkeypatch.setattr("pipeline.checkpoints.drive.RETRIES", 0)
    google.faults[f"/{ID}"] = ["cut:1200000"]
    assert checkpoints("fetch", "big")[0] == 2
    google.files[f"/{ID}"] = other = random.Random(5).randbytes(2_500_000)
    assert checkpoints("fetch", "big")[0] == 0
    assert Path("checkpoints/big.pt").read_bytes() == other


def test_a_quota_page_is_no_checkpoint(google, big, checkpoints):
    google.always[f"/{ID}"] = "quota"
    code, _, err = checkpoints("fetch", "big")
    assert code == 2
    assert "Too many users have viewed this file recently" in err
    assert f"download big.pt from https://drive.google.com/file/d/{ID}/view to checkpoints/big.pt" in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("checkpoints/big.pt").exists()
    assert not LOCK.exists()


def test_a_folder_is_fetched_whole_or_one_file_of_it(google, catalogue, checkpoints):
    google.files |= {f"/{SECOND}": b"id,text\n", f"/folder/{FOLDER}": listing({"big.pt": ID, "a.csv": SECOND})}
    catalogue(
        all={"folder": "all", "into": "annotations", "places": [{"drive_folder": FOLDER}]},
        big={"file": "big.pt", "places": [{"drive_folder": FOLDER}]},
        none={"file": "none.pt", "places": [{"drive_folder": FOLDER}]},
    )
    google.always[f"/{ID}"] = "quota"
    assert checkpoints("fetch", "all")[0] == 2
    assert not LOCK.exists()
    google.always.clear()
    assert checkpoints("fetch", "all", "big")[0] == 0
    assert Path("annotations/all/a.csv").read_bytes() == b"id,text\n"
    assert Path("annotations/all/big.pt").read_bytes() == Path("checkpoints/big.pt").read_bytes() == DATA
    assert "has no file none.pt (there are a.csv, big.pt)" in checkpoints("fetch", "none")[2]
    google.asked.clear()
    google.files.clear()
    assert checkpoints("fetch", "all", "big")[0] == 0
    assert not google.asked
    code, _, err = checkpoints("fetch", "none")
    assert code == 2
    assert FOLDER in err


def test_files_that_would_land_elsewhere_are_refused(google, catalogue, checkpoints, project):
    google.files[f"/folder/{FOLDER}"] = listing({"../../escaped.pt": ID})
    catalogue(all={"folder": "all", "places": [{"drive_folder": FOLDER}]})
    checkpoints("fetch", "all")
    assert not (project / "escaped.pt").exists()
    assert not (project.parent / "escaped.pt").exists()
