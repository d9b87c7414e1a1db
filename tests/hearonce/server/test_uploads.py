"""Uploaded files: recordings of browsers, files that attack, and what is left of them."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import av
import httpx2 as httpx
import numpy as np
import pytest
import soundfile
import uvicorn
from hostile_media import claiming_mkv, far_packet, huge_frames, huge_picture, make_playlists, referring_mov, wav
from media_samples import frame_number, numbered_frames, tone, write_media

from cache.errors import UserError
from hearonce.server import running, uploads, worker
from hearonce.server.app import create_app
from hearonce.server.uploads import Uploads, normalise
from hearonce.server.worker import Workers
from pipeline.media.containers import MediaError

CHANGING = {"X-Hearonce": "1"}


class Here(Workers):
    """Looks at uploads in this process: the same work, without starting an interpreter for each."""

    def run_alone(self, job, seconds=worker.MOST_SECONDS):
        return normalise(Path(job["source"]), Path(job["out"]))


@pytest.fixture
def kept(tmp_path):
    made = Uploads(tmp_path / "uploads", Here())
    yield made
    made.close()


def added(kept: Uploads, source: Path) -> uploads.Upload:
    with kept.arriving() as raw:
        raw.write_bytes(source.read_bytes())
        return kept.add(raw)


def audio_of(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)[0], rate


class Pipe:
    """Takes bytes and cannot go back, as MediaRecorder writes: no length, no index."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()


def recorded(path: Path, form: str, codec: str, begin_s: float = 0.0, **options: str) -> Path:
    """Two seconds of 440 Hz as a browser records them."""
    samples = tone(2, 48_000)[:, 0]
    with av.open(Pipe(path), "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
        frame.sample_rate, frame.pts = 48_000, round(begin_s * 48_000)
        resampler = av.AudioResampler(stream.format, "mono", 48_000, stream.codec_context.frame_size or 960)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(part))
    return path


