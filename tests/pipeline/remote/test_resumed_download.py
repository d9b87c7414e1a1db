"""Downloads from a server that cuts, lies and changes its mind."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from misbehaving_server import serving
from waiting import FAR_OFF_S, wait_until

from pipeline.checkpoints.catalogue import stand_in_at
from pipeline.remote import download, reading
from pipeline.remote.download import TransferError, fetch

PATH = "/model.pt"
DATA = random.Random(0).randbytes(3_000_000)
OTHER = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def site(site):
    site.files[PATH] = DATA
    return site


def fetched(site, folder: Path) -> bytes:
    return fetch(site.url + PATH, folder, "model.pt", stand_in_at).read_bytes()


def test_a_file_is_fetched_with_one_request(site, tmp_path):
    assert fetched(site, tmp_path) == DATA
    assert site.asked == [("GET", PATH, None)]


def test_a_cut_connection_is_taken_up_where_it_broke(site, tmp_path):
    site.faults[PATH] = ["cut:1000000", "cut:500000"]
    assert fetched(site, tmp_path) == DATA
    assert site.ranges() == [None, "bytes=1000000-", "bytes=1500000-"]


def test_many_cuts_that_each_bring_something_are_outlasted(site, tmp_path):
    site.faults[PATH] = ["cut:200000"] * 12
    assert fetched(site, tmp_path) == DATA
    assert len(site.asked) == 13


def test_what_arrived_is_kept_for_the_next_run(site, tmp_path):
    site.faults[PATH] = ["cut:1234567"]
    site.always[PATH] = "status:503"
    with pytest.raises(TransferError, match="HTTP 503"):
        fetched(site, tmp_path)
    assert len(site.asked) == 1 + download.TRIES
    site.always.clear()
    assert fetched(site, tmp_path) == DATA
    assert site.asked[-1] == ("GET", PATH, "bytes=1234567-")


def test_a_download_goes_on_though_its_signature_has_changed(site, tmp_path):
    site.faults[PATH] = ["cut:1234567", "status:403"]
    with pytest.raises(TransferError, match="access denied"):
        fetch(f"{site.url}{PATH}?X-Amz-Signature=5ecre7", tmp_path, "model.pt")
    assert "5ecre7" not in (tmp_path / "state.json").read_text()
    assert fetch(f"{site.url}{PATH}?X-Amz-Signature=another", tmp_path, "model.pt").read_bytes() == DATA
    assert site.ranges() == [None, "bytes=1234567-", "bytes=1234567-"]


def test_a_server_that_ignores_ranges_is_begun_anew(site, tmp_path):
    site.faults[PATH] = ["cut:1000000", "whole"]
    assert fetched(site, tmp_path) == DATA
    assert site.ranges() == [None, "bytes=1000000-"]


def test_another_range_than_asked_for_is_not_appended(site, tmp_path):
    site.faults[PATH] = ["cut:1000000", "shifted"]
    assert fetched(site, tmp_path) == DATA
    assert site.ranges() == [None, "bytes=1000000-", None]


@pytest.mark.parametrize("other", [OTHER, OTHER[:400_000], OTHER * 2], ids=["same length", "shorter", "longer"])
def test_a_file_that_changes_between_attempts_is_never_mixed(site, tmp_path, other):
    site.faults[PATH] = ["cut:1000000"] + ["status:500"] * download.TRIES
    with pytest.raises(TransferError):
        fetched(site, tmp_path)
    site.files[PATH] = other
    assert fetched(site, tmp_path) == other


@pytest.mark.parametrize("length", [2_000_000, 900_000])
def test_a_server_that_resumes_without_looking_whether_the_file_is_the_same(site, tmp_path, length):
    """It ignores If-Range, as some do; its answer still tells."""
    site.faults[PATH] = ["cut:1000000"] + ["status:500"] * download.TRIES
    with pytest.raises(TransferError):
        fetched(site, tmp_path)
    before = json.loads((tmp_path / "state.json").read_text())["validator"]
    site.files[PATH] = OTHER[:length]
    site.headers[PATH] = {"Last-Modified": before, "ETag": '"another"'}
    assert fetched(site, tmp_path) == OTHER[:length]


@pytest.mark.parametrize("tag", [None, 'W/"weak"'], ids=["none", "weak"])
def test_without_a_strong_tag_the_date_serves_or_else_it_begins_anew(site, tmp_path, tag):
    site.headers[PATH] = {"ETag": tag}
    site.faults[PATH] = ["cut:1000000"]
    assert fetched(site, tmp_path) == DATA
    assert site.ranges() == [None, None]
    site.asked.clear()
    site.headers[PATH]["Last-Modified"] = "Wed, 21 Oct 2015 07:28:00 GMT"
    site.faults[PATH] = ["cut:1000000"]
    (again := tmp_path / "again").mkdir()
    assert fetched(site, again) == DATA
    assert site.ranges() == [None, "bytes=1000000-"]


@pytest.mark.parametrize(
    ("fault", "says", "absent", "requests"),
    [
        ("status:404", "not found", True, 1),
        ("status:403", "access denied", False, 1),
        ("status:500", "HTTP 500", False, download.TRIES),
        ("page", "a web page", False, 1),
        ("page:application/octet-stream", "a web page", False, 1),
        ("endless", "does not say how long", False, 1),
        ("gzip", "compressed", False, 1),
    ],
)
def test_what_is_no_file_is_refused(site, tmp_path, fault, says, absent, requests):
    site.always[PATH] = fault
    with pytest.raises(TransferError, match=says) as caught:
        fetched(site, tmp_path)
    assert caught.value.absent is absent
    assert len(site.asked) == requests


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("ftp://127.0.0.1:9/model.pt", "redirected to something other than a web address"),
        ("http://[::1/", "redirected to what is no address"),
        (f"http://{'a' * 500}/", "that of a redirect, is no name"),
        ("http://a..b/", "that of a redirect, is no name"),
    ],
)
def test_a_redirection_to_no_web_address_is_said_without_the_query(site, tmp_path, location, says):
    site.always[PATH], site.headers[PATH] = "status:302", {"Location": location}
    with pytest.raises(TransferError, match=says) as caught:
        fetch(f"{site.url}{PATH}?sig=secret", tmp_path, "model.pt")
    assert "secret" not in str(caught.value)


def test_an_answer_whose_head_has_no_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ANSWER_S", 0.2)
    monkeypatch.setattr(download, "TRIES", 1)
    over = threading.Event()

    def drip():
        with listener.accept()[0] as connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nA: ")
            while not over.wait(0.01):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, daemon=True).start()
        with pytest.raises(TransferError, match="timed out"):
            fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/a", tmp_path, "a")
        over.set()


def test_a_server_that_announces_too_much_is_given_up(site, tmp_path):
    site.always[PATH] = "long"
    with pytest.raises(TransferError, match=r"cut after 3000000 of 3000100 bytes|fewer bytes than it announced"):
        fetched(site, tmp_path)


def test_chunks_tell_their_end(site, tmp_path):
    site.faults[PATH] = ["chunked:100000", "chunked"]
    assert fetched(site, tmp_path) == DATA
    assert len(site.asked) == 2


def test_an_empty_file_is_no_file(site, tmp_path):
    site.files[PATH] = b""
    with pytest.raises(TransferError, match="empty"):
        fetched(site, tmp_path)


def test_nobody_listens(tmp_path, monkeypatch):
    with serving() as closed:
        url = closed.url
    with pytest.raises(TransferError, match="no connection"):
        fetch(f"{url}/x", tmp_path, "x")
    monkeypatch.setattr(download, "PAUSE_S", FAR_OFF_S)  # the next file there is not tried
    with pytest.raises(TransferError, match="no connection"):
        fetch(f"{url}/y", tmp_path, "y")


def test_killed_downloads_end_in_the_right_bytes(site, tmp_path):
    """SIGKILL again and again at random moments; no run begins with what an earlier one had on the disk."""
    site.pause_s = 0.004
    code = (
        "import sys\nfrom pathlib import Path\nfrom pipeline.remote import download\n"
        "download.SYNC_EVERY = 200_000\ndownload.fetch(sys.argv[1], Path(sys.argv[2]), 'model.pt')"
    )
    dice, kills = random.Random(2), 0
    state = tmp_path / "state.json"
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", code, site.url + PATH, str(tmp_path)])
        before = state.read_text() if state.exists() else ""
        wait_until(lambda before=before: state.exists() and state.read_text() != before, child, step_s=0.002)
        time.sleep(dice.uniform(0, 0.03))
        os.kill(child.pid, signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
    site.pause_s = 0.0
    assert fetched(site, tmp_path) == DATA
    starts = [int(one.removeprefix("bytes=").rstrip("-")) for one in site.ranges() if one]
    assert kills >= 3
    assert len(starts) >= 3
    assert starts == sorted(starts)
