"""The staging folder: one download per file, a bound that holds, nothing left behind by the dead."""

import multiprocessing
import os
import pickle
import random
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from misbehaving_server import Faults
from waiting import FAR_OFF_S, wait_until

from cache.digests import DigestMemory
from cache.errors import UserError, WriteError
from pipeline.media.containers import MediaError
from pipeline.media.location import local
from pipeline.monitor.signals import Interrupted, Stopped, handled
from pipeline.remote import staging as module
from pipeline.remote.address import RemoteFile
from pipeline.remote.staging import Staging

SIZE = 100_000


def publish(site, count, size=SIZE):
    dice = np.random.default_rng(1)
    site.files |= {f"/{number}.mp4": dice.bytes(size) for number in range(count)}
    return [RemoteFile(f"{site.url}/{number}.mp4", f"{number}.mp4") for number in range(count)]


def gets(site):
    return sorted(path for method, path, _ in site.asked if method == "GET")


def used(staging):
    return sum(size for _, size, _ in staging.room.files())


def names(staging):
    return sorted(one.name for one in staging.room.folder.iterdir() if one.suffix != ".lock")


def test_a_file_is_fetched_once_however_many_threads_want_it(staging, site, tmp_path):
    files = publish(site, 3)
    site.pause_s = 0.02
    remembering = Staging(staging.room.folder, staging.room.most_bytes, DigestMemory(tmp_path / "digests.sqlite"))
    together, started = threading.Barrier(12, timeout=FAR_OFF_S), []

    def read(number):
        time.sleep(0.02 * (number % 4))
        file = files[number % 3]
        known = RemoteFile(file.url, file.name, SIZE, f"{hash(site.files[f'/{file.name}']):x}")
        with remembering.held(known) as staged:
            together.wait()  # all hold their file at the same time: none waits until another has read it
            started.append(number)
            return staged.path.read_bytes() == site.files[f"/{file.name}"]

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(read, range(12)))
    assert gets(site) == ["/0.mp4", "/1.mp4", "/2.mp4"]
    remembering._memory.close()


def test_what_was_used_longest_ago_gives_way_and_what_is_held_stays(staging, site):
    files = publish(site, 4)
    small = Staging(staging.room.folder, 3 * SIZE)
    digests = []
    for file in files[:3]:
        with small.held(file) as staged:
            digests.append(staged.digest)
    with small.held(files[0], digests[0]) as first, small.held(files[3]) as last:
        assert first.path.exists()
        assert names(small) == sorted(f"{digest}.mp4" for digest in (digests[0], digests[2], last.digest))
        assert used(small) == 3 * SIZE
    assert len(gets(site)) == 4


def test_another_waits_for_room_until_a_file_is_let_go(staging, site):
    files = publish(site, 2)
    tight = Staging(staging.room.folder, SIZE + 10)
    arrived = threading.Event()

    def fetch_other():
        with tight.held(files[1]):
            arrived.set()

    with tight.held(files[0]):
        thread = threading.Thread(target=fetch_other)
        thread.start()
        assert not arrived.wait(0.4)
    assert arrived.wait(FAR_OFF_S)
    thread.join()
    assert used(tight) <= SIZE + 10


def test_a_download_that_begins_anew_does_not_wait_for_one_who_waits_for_it(staging, site):
    files = publish(site, 2, 5 * SIZE)
    site.pause_s = 0.05
    before = site.files["/0.mp4"]
    site.faults["/0.mp4"] = Faults(["cut:300000", ""], site, {"/0.mp4": before[::-1]})
    tight = Staging(staging.room.folder, 6 * SIZE)

    def fetch(number):
        time.sleep(0.1 * number)
        with tight.held(files[number]) as staged:
            return staged.path.read_bytes()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fetch, range(2), timeout=FAR_OFF_S)) == [before[::-1], site.files["/1.mp4"]]