@pytest.mark.parametrize(
    ("form", "codec", "begin_s", "options"),
    (
        ("webm", "libopus", 0.0, {"live": "1"}),
        ("webm", "libopus", 7.0, {"live": "1"}),
        ("ogg", "libopus", 0.0, {}),
        ("mp4", "aac", 0.0, {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    ),
)
def test_recordings_without_length_or_index_are_taken_whole(kept, tmp_path, form, codec, begin_s, options):
    upload = added(kept, recorded(tmp_path / "recording", form, codec, begin_s, **options))
    samples, rate = audio_of(upload.path)
    hertz = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * rate / len(samples)
    assert upload.has_audio and not upload.has_video and upload.duration_s > 1.9
    assert hertz == pytest.approx(440, abs=2) and len(samples) / rate == pytest.approx(2, abs=0.05)


def test_audio_and_frames_of_an_upload_stay_together(kept, tmp_path):
    source = write_media(
        tmp_path / "late.mkv",
        frames=numbered_frames(30),
        rate=15,
        samples=tone(1.5, 48_000),
        audio_codec="flac",
        audio_start_s=0.5,
    )
    upload = added(kept, source)
    assert upload.has_audio and upload.has_video and upload.duration_s == 2.0
    with av.open(str(upload.path)) as container:
        assert [frame_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)] == [*range(30)]
    assert np.flatnonzero(audio_of(upload.path)[0])[0] / 48_000 == pytest.approx(0.5, abs=0.01)


def attacking(folder: Path) -> dict[Path, str]:
    """Files that must be refused, and part of the sentence that says why."""
    expected = {folder / name: part for name, part in make_playlists(folder).items()}
    del expected[folder / "still%03d.png"]  # by its name a sequence; but the name of an upload opens nothing
    many = folder / "many.mka"
    with av.open(str(many), "w", format="matroska") as container:
        for stream in [container.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(40)]:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
    long = folder / "long.flac"
    soundfile.write(long, np.zeros(700 * 8000, np.int16), 8000)
    whole = write_media(folder / "whole.mp4", samples=tone(1, 48_000)).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty").write_bytes(b"")
    (folder / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/x'/></svg>")
    (folder / "archive").write_bytes(b"PK\x03\x04" + bytes(2000))
    (folder / "noise").write_bytes(np.random.default_rng(0).bytes(100_000))
    return expected | {
        many: "has 40 tracks, an upload at most 32",
        long: "an upload has at most 600 s",
        folder / "cut.mp4": "truncated",
        folder / "empty": "0 bytes",
        folder / "drawing.svg": "a drawing (SVG)",
        folder / "archive": "an archive (ZIP)",
        folder / "noise": "not a media file",
        huge_picture(folder / "huge.jpg", 60_000): "no frame could be decoded",
        huge_frames(folder / "frames.mkv", 60_000): "no frame could be decoded",
        wav(folder / "fast.wav", rate=1_000_000): "384000 Hz",
        wav(folder / "wide.wav", channels=64): "32 channels",
        referring_mov(folder / "refers.mov", folder / "other.wav"): "zero duration",
    }


def test_files_that_attack_are_refused_in_a_sentence_and_leave_nothing(kept, tmp_path):
    for path, part in attacking(tmp_path).items():
        with pytest.raises((MediaError, UserError, OSError)) as error:
            pytest.fail(f"{path.name} was taken: {added(kept, path)}")
        message = str(error.value)
        assert part in message and "limits:" not in message and "\n" not in message, (path.name, message)
        assert str(tmp_path) not in message, (path.name, message)
    assert not list((tmp_path / "uploads").iterdir())
    claims = added(kept, claiming_mkv(tmp_path / "claims.mkv", 10**9))  # what is there counts, not what is claimed
    assert claims.duration_s == pytest.approx(1, abs=0.01)
    still = added(kept, tmp_path / "still%03d.png")
    assert still.has_video and still.duration_s == 0.04
    far = added(kept, far_packet(tmp_path / "far.mka", 10**6))  # its clock counts as gone wild: no days of silence
    assert len(audio_of(far.path)[0]) <= 8000
    assert {path.stem for path in (tmp_path / "uploads").iterdir()} == {claims.id, still.id, far.id}


def test_uploads_are_bounded_in_number_bytes_and_time(kept, tmp_path, monkeypatch):
    source = write_media(tmp_path / "tone.wav", samples=tone(0.5, 48_000))
    first = added(kept, source)
    size = first.path.stat().st_size
    monkeypatch.setattr(uploads, "MOST_UPLOADS", 2)
    second, third = added(kept, source), added(kept, source)
    assert kept.get(second.id) == second and not first.path.exists()
    with pytest.raises(UserError, match="upload it again"):
        kept.get(first.id)
    monkeypatch.setattr(uploads, "MOST_KEPT_BYTES", size + size // 2)
    fourth = added(kept, source)
    assert not second.path.exists() and not third.path.exists() and kept.get(fourth.id) == fourth
    monkeypatch.setattr(uploads, "KEPT_S", 0.0)
    with pytest.raises(UserError, match="upload it again"):
        kept.get(fourth.id)
    assert not list((tmp_path / "uploads").iterdir())
    assert len(first.id) == 32 and len({first.id, second.id, third.id, fourth.id}) == 4


def children() -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            own = int(status.read_text().rpartition(")")[2].split()[1]) == os.getpid()
            if own and b"hearonce.server.worker" in status.with_name("cmdline").read_bytes():
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def test_a_process_that_is_killed_leaves_no_file(tmp_path):
    kept = Uploads(tmp_path / "uploads", Workers())
    source = tmp_path / "long.wav"
    soundfile.write(source, np.random.default_rng(0).integers(-9999, 9999, (590 * 48_000, 1), np.int16), 48_000)
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(added, kept, source)
        while not any(path.stat().st_size for path in (tmp_path / "uploads").glob("*.flac*")):
            assert not adding.done(), adding.exception()
            time.sleep(0.01)
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(UserError, match="it was given up"):
            adding.result(60)
    assert not list((tmp_path / "uploads").iterdir())


@pytest.mark.parametrize(
    ("seconds", "cpu", "ended_by"), ((1 - worker.SPARE_S, 180, signal.SIGALRM), (60, 1, signal.SIGXCPU))
)
def test_a_worker_without_its_server_ends_itself(tmp_path, seconds, cpu, ended_by):
    source = write_media(
        tmp_path / "large.mkv", frames=[np.zeros((1080, 1920, 3), np.uint8)], rate=1, video_codec="ffv1"
    )
    with av.open(str(source)) as container:  # one frame that is shown for ten minutes
        (packet,) = [packet for packet in container.demux() if packet.size]
        with av.open(str(tmp_path / "shown.mkv"), "w") as out:
            stream = out.add_stream_from_template(container.streams.video[0])
            for second in (0, 590):
                again = av.Packet(bytes(packet))
                again.stream, again.time_base, again.is_keyframe = stream, packet.time_base, True
                again.pts = again.dts = int(second / packet.time_base)
                out.mux(again)
    job = {"what": "upload", "source": str(tmp_path / "shown.mkv"), "out": str(tmp_path / "out.mkv")}
    code = f"from hearonce.server import worker; worker.MOST_CPU_S = {cpu}; worker.main()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(json.dumps({**job, "seconds": seconds}).encode() + b"\n")
        process.stdin.flush()  # and stays open: that it is closed is not why the process ends
        assert process.wait(60) == -ended_by


@contextmanager
def serving(app):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(running.configured(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


def test_searches_do_not_wait_behind_uploads(project, tmp_path, monkeypatch):
    done = threading.Event()

    def slowly(self, job, seconds=worker.MOST_SECONDS):
        assert done.wait(60)
        return normalise(Path(job["source"]), Path(job["out"]))

    monkeypatch.setattr(Workers, "run_alone", slowly)
    body = write_media(tmp_path / "tone.wav", samples=tone(0.5, 48_000)).read_bytes()

    def upload(client):
        return client.post("/api/uploads?name=../../x.wav", content=body, headers=CHANGING)

    with serving(create_app([])) as address, httpx.Client(base_url=address, timeout=20) as client:
        with ThreadPoolExecutor(20) as pool:
            answers = [pool.submit(upload, client) for _ in range(20)]
            try:
                end = time.monotonic() + 20
                while sum(answer.done() for answer in answers) < 20 - uploads.MOST_ARRIVING:
                    assert time.monotonic() < end
                    time.sleep(0.02)
                began = time.monotonic()
                assert client.get("/api/corpora").json() == [] and time.monotonic() - began < 5
            finally:
                done.set()
            codes = [answer.result().status_code for answer in answers]
        assert codes.count(200) == uploads.MOST_ARRIVING and codes.count(503) == 20 - uploads.MOST_ARRIVING
        assert upload(client).status_code == 200  # and there is room again
