"""Whether somebody speaks in a clip, by Silero VAD, on real and made sounds."""

import json

import av
import numpy as np
import polars as pl
import pytest
import soundfile
import soxr
import torch
from conftest import REPOSITORY
from parity.fill import sine_mix

from cache import tables as schemas
from cache.errors import UserError
from pipeline.checkpoints.wheels import WeightsError, wheel_file
from pipeline.config import layout
from pipeline.config.subsets import read_subset
from pipeline.networks.silero import STEP, load_silero_vad
from stages.embed.command import embed
from stages.embed.encoders.silero_vad import speech_seconds
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.label.command import label, label_speech

MEDIA = REPOSITORY / "configs/corpora/demo/media"
SAID, NOT_SAID = "amazed-voice", ("crow", "small-bell", "breaking-glass")

LABELS = "labels: {{own: {{corpus: own, label: speech, encoder: silero-vad, least_share: {}}}}}\n"


@pytest.fixture(scope="module")
def weights():
    return wheel_file("silero_vad", "data/silero_vad.jit", "silero-vad")


@pytest.mark.parametrize("n_samples", [1, 511, 512, 513, 40_000])
def test_probabilities_are_those_of_the_published_module(weights, n_samples):
    published = torch.jit.load(weights).eval()
    samples = torch.from_numpy(sine_mix(n_samples, 16_000, seed=1))
    padded = torch.nn.functional.pad(samples, (0, -n_samples % STEP))
    with torch.no_grad():
        wanted = [published(window, 16_000).item() for window in padded.split(STEP)]
    found = load_silero_vad(weights).probabilities(samples)
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_long_sounds_are_heard_in_pieces_with_one_memory(weights, monkeypatch):
    net = load_silero_vad(weights)
    samples = torch.from_numpy(sine_mix(20_000, 16_000, seed=2))
    whole = net.probabilities(samples)
    monkeypatch.setattr("pipeline.networks.silero._WINDOWS_AT_ONCE", 7)
    np.testing.assert_allclose(net.probabilities(samples), whole, atol=2e-6)


@pytest.mark.parametrize(
    ("probabilities", "seconds"),
    [
        ([0.0] * 50, 0.0),
        ([0.0] * 10 + [0.9] * 20 + [0.0] * 20, 20 * 0.032),
        ([0.9] * 50, 1.6),
        ([0.0] * 10 + [0.9] * 7 + [0.0] * 33, 0.0),  # shorter than 0.25 s
        ([0.9] * 10 + [0.0] * 3 + [0.9] * 10 + [0.0] * 27, 23 * 0.032),  # a pause shorter than 0.1 s
        ([0.9] * 10 + [0.0] * 5 + [0.9] * 10 + [0.0] * 25, 20 * 0.032),
        ([0.9] * 10 + [0.4] * 20 + [0.0] * 20, 30 * 0.032),  # not 0.15 below the threshold
        ([0.4] * 50, 0.0),
    ],
)
def test_seconds_of_speech(probabilities, seconds):
    assert speech_seconds(np.array(probabilities), 50 * STEP, 0.5, 0.25, 0.1) == pytest.approx(seconds)


def test_seconds_agree_with_the_published_detector(weights):
    """`get_speech_timestamps` of silero-vad with its own network, without padding, on a voice and made sounds."""
    with av.open(str(MEDIA / f"{SAID}.mp4")) as container:
        frames = list(container.decode(audio=0))
    voice = np.concatenate([frame.to_ndarray().mean(0) for frame in frames]).astype(np.float32)
    clips = [soxr.resample(voice, frames[0].rate, 16_000), *(sine_mix(40_000 + n, 16_000, seed=n) for n in range(3))]
    clips.append(np.concatenate([clips[0], np.zeros(9_000, np.float32), clips[0] / 3]))
    published, ours = torch.jit.load(weights).eval(), load_silero_vad(weights)
    threads, seconds = torch.get_num_threads(), []
    for samples in clips:
        probabilities = ours.probabilities(torch.from_numpy(samples)).numpy()
        seconds.append(speech_seconds(probabilities, len(samples), 0.5, 0.25, 0.1))
    assert torch.get_num_threads() == threads  # which importing the package makes 1
    from silero_vad.utils_vad import get_speech_timestamps

    for samples, found in zip(clips, seconds, strict=True):
        stretches = get_speech_timestamps(torch.from_numpy(samples), published, speech_pad_ms=0)
        assert found == sum(one["end"] - one["start"] for one in stretches) / 16_000
    assert seconds[0] > 0.3 and seconds[4] > 0.3


def test_shares_become_subsets():
    seconds = np.array([[0.0, 2.0], [0.1, 2.0], [0.5, 2.0]], np.float32)
    assert label_speech(["a", "b", "c"], seconds, 0.0)["subset"].to_list() == ["sounds", "speech", "speech"]
    assert label_speech(["a", "b", "c"], seconds, 0.25)["subset"].to_list() == ["sounds", "sounds", "speech"]


def test_other_weights_are_refused(tmp_path):
    (tmp_path / "w.jit").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"w\.jit is not Silero VAD 6"):
        load_silero_vad(tmp_path / "w.jit")


def test_clips_of_own_videos_are_speech_or_sounds(project, tmp_path):
    """A voice of the demo, three of its other sounds, and made ones without any speech; the rows are found again."""
    media = tmp_path / "media"
    media.mkdir()
    for name in (SAID, *NOT_SAID):
        (media / f"{name}.mp4").write_bytes((MEDIA / f"{name}.mp4").read_bytes())
    soundfile.write(media / "noise.wav", np.random.default_rng(0).standard_normal(48_000) * 0.05, 16_000)
    soundfile.write(media / "tones.wav", sine_mix(48_000, 16_000, 3), 16_000)
    (project / "configs/corpora/own.yaml").write_text("captions_from: filename\nwindow_s: null\n")
    params = f"corpora: {{own: {{media: {media}, annotations: configs}}}}\nembeddings: {{}}\nsubsets: {{}}\n"
    (project / "params.yaml").write_text(params)
    (project / "configs/subsets/own").mkdir(parents=True)
    for name in ("speech", "sounds"):
        (project / f"configs/subsets/own/{name}.yaml").write_text(f"annotated: {name}\n")
    ingest("own")
    extract_audio("own")
    with pytest.raises(
        UserError,
        match=r"has no subset 'sounds' \(add `own-speech: \{corpus: own, label: speech, encoder: silero-vad\}`",
    ):
        read_subset("own", "sounds")
    with pytest.raises(UserError, match=r"no labels `speech` of 'own': add `own-speech: \{corpus: own, label: speech"):
        label("own", "speech")
    (project / "params.yaml").write_text(params + LABELS.format(0.1))
    embed("own", "silero-vad")
    label("own", "speech")
    assert read_subset("own", "speech") == {f"{SAID}.mp4"}
    assert read_subset("own", "sounds") == {*(f"{name}.mp4" for name in NOT_SAID), "noise.wav", "tones.wav"}
    table = schemas.read_table(layout.table("own", "speech"), schemas.SPEECH)
    counts = json.loads(layout.label_counts("own", "speech").read_text())
    assert counts == {"speech": 1, "sounds": len(NOT_SAID) + 2, "clips": len(NOT_SAID) + 3, "without_audio": 0}
    assert 0.3 < table.filter(pl.col("subset") == "speech")["speech_s"].item() < 1.7
    (project / "params.yaml").write_text(params + LABELS.format(0.9))
    label("own", "speech")
    with pytest.raises(UserError, match="no subset 'speech'"):
        read_subset("own", "speech")
