"""Downloads from a real web server that misbehaves: what arrives is whole and right, or the reason is said."""

import hashlib
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
import s3fs
from misbehaving_server import Faults

from pipeline.media.containers import MediaError
from pipeline.remote import download, reading
from pipeline.remote.address import RemoteFile
from pipeline.remote.download import TransferError, fetch, look_up

PATH = "/a.mp4"
DATA = np.random.default_rng(0).bytes(3_000_000)


def fetched(staging, site, path=PATH, **listed):
    with staging.held(RemoteFile(site.url + path, "a.mp4", **listed)) as staged:
        assert staged.digest == hashlib.blake2b(staged.path.read_bytes(), digest_size=16).hexdigest()
        return staged.path.read_bytes()


def gets(site):
    return [range for method, _, range in site.asked if method == "GET"]


def test_a_file_is_asked_for_once(staging, site):
    site.files[PATH] = DATA
    assert fetched(staging, site) == DATA
    assert gets(site) == [None]


@pytest.mark.parametrize(
    ("faults", "resumed"),
    [
        (["cut:1000000"], [False, True]),
        (["cut:1000000", "cut:500000"], [False, True, True]),
        (["cut:1000000", "whole"], [False, True]),
        (["status:503"], [False, False]),
        (["cut:1000000", "status:500"], [False, True, True]),
        (["chunked:1000000"], [False, True]),
    ],
)
def test_what_fails_on_the_way_goes_on_where_it_was(staging, site, faults, resumed):
    site.files[PATH] = DATA
    site.faults[PATH] = list(faults)
    assert fetched(staging, site) == DATA
    assert [range is not None for range in gets(site)] == resumed


def test_what_came_in_whole_is_taken_though_more_was_announced(staging, site):
    site.files[PATH] = DATA
    site.faults[PATH] = ["long"]
    assert fetched(staging, site) == DATA


@pytest.mark.parametrize(
    ("status", "headers", "says"),
    [
        (206, {"Content-Range": "bytes 5-9/10"}, "another range than was asked for"),
        (206, {}, "another range than was asked for"),
        (302, {}, "status 302, not with the file"),
        (203, {}, "status 203, not with the file"),
    ],
)
def test_an_answer_that_is_not_the_whole_file_is_not_taken_for_it(staging, site, status, headers, says):
    site.files[PATH], site.headers[PATH] = b"12345", headers
    site.always[PATH] = f"status:{status}"
    with pytest.raises(MediaError, match=says):
        fetched(staging, site)


def test_a_server_need_not_say_the_length(staging, site):
    site.files[PATH] = DATA
    site.always[PATH] = "chunked"
    assert fetched(staging, site) == DATA


def test_a_file_that_changes_while_it_is_fetched_is_never_mixed(staging, site):
    site.files[PATH] = DATA
    site.faults[PATH] = Faults(["cut:1000000", ""], site, {PATH: DATA[::-1]})
    assert fetched(staging, site) == DATA[::-1]


@pytest.mark.parametrize(
    ("fault", "reason", "tries"),
    [
        ("status:404", "not found: ", 1),
        ("status:410", "not found: ", 1),
        ("status:403", r"access denied: .*~/\.netrc", 1),
        ("status:401", "access denied: ", 1),
        ("status:500", "HTTP 500: ", download.TRIES),
        ("status:429", "HTTP 429: ", download.TRIES),
        ("status:451", "HTTP 451: ", 1),
        ("cut:0", r"cut after 0 of 3000000 bytes: .*a\.mp4", download.TRIES),
    ],
)
def test_what_cannot_be_had_is_said_without_the_signature(staging, site, fault, reason, tries):
    site.files[PATH] = DATA
    site.always[PATH] = fault
    with pytest.raises(MediaError, match=reason) as said:
        fetched(staging, site, f"{PATH}?X-Amz-Signature=5ecre7&id=7")
    assert "5ecre7" not in str(said.value) and f"{site.url}{PATH}" in str(said.value)
    assert sum(method == "GET" for method, _, _ in site.asked) == tries
    assert [one.name for one in staging.room.folder.iterdir() if one.suffix != ".lock"] == []


def test_nobody_answers(staging, monkeypatch):
    with pytest.raises(TransferError, match=r"^no connection: http://127\.0\.0\.1:1/a\.mp4$"):
        look_up(RemoteFile("http://user:5ecre7@127.0.0.1:1/a.mp4", "a.mp4"))
    before = download.PAUSE_S
    monkeypatch.setattr(download, "PAUSE_S", 1000 * before)  # nor does anybody for the next one, which is not tried
    with pytest.raises(TransferError, match=r"^no connection: http://127\.0\.0\.1:1/b\.mp4$"):
        look_up(RemoteFile("http://user:5ecre7@127.0.0.1:1/b.mp4", "b.mp4"))


def test_size_and_version_are_had_of_a_server_that_refuses_head(site):
    site.files[PATH] = DATA
    site.faults[PATH] = ["status:405"]
    found = look_up(RemoteFile(site.url + PATH, "a.mp4"))
    assert (found.size, [method for method, _, _ in site.asked]) == (len(DATA), ["HEAD", "GET"])