def test_a_file_larger_than_the_bound_is_refused_before_it_comes(staging, site):
    (file,) = publish(site, 1)
    with pytest.raises(MediaError, match=r"has 0\.0001 GB or more, .* 5e-05 GB together: raise HEARONCE_STAGING_GB"):
        with Staging(staging.room.folder, SIZE // 2).held(file):
            pass
    site.always["/0.mp4"] = "chunked"  # which does not say how much will come
    with pytest.raises(MediaError, match="raise HEARONCE_STAGING_GB"):
        with Staging(staging.room.folder, SIZE // 2).held(file):
            pass
    assert names(staging) == []


def test_other_bytes_than_were_ingested_do_not_slip_in(staging, site):
    (file,) = publish(site, 1)
    with pytest.raises(MediaError, match=r"changed since it was ingested: .*ingest the corpus again"):
        with staging.held(file, "0" * 32):
            pass
    assert names(staging) == []


def read_at_random(folder, files, digests, seed, most_bytes):
    """One of several processes: each reads what it holds twice, with a pause in which the others want room."""
    dice, staging = random.Random(seed), Staging(folder, most_bytes)
    for _ in range(12):
        number = dice.randrange(len(files))
        with staging.held(files[number], digests[number]) as staged:
            before = staged.path.read_bytes()
            time.sleep(dice.random() * 0.02)
            assert staged.path.read_bytes() == before
        assert used(staging) <= most_bytes


def test_processes_share_the_folder_and_the_bound(staging, site):
    files = publish(site, 8)
    digests = []
    most = 4 * SIZE
    for file in files:
        with Staging(staging.room.folder, most).held(file) as staged:
            digests.append(staged.digest)
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=read_at_random, args=(staging.room.folder, files, digests, seed, most))
        for seed in range(3)
    ]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert [one.exitcode for one in workers] == [0, 0, 0]
    assert used(staging) <= most
    assert not any(name.endswith(".part") for name in names(staging))


def kill_once(fulfilled, work):
    """Runs `work` in a process and kills it, as `kill -9` does, as soon as a condition is fulfilled."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    wait_until(fulfilled, process)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_what_a_killed_download_leaves_is_cleared_away(staging, site):
    files = publish(site, 2, 5 * SIZE)
    site.pause_s = 0.5

    def fetch():
        with staging.held(files[0]):
            pass

    kill_once(lambda: used(staging) == 5 * SIZE, fetch)  # it takes all the room first
    assert [name[-5:] for name in names(staging)] == [".part"]
    site.pause_s = 0.0
    with Staging(staging.room.folder, 6 * SIZE).held(files[1]) as staged:
        assert names(staging) == [staged.path.name]
    with staging.held(files[0]) as staged:
        assert staged.path.read_bytes() == site.files["/0.mp4"]


def test_a_killed_reader_holds_nothing(staging, site):
    files = publish(site, 2)
    small = Staging(staging.room.folder, SIZE)

    def hold():
        with small.held(files[0]):
            time.sleep(1000)

    kill_once(lambda: any(name.endswith(".mp4") for name in names(small)), hold)
    with small.held(files[1]) as staged:
        assert names(small) == [staged.path.name]


def test_a_disk_without_room_is_said_and_nothing_half_is_left(staging, site):
    (file,) = publish(site, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, before[1]))
        with pytest.raises(WriteError, match=r"was not written: the file would exceed"):
            with staging.held(file):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(staging) == []
    with staging.held(file):
        pass


def test_a_file_of_a_list_is_small_to_send_and_read_there(project, site, monkeypatch):
    (file,) = publish(site, 1)
    monkeypatch.setenv("HEARONCE_STAGING_GB", "0.001")
    sent = pickle.dumps(file)
    assert len(sent) < 500
    with local(pickle.loads(sent)) as path:
        assert path.read_bytes() == site.files["/0.mp4"]
        assert path.parent == project.relative_to(project) / ".hearonce/staging"
    monkeypatch.setenv("HEARONCE_STAGING", str(project / "elsewhere"))
    with local(file) as path:
        assert path.parent == project / "elsewhere"
    with local(path) as same:
        assert same is path


@pytest.mark.parametrize("value", ["much", "0", "-1", "inf", "nan"])
def test_a_bound_that_is_none_is_said(project, monkeypatch, value):
    monkeypatch.setenv(module.SIZE_VARIABLE, value)
    with pytest.raises(UserError, match=r"HEARONCE_STAGING_GB is '.*': give the gigabytes"):
        Staging.default()


def test_a_signal_ends_downloads_and_those_who_wait_for_them(staging, site):
    """One download hangs in the network, another waits for the first one's room, a third for the first one's file."""
    files = publish(site, 2)
    staging = Staging(staging.room.folder, SIZE + 1)
    site.pause_s = FAR_OFF_S  # after the first 64 KiB
    begun = time.monotonic()
    with handled(), pytest.raises(Interrupted), ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(staging._obtain, file, None) for file in (files[0], files[0], files[1])]
        wait_until(lambda: len(gets(site)) >= 1)
        os.kill(os.getpid(), signal.SIGTERM)
    assert all(isinstance(one.exception(), Stopped) for one in waiting)
    assert time.monotonic() - begun < FAR_OFF_S and names(staging) == []
