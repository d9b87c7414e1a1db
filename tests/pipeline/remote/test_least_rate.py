"""Servers that send so slowly that a download would never end: real ones, with the windows made short."""

import time

import pytest
from misbehaving_server import Handler, serving

from cache.errors import UserError
from pipeline.media.containers import MediaError
from pipeline.remote import faults as least_rate
from pipeline.remote import reading
from pipeline.remote.address import RemoteFile
from pipeline.remote.download import TransferError, fetch
from pipeline.remote.faults import TooSlow, fast_enough, patience_s


class Dripping(Handler):
    """Sends a byte at a time; with `/head` in the path, the head of the answer as well."""

    def send(self, body):
        self.drip(body)

    def drip(self, body):
        try:
            for at in range(len(body)):
                self.wfile.write(body[at : at + 1])
                self.wfile.flush()
                time.sleep(0.02)
        except OSError:
            self.close_connection = True

    def end_headers(self):
        if "head" in self.path:
            self._headers_buffer.append(b"\r\n")
            head, self._headers_buffer = b"".join(self._headers_buffer), []
            self.drip(head)
        else:
            super().end_headers()


@pytest.fixture
def dripping():
    with serving(Dripping) as site:
        yield site


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(least_rate, "WINDOW_S", 0.3)
    monkeypatch.setattr(reading, "ANSWER_S", 0.5)


def fetched(staging, site, path):
    with staging.held(RemoteFile(site.url + path, "a.mp4")) as staged:
        return staged.path.read_bytes()


def test_a_server_that_drips_is_given_up_at_once(staging, dripping, impatient):
    dripping.files["/a.mp4"] = bytes(100_000)
    with pytest.raises(MediaError, match=r"too slow: fewer than 10000 bytes a second \(HEARONCE_LEAST_RATE\): http"):
        fetched(staging, dripping, "/a.mp4")
    assert [one[0] for one in dripping.asked] == ["GET"], "another attempt would be as slow"


def test_a_head_that_drips_is_given_up(staging, dripping, impatient, monkeypatch):
    monkeypatch.setattr("pipeline.remote.download.PAUSE_S", 0.0)
    monkeypatch.setattr("pipeline.remote.download.TRIES", 1)
    dripping.files["/head.mp4"] = bytes(10)
    with pytest.raises(MediaError, match="timed out"):
        fetched(staging, dripping, "/head.mp4")


def test_the_least_rate_is_a_setting(staging, dripping, impatient, monkeypatch):
    dripping.files["/a.mp4"] = bytes(40)
    monkeypatch.setenv(least_rate.VARIABLE, "1")
    assert fetched(staging, dripping, "/a.mp4") == bytes(40)
    monkeypatch.setenv(least_rate.VARIABLE, "fast")
    with pytest.raises(UserError, match="HEARONCE_LEAST_RATE is 'fast': give the bytes per second"):
        fetched(staging, dripping, "/a.mp4")


def test_checkpoints_are_downloaded_under_the_same_rule(tmp_path, dripping, impatient):
    dripping.files["/a.pt"] = bytes(100_000)
    with pytest.raises(TransferError, match="too slow: fewer than 10000 bytes a second"):
        fetch(f"{dripping.url}/a.pt", tmp_path, "a")
    assert len(dripping.asked) == 1


def test_an_object_store_that_drips_is_given_up(staging, monkeypatch):
    class Store:
        async_impl = True

        def cat_file(self, path, start, end, timeout):
            asked.append((start, end, timeout))
            raise TimeoutError

    asked = []
    with pytest.raises(TooSlow):
        next(reading.object_blocks(Store(), "bucket/a", reading.Found(50_000_000, "v"), 0))
    assert asked == [(0, reading.FIRST_BLOCK, patience_s(reading.FIRST_BLOCK))]


def test_only_the_time_of_waiting_for_the_server_counts(monkeypatch):
    def quick():
        for _ in range(3):
            yield b"x" * 10

    for _ in fast_enough(quick(), window_s=0.05):
        time.sleep(0.06)  # the receiver waits for room on the disk


def test_a_pause_in_a_fast_transfer_is_no_fault():
    def pausing():
        time.sleep(0.1)
        yield bytes(1_000_000)
        time.sleep(0.1)
        yield bytes(1_000_000)

    assert sum(map(len, fast_enough(pausing(), window_s=0.05))) == 2_000_000


def test_no_bound(monkeypatch):
    monkeypatch.setenv(least_rate.VARIABLE, "0")
    assert list(fast_enough(iter([b"a"]), window_s=0.0)) == [b"a"] and patience_s(5) is None
