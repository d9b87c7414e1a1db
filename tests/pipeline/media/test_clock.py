"""Time in files whose timestamps start again, jump, or begin anywhere: joined streams, offsets, wrong headers."""

import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from media_samples import bursts, frame_number, noise, numbered_frames, tone, write_media

from pipeline.media.audio import extract_audio
from pipeline.media.clock import read_clock
from pipeline.media.frames import read_frames
from pipeline.media.numbered_frames import read_numbered
from pipeline.media.probe import probe

H264 = {"video_codec": "libx264", "audio_codec": "aac"}
MPEG2 = {"video_codec": "mpeg2video", "audio_codec": "mp2"}


def part(path: Path, first: int, burst_s: float, seconds: float = 3, **options) -> Path:
    """A recording with frames numbered from `first` on and one burst of noise."""
    frames = numbered_frames(round(25 * seconds), 48, 32, first=first)
    return write_media(path, samples=bursts(seconds, 48000, [burst_s]), frames=frames, **options)


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(one.read_bytes() for one in parts))
    return path


def moved(source: Path, target: Path, offset_s: float, **options: str) -> Path:
    """The same packets, later by an offset."""
    with av.open(str(source)) as opened, av.open(str(target), "w", options=options) as written:
        streams = {stream.index: written.add_stream_from_template(stream) for stream in opened.streams}
        for packet in opened.demux():
            if packet.size:
                ticks = round(Fraction(offset_s) / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
                packet.stream = streams[packet.stream_index]
                written.mux(packet)
    return target


def onsets(path: Path) -> list[float]:
    """When bursts begin in the extracted audio, in seconds."""
    target = path.with_name("out.flac")
    extract_audio(path, target)
    samples, rate = soundfile.read(target, always_2d=True)
    loud = np.flatnonzero(np.abs(samples[:, 0]) > 0.2) / rate
    return [float(loud[0]), *loud[1:][np.diff(loud) > 0.2].tolist()]


@pytest.mark.parametrize("ending", [".ts", ".mpg", ".mkv", ".webm"])
@pytest.mark.parametrize("seconds", [1, 3])
def test_parts_joined_by_bytes_are_whole(tmp_path, ending, seconds):
    options = {".ts": H264, ".mpg": MPEG2}.get(ending, {})
    count = 2 if ending in (".mkv", ".webm") else 3  # FFmpeg reads no more of Matroska
    parts = [part(tmp_path / f"{n}{ending}", 100 * n, 0.5 + n / 10, seconds, **options) for n in range(count)]
    path = joined(tmp_path / f"joined{ending}", *parts)
    info = probe(path)
    assert info.duration_s == pytest.approx(count * seconds, abs=0.15)
    assert info.kind == "joined"
    assert onsets(path) == pytest.approx([n * seconds + 0.5 + n / 10 for n in range(count)], abs=0.12)
    times = [n * seconds + 0.52 for n in range(count)]
    numbers = [frame_number(image) for _, image in read_frames(path, times, kind=info.kind)]
    assert [number // 100 for number in numbers] == list(range(count))
    assert [number % 100 for number in numbers] == pytest.approx([13] * count, abs=3)


@pytest.mark.parametrize("ending", [".mkv", ".flv"])
def test_parts_that_ffmpeg_does_not_read_are_named(tmp_path, ending):
    options = H264 if ending == ".flv" else {}
    parts = [part(tmp_path / f"{n}{ending}", 100 * n, 0.5, **options) for n in range(3)]
    made = extract_audio(joined(tmp_path / f"joined{ending}", *parts), tmp_path / "out.flac")
    assert "% of the file cannot be read" in made.warning


@pytest.mark.parametrize(
    ("ending", "codec"),
    [(".wav", "pcm_s16le"), (".aiff", "pcm_s16be"), (".m4a", "aac"), (".tta", "tta")],
)
def test_whole_files_joined_by_cat_are_named(tmp_path, ending, codec):
    parts = [
        write_media(tmp_path / f"{n}{ending}", samples=bursts(2, 44100, [n]), sample_rate=44100, audio_codec=codec)
        for n in range(2)
    ]
    assert extract_audio(parts[0], tmp_path / "out.flac").warning is None
    made = extract_audio(joined(tmp_path / f"joined{ending}", *parts), tmp_path / "out.flac")
    assert "files joined by bytes" in made.warning or "% of the file cannot be read" in made.warning


def test_joined_fragmented_mp4_is_named(tmp_path):
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    parts = [part(tmp_path / f"{n}.mp4", 100 * n, 0.5, container_options=flags) for n in range(2)]
    assert extract_audio(parts[0], tmp_path / "out.flac").warning is None
    made = extract_audio(joined(tmp_path / "joined.mp4", *parts), tmp_path / "out.flac")
    assert made.warning.startswith("2 files joined by bytes, of which the first alone is read rightly")


@pytest.mark.parametrize("silent", [0, 1])
def test_parts_without_audio_keep_their_time(tmp_path, silent):
    parts = [part(tmp_path / f"{n}.ts", 100 * n, 0.5 + n / 10, **H264) for n in range(3)]
    write_media(parts[silent], frames=numbered_frames(75, 48, 32, first=100 * silent), video_codec="libx264")
    path = joined(tmp_path / "joined.ts", *parts)
    info = probe(path)
    assert info.duration_s == pytest.approx(9, abs=0.15)
    assert (info.audio.sample_rate, info.audio.channels) == (48000, 1)
    times = [3 * n + 0.5 + n / 10 for n in range(3)]
    assert onsets(path) == pytest.approx([time for n, time in enumerate(times) if n != silent], abs=0.12)
    numbers = [frame_number(image) for _, image in read_frames(path, [time + 0.02 for time in times], kind=info.kind)]
    assert numbers == pytest.approx([13, 115, 218], abs=3)


@pytest.mark.parametrize("rates", [(48000, 22050), (22050, 48000), (48000, 32000)])
def test_audio_of_parts_of_other_rates_keeps_to_the_frames(tmp_path, rates):
    """FFmpeg counts on between the timestamps of MPEG-TS by the rate of the first part."""
    parts = []
    for n, rate in enumerate(rates):
        path = tmp_path / f"{n}.ts"
        write_media(
            path,
            samples=bursts(4, rate, [0.5, 1.5, 2.5], 0.1),
            sample_rate=rate,
            frames=numbered_frames(100, 48, 32),
            **H264,
        )
        parts.append(path)
    path = joined(tmp_path / "joined.ts", *parts)
    times = onsets(path)
    assert times == pytest.approx([0.5, 1.5, 2.5, 4.5, 5.5, 6.5], abs=0.2)
    assert times[4] - times[3] == pytest.approx(1, abs=0.02)
    assert times[5] - times[4] == pytest.approx(1, abs=0.02)


def test_audio_and_frames_of_every_part_keep_together(tmp_path):
    parts = [part(tmp_path / f"{n}.ts", 100 * n, 0.5, 1, b_frames=2, **H264) for n in range(6)]
    path = joined(tmp_path / "joined.ts", *parts)
    heard = onsets(path)
    assert len(heard) == 6
    numbers = [frame_number(image) for _, image in read_frames(path, [one + 0.02 for one in heard])]
    assert [number // 100 for number in numbers] == list(range(6))
    assert [number % 100 for number in numbers] == pytest.approx([12] * 6, abs=2), "the frames at the bursts"


@pytest.mark.parametrize("offset_s", [15, 100, 5000, 90000])
@pytest.mark.parametrize("back", [False, True])
def test_a_jump_of_the_timestamps_is_a_new_part(tmp_path, offset_s, back):
    one = part(tmp_path / "1.ts", 0, 1.0, **H264)
    two = moved(part(tmp_path / "2.ts", 100, 2.0, **H264), tmp_path / "2moved.ts", offset_s)
    path = joined(tmp_path / "joined.ts", *((two, one) if back else (one, two)))
    assert probe(path).duration_s == pytest.approx(6, abs=0.1)
    assert onsets(path) == pytest.approx([2, 4] if back else [1, 5], abs=0.1)
    numbers = [frame_number(image) for _, image in read_frames(path, [1.52, 4.52])]
    assert [number // 100 for number in numbers] == ([1, 0] if back else [0, 1])


def test_timestamps_that_wrap_go_on(tmp_path):
    path = moved(part(tmp_path / "1.ts", 0, 4.0, 6, **H264), tmp_path / "wraps.ts", 2**33 / 90000 - 3.4)
    info = probe(path)
    assert (info.duration_s, info.kind) == (pytest.approx(6, abs=0.05), "")
    assert onsets(path) == pytest.approx([4], abs=0.05)


def test_segments_that_go_on_are_one_part(tmp_path):
    one = part(tmp_path / "1.ts", 0, 1.0, **H264)
    two = moved(part(tmp_path / "2.ts", 75, 2.0, **H264), tmp_path / "2moved.ts", 3)
    path = joined(tmp_path / "joined.ts", one, two)
    assert (read_clock(path).parts, probe(path).kind) == (1, "")
    assert onsets(path) == pytest.approx([1, 5], abs=0.06)
    assert extract_audio(path, tmp_path / "out.flac").warning is None


@pytest.mark.parametrize("codec", ["libopus", "flac"])
def test_chained_ogg(tmp_path, codec):
    waves = [tone(1, 48000, 300 + 100 * n) for n in range(12)]
    parts = [write_media(tmp_path / f"{n}.ogg", samples=wave, audio_codec=codec) for n, wave in enumerate(waves)]
    path = joined(tmp_path / "chain.ogg", *parts)
    info = probe(path)
    assert info.duration_s == pytest.approx(12, abs=0.02)
    made = extract_audio(path, tmp_path / "out.flac")
    assert made.n_samples / 48000 == pytest.approx(12, abs=0.01)
    assert "clipped" not in (made.warning or "")
    samples = soundfile.read(tmp_path / "out.flac")[0]
    for n in range(12):
        piece = samples[n * 48000 + 12000 : n * 48000 + 36000]
        assert np.argmax(np.abs(np.fft.rfft(piece))) * 2 == pytest.approx(300 + 100 * n, abs=2)


def test_a_chain_whose_links_have_other_rates_is_whole_or_named(tmp_path):
    parts = [
        write_media(tmp_path / f"{r}.ogg", samples=tone(3, r), sample_rate=r, audio_codec="flac")
        for r in (48000, 16000)
    ]
    made = extract_audio(joined(tmp_path / "chain.ogg", *parts), tmp_path / "out.flac")
    assert made.n_samples == pytest.approx(6 * 48000, abs=100)
    assert "audio of 6.0 s by whose timestamps it has 4.0 s" in made.warning
    made = extract_audio(joined(tmp_path / "chain.ogg", *reversed(parts)), tmp_path / "out.flac")
    assert "by whose timestamps it has 12.0 s" in made.warning
    parts = [write_media(tmp_path / f"{n}.ogg", samples=tone(3, 48000, channels=n)) for n in (1, 2)]
    made = extract_audio(joined(tmp_path / "chain.ogg", *parts), tmp_path / "out.flac")
    assert made.n_samples == pytest.approx(3 * 48000, abs=100)
    assert "what follows 3.0 s cannot be read" in made.warning


@pytest.mark.parametrize(
    ("ending", "codec"), [(".mp3", "libmp3lame"), (".aac", "aac"), (".ac3", "ac3"), (".flac", "flac")]
)
def test_audio_files_joined_by_cat(tmp_path, ending, codec):
    parts = [
        write_media(tmp_path / f"{n}{ending}", samples=bursts(3, 48000, [1 + n]), audio_codec=codec) for n in range(2)
    ]
    path = joined(tmp_path / f"joined{ending}", *parts)
    assert probe(path).duration_s == pytest.approx(6.03, abs=0.05)
    assert onsets(path) == pytest.approx([1, 5], abs=0.06)


@pytest.mark.parametrize("quiet_first", [True, False])
def test_variable_mp3_files_joined_with_tags_between(tmp_path, quiet_first):
    """FFmpeg does not believe the length in the header of such a file, and guesses by the bit rate."""
    loud, quiet = noise(3, 44100), np.zeros((3 * 44100, 1), np.float32)
    waves = (quiet, loud) if quiet_first else (loud, quiet)
    parts = []
    for n, wave in enumerate(waves):
        path = tmp_path / f"{n}.mp3"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libmp3lame", rate=44100, layout="mono")
            stream.codec_context.qscale = True
            stream.codec_context.global_quality = 118 * 4
            frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, 0
            for one in (frame, None):
                for packet in stream.encode(one):
                    container.mux(packet)
        parts.append(path.read_bytes())
    path = tmp_path / "joined.mp3"
    path.write_bytes(parts[0] + b"ID3\x03\x00\x00\x00\x00\x03\x00" + bytes(384) + parts[1])
    info = probe(path)
    assert info.duration_s == pytest.approx(6.05, abs=0.05)
    made = extract_audio(path, tmp_path / "out.flac")
    assert made.n_samples / 44100 == pytest.approx(6.05, abs=0.06)
    assert "truncated" not in (made.warning or "")


@pytest.mark.parametrize(
    ("ending", "options"), [(".mkv", {}), (".webm", {}), (".ts", H264), (".flv", H264), (".mp4", {})]
)
@pytest.mark.parametrize("offset_s", [1000, 0.5, -0.25])
def test_a_file_lasts_from_its_first_packet_to_its_last(tmp_path, ending, options, offset_s):
    source = part(tmp_path / f"1{ending}", 0, 2.0, **options)
    flags = {} if offset_s > 0 else {"avoid_negative_ts": "disabled"}
    path = moved(source, tmp_path / f"moved{ending}", offset_s, **flags)
    cut_s = 0.25 if ending == ".mp4" and offset_s < 0 else 0.0  # mp4 cuts off what is before 0
    assert probe(path).duration_s == pytest.approx(3 - cut_s, abs=0.07)
    assert onsets(path) == pytest.approx([2 - cut_s], abs=0.04)
    assert [
        frame_number(image) for _, image in read_frames(path, [2.02 - cut_s], kind=probe(path).kind)
    ] == pytest.approx([50], abs=1)


@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_what_an_edit_list_leaves_out_is_before_time_zero(tmp_path, ending):
    """Cut without encoding anew: the packets from the keyframe before the cut on are there, and not shown."""
    source = part(tmp_path / f"1{ending}", 0, 2.0, **H264)
    path = moved(source, tmp_path / f"cut{ending}", -1.5, avoid_negative_ts="disabled")
    info = probe(path)
    assert (info.duration_s, info.kind) == (pytest.approx(1.5, abs=0.07), "")
    assert onsets(path) == pytest.approx([0.5], abs=0.04)
    assert [frame_number(image) for _, image in read_frames(path, [0.52], kind=info.kind)] == pytest.approx([50], abs=1)


def test_matroska_that_begins_seconds_before_zero(tmp_path):
    """Its clusters have negative times, of which FFmpeg makes none for frames and its own for audio."""
    path = moved(part(tmp_path / "1.mkv", 0, 4.5, 6), tmp_path / "moved.mkv", -3.5, avoid_negative_ts="disabled")
    info = probe(path)
    assert info.duration_s == pytest.approx(6, abs=0.07)
    assert onsets(path) == pytest.approx([4.5], abs=0.04)
    numbers = [frame_number(image) for _, image in read_frames(path, [1.02, 4.52], kind=info.kind)]
    assert numbers == pytest.approx([25, 113], abs=2)


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_jump_of_hours_is_a_new_part_in_any_container(tmp_path, ending, b_frames):
    """In mp4 a packet lasts until the next one, even if that comes hours later."""
    samples = bursts(4, 48000, [0.5, 3.0])
    path = write_media(
        tmp_path / f"a{ending}",
        samples=samples,
        audio_gaps=[(2.0, 9000.0)],
        frames=numbered_frames(100, 48, 32),
        frame_times_s=[n / 25 + 9000 * (n >= 50) for n in range(100)],
        b_frames=b_frames,
        **H264,
    )
    info = probe(path)
    assert (info.duration_s, info.kind) == (pytest.approx(4, abs=0.15), "joined")
    assert onsets(path) == pytest.approx([0.5, 3.0], abs=0.1)
    assert [frame_number(image) for _, image in read_frames(path, [0.5, 3.0], kind=info.kind)] == pytest.approx(
        [12, 75], abs=2
    )


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_frames_shown_at_odd_times_count_to_the_last(tmp_path, ending):
    times = [0, 1.0, 1.12, 5.0, 6.0]
    path = write_media(tmp_path / f"a{ending}", frames=numbered_frames(5, 48, 32), frame_times_s=times, b_frames=2)
    assert probe(path).duration_s == pytest.approx(6.04, abs=0.03)


def test_frames_by_number_run_through_the_parts(tmp_path):
    path = joined(tmp_path / "a.ts", *(part(tmp_path / f"{n}.ts", 100 * n, 0.5, 1, **H264) for n in range(2)))
    found = {index: frame_number(image) for index, image in read_numbered(path, [1, 25, 26, 50])}
    assert found == {0: 0, 1: 24, 2: 100, 3: 124}


def test_one_stream_that_jumps_alone_begins_no_part(tmp_path):
    """The other goes on, so that the clock of the file does."""
    options = {"audio_codec": "pcm_s16le", "frames": numbered_frames(200, 48, 32), "audio_gaps": [(4, 9000)]}
    path = write_media(tmp_path / "a.mkv", samples=bursts(8, 48000, [1.0, 6.0]), **options)
    assert read_clock(path).parts == 1
    assert onsets(path) == pytest.approx([1, 6], abs=0.01)


def test_ordinary_files_are_of_no_kind_and_last_as_their_headers_say(tmp_path):
    for name, options in (
        ("a.wav", {}),
        ("a.mp3", {}),
        ("a.m4a", {}),
        ("a.ogg", {}),
        ("a.mp4", {"frames": 1}),
        ("a.mkv", {"frames": 1}),
    ):
        if "frames" in options:
            options = {"frames": numbered_frames(75, 48, 32)}
        path = write_media(tmp_path / name, samples=noise(3, 48000), **options)
        info = probe(path)
        assert info.kind == ""
        with av.open(str(path)) as container:
            ends = [float(one.duration * one.time_base) for one in container.streams if one.duration]
            assert info.duration_s == pytest.approx(max(ends, default=container.duration / 1e6), abs=1e-9), name


def test_packets_are_read_at_the_price_of_reading_them(tmp_path):
    """At most 1.2 times the processor time of demuxing, on a quiet machine; here with room for a busy one."""
    one = write_media(tmp_path / "1.mp3", samples=noise(60, 16000), sample_rate=16000)
    path = tmp_path / "long.mp3"
    path.write_bytes(one.read_bytes() * 60)

    def demux() -> None:
        with av.open(str(path)) as container:
            for _ in container.demux():
                pass

    def cost(read) -> float:
        begun = time.process_time()
        read()
        return time.process_time() - begun

    ratios = [cost(lambda: read_clock(path)) / cost(demux) for _ in range(5)]
    assert min(ratios) < 1.5