def test_a_server_that_asks_to_wait_is_waited_for(staging, site):
    site.files[PATH], site.headers[PATH] = DATA, {"Retry-After": "1"}
    site.faults[PATH] = ["status:503"]
    begun = time.monotonic()
    assert fetched(staging, site) == DATA
    assert time.monotonic() - begun >= 1.0


@pytest.mark.parametrize("as_date", [False, True])
def test_a_server_that_asks_to_come_back_much_later_is_given_up(staging, site, as_date):
    moment = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True) if as_date else "7200"
    site.headers[PATH], site.always[PATH] = {"Retry-After": moment}, "status:429"
    with pytest.raises(MediaError, match=r"HTTP 429: http.*/a\.mp4 \(try again in 7[12]\d\d s, says the server\)"):
        fetched(staging, site)
    assert len(site.asked) == 1


def test_another_object_than_was_listed_does_not_slip_in(staging, site):
    site.files[PATH] = DATA
    found = look_up(RemoteFile(site.url + PATH, "a.mp4"))
    assert found.size == len(DATA) and found.version
    assert fetched(staging, site, size=found.size, version=found.version) == DATA
    for listed in ({"size": 5}, {"size": found.size, "version": "other"}):
        with pytest.raises(MediaError, match=r"changed since it was listed: .*list-media"):
            fetched(staging, site, **listed)


def test_time_outs_are_outlasted_as_long_as_each_brings_something(staging, site, monkeypatch):
    site.files[PATH] = DATA[:200_000]
    site.pause_s = 0.3
    monkeypatch.setattr(reading, "_SECONDS", {"sock_read": 0.1})
    assert fetched(staging, site) == DATA[:200_000]
    assert len(gets(site)) > 2
    monkeypatch.setattr(download, "TRIES", 0)
    with pytest.raises(MediaError, match=r"^timed out: "):
        fetched(staging, site)


@pytest.fixture
def objects(site, monkeypatch):
    """The site as an S3 server that lets everybody in, and misbehaves."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", site.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "5ecre7")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(reading, "BLOCK", 1_000_000)
    monkeypatch.setattr(download, "_without_md5", set())
    s3fs.S3FileSystem.clear_instance_cache()
    site.files[OBJECT] = DATA
    yield site
    s3fs.S3FileSystem.clear_instance_cache()


OBJECT = "/bucket/a.mp4"


def fetched_object(staging):
    with staging.held(RemoteFile("s3://bucket/a.mp4", "a.mp4")) as staged:
        return staged.path.read_bytes()


def test_an_object_comes_in_blocks_and_one_that_fails_comes_again(staging, objects):
    objects.faults[OBJECT] = ["", "", "status:500"]
    assert fetched_object(staging) == DATA
    first, second, third = "bytes=0-999999", "bytes=1000000-1999999", "bytes=2000000-2999999"
    assert gets(objects) == [first, second, second, third]


def test_an_object_goes_on_in_the_next_run_where_it_broke(objects, tmp_path):
    objects.faults[OBJECT] = ["", "", "status:403"]
    with pytest.raises(TransferError, match="access denied"):
        fetch("s3://bucket/a.mp4", tmp_path, "a.mp4")
    assert fetch("s3://bucket/a.mp4", tmp_path, "a.mp4").read_bytes() == DATA
    first, second, third = "bytes=0-999999", "bytes=1000000-1999999", "bytes=2000000-2999999"
    assert gets(objects) == [first, second, second, third]
    objects.files[OBJECT] = DATA[::-1]
    assert fetch("s3://bucket/a.mp4", tmp_path, "a.mp4").read_bytes() == DATA[::-1]


def test_an_object_that_changes_between_two_blocks_is_never_mixed(staging, objects):
    objects.faults[OBJECT] = Faults(["", "", "", ""], objects, {OBJECT: DATA[::-1]})
    assert fetched_object(staging) == DATA[::-1]
    assert len(gets(objects)) == 6


def test_the_md5_of_an_object_is_looked_at_where_its_etag_is_one(staging, objects):
    objects.headers[OBJECT] = {"ETag": f'"{hashlib.md5(DATA).hexdigest()}"'}
    objects.files[OBJECT] = bytes(len(DATA))  # as if a byte had been lost on the way
    objects.faults[OBJECT] = Faults(["", "", "", "", "", ""], objects, {OBJECT: DATA})
    assert fetched_object(staging) == DATA
    assert len(gets(objects)) == 6
    assert download._without_md5 == set()


def test_an_etag_that_only_looks_like_an_md5_costs_one_more_download(staging, objects):
    objects.headers[OBJECT] = {"ETag": f'"{"0f" * 16}"'}
    assert fetched_object(staging) == DATA
    assert len(gets(objects)) == 6 and download._without_md5 == {"bucket"}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("status:403", r"access denied: s3://bucket/a\.mp4 \(are credentials set\? AWS_PROFILE"),
        ("status:404", r"not found: s3://bucket/a\.mp4$"),
        ("status:503", r"HTTP 503: s3://bucket/a\.mp4$"),
    ],
)
def test_what_an_object_store_refuses_is_said(staging, objects, fault, reason):
    objects.always[OBJECT] = fault
    with pytest.raises(MediaError, match=reason):
        fetched_object(staging)
