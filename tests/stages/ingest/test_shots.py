import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from media_samples import tone, write_media

from cache.digests import DigestMemory
from cache.errors import UserError
from cache.tables import CLIPS, PAIRS, PROBLEMS, read_note, read_table
from pipeline.config import layout
from pipeline.config.corpus import ShotSettings
from pipeline.media.probe import probe
from pipeline.monitor.problems import StrictStop
from stages.ingest.command import ingest
from stages.ingest.shots import ShotFinder

COLOURS = [(220, 140, 30), (30, 180, 40), (30, 40, 220)]
"""No red, whose hue of 0 is next to that of 179."""


def scenes(lengths, size=(48, 64)):
    """Frames of one colour after another, as many as given, with a little noise."""
    random = np.random.default_rng(0)
    noise = random.integers(-3, 4, (*size, 3))
    return [
        np.clip(np.array(colour) + np.roll(noise, number, 0), 0, 255).astype(np.uint8)
        for colour, length in zip(COLOURS, lengths, strict=True)
        for number in range(length)
    ]


def boundaries(path, **settings):
    return ShotFinder(ShotSettings(**settings), DigestMemory(None)).find(path, probe(path))


@pytest.mark.parametrize("settings", [{}, {"detector": "adaptive"}, {"threshold": 20.0, "luma_only": True}])
def test_boundaries_of_three_colours(settings, tmp_path):
    video = write_media(tmp_path / "a.mp4", frames=scenes([30, 45, 20], (240, 320)), rate=25)
    assert boundaries(video, **settings) == pytest.approx((1.2, 3.0))


def test_boundaries_of_a_variable_frame_rate_are_the_times_at_which_frames_are_shown(tmp_path):
    times_s = [0.0, 0.1, 0.5, 0.6, 1.7, 1.8, 2.9, 3.0, 3.05, 5.5]
    video = write_media(tmp_path / "a.mkv", frames=scenes([4, 4, 2]), frame_times_s=times_s)
    assert boundaries(video) == pytest.approx((1.7, 3.05), abs=2e-3)


def test_boundaries_of_a_video_that_starts_after_its_audio_are_on_the_clock_of_the_file(tmp_path):
    frames, times_s = scenes([10, 10, 10]), [5.0 + number / 10 for number in range(30)]
    alone = write_media(tmp_path / "alone.mkv", frames=frames, frame_times_s=times_s)
    sound = {"samples": tone(9, 16000), "sample_rate": 16000}
    late = write_media(tmp_path / "late.mkv", frames=frames, frame_times_s=times_s, **sound, audio_start_s=4.0)
    assert boundaries(alone) == pytest.approx((1.0, 2.0), abs=2e-3)
    assert boundaries(late) == pytest.approx((2.0, 3.0), abs=2e-3)


@pytest.fixture
def corpus(project, monkeypatch):
    media = project / "media"
    media.mkdir()
    sound = {"samples": tone(8, 16000), "sample_rate": 16000}
    write_media(media / "a.mp4", frames=scenes([20, 20, 40]), rate=10, **sound)
    write_media(media / "b.wav", **sound)
    (media / "captions.csv").write_text("file,caption,start,stop\na.mp4,red,0,1.5\na.mp4,last,5,8\nb.wav,tone,0,2\n")
    (project / "configs/corpora/mine.yaml").write_text("clips_from: shots\nwindow_s: 5\n")
    place = "corpora: {mine: {media: media, annotations: media/captions.csv}}\nembeddings: {}\nsubsets: {}\n"
    (project / "params.yaml").write_text(place)
    return project


def clips():
    table = read_table(layout.table("mine", "clips"), CLIPS)
    return [(id, round(start_s, 3), round(stop_s, 3)) for id, start_s, stop_s in table.select(
        "clip_id", "start_s", "stop_s").iter_rows()]  # fmt: skip


def test_a_corpus_is_cut_at_shots_and_an_unchanged_video_is_not_decoded_again(corpus, monkeypatch, capsys):
    ingest("mine")
    said = capsys.readouterr()
    said = said.out + said.err
    assert [one[1:] for one in clips()] == [(0, 2), (2, 4), (4, 8), (0, 5), (5, 8)]
    assert [one[0] for one in clips()][:4] == ["a.mp4@0-2", "a.mp4@2-4", "a.mp4@4-8", "b.wav@0-5"]
    pairs = read_table(layout.table("mine", "pairs"), PAIRS)
    assert pairs["clip_id"].to_list() == ["a.mp4@0-2", "a.mp4@4-8", "b.wav@0-5"]
    assert "2 shot boundaries by PySceneDetect" in said and "1 medium without frames cut into windows" in said
    assert "PySceneDetect 0." in (read_note(layout.table("mine", "clips"), "shots") or "")
    before = layout.table("mine", "clips").read_bytes()

    def decoded(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(ShotFinder, "find", decoded)
    ingest("mine")
    assert layout.table("mine", "clips").read_bytes() == before
    (corpus / "configs/corpora/mine.yaml").write_text("clips_from: shots\nwindow_s: 5\nshots: {threshold: 20}\n")
    with pytest.raises(StrictStop, match="decoded again"):
        ingest("mine", strict=True)


def test_without_the_package_one_sentence_says_what_to_install(corpus, monkeypatch):
    monkeypatch.setattr("stages.ingest.shots.find_spec", lambda name: None)
    with pytest.raises(UserError, match="uv sync --extra shots"):
        ingest("mine")


def test_the_package_is_loaded_only_where_it_is_needed(corpus):
    code = "import sys, stages.command_line, stages.ingest.command; print(*({'scenedetect', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0 and done.stdout == "\n", done


def test_boundaries_of_a_video_that_changes_while_it_is_read_are_not_remembered(corpus, monkeypatch, capsys):
    found = ShotFinder.find

    def find(finder, source, info):
        boundaries_s = found(finder, source, info)
        with source.open("ab") as file:
            file.write(b"\0")
        return boundaries_s

    with monkeypatch.context() as patched:
        patched.setattr(ShotFinder, "find", find)
        ingest("mine", keep_going=True)
    assert all(id.startswith("b.wav") for id, _, _ in clips())
    assert "changed" in read_table(layout.problems("mine", "ingest"), PROBLEMS)["reason"][0]
    ingest("mine")
    assert len(clips()) == 5
