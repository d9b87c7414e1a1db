"""AVLnet's features against the original code: spectrograms, and picture features with the same filled weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled import resnet152, resnext101_3d
from numpy.lib.stride_tricks import sliding_window_view
from parity.fill import sine_mix

from pipeline.networks.avlnet_spectrogram import BandPower, emphasised, slaney_bands, torch_power
from stages.embed.encoders.avlnet_spectrogram import SpectrogramTower

FOLDER = Path(__file__).parent / "golden"
SPECTROGRAMS, PICTURES = np.load(FOLDER / "avlnet_loadaudio.npz"), np.load(FOLDER / "vfe.npz")
CPU = torch.device("cpu")


def spectrogram(samples, gain_db=0.0):
    tower = SpectrogramTower(CPU, gain_db)
    return tower.encode([tower.prepare(samples, bytes(16))])[0]


def sound(count):
    """So many samples of the known mix of sines, as they come out of the file of 16 bits that the original reads."""
    levels = np.floor(sine_mix(count, 16_000, 0).astype(np.float64) * 32_768)
    return levels.astype(np.float32) / 32_768


def test_a_short_clip_as_the_original_computes_it():
    golden = SPECTROGRAMS["loadaudio_short_raw1"].T
    ours = spectrogram(sound(23_457))
    assert ours.shape == golden.shape and ours.dtype == np.float32
    np.testing.assert_allclose(ours, golden, rtol=0, atol=1e-4)


def test_a_long_clip_at_both_ends():
    ours = spectrogram(sound(400_000))
    assert ours.shape == (2501, 40)
    np.testing.assert_allclose(ours[:100], SPECTROGRAMS["loadaudio_long_raw1_first100"].T, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours[-20:], SPECTROGRAMS["loadaudio_long_raw1_last20"].T, rtol=0, atol=1e-4)


def test_bands_far_below_the_loudest_are_exact_and_a_gpu_computes_the_same():
    times = np.arange(32_000) / 16_000
    fading = (0.9 * np.sin(2 * np.pi * 40 * times) * np.hanning(32_000)).astype(np.float32)
    samples, window, weights = emphasised(fading), np.hamming(400), slaney_bands()
    frames = sliding_window_view(samples, 400)[::160] * window
    exact = np.square(np.abs(np.fft.rfft(frames))) @ weights
    assert exact.max(1).max() / exact.min(1).min() > 1e14
    np.testing.assert_allclose(BandPower(window, weights)(samples), exact, rtol=1e-6)
    by_torch = torch_power(*map(torch.from_numpy, (samples, window, weights)))
    np.testing.assert_allclose(by_torch.numpy(), exact, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:n_fft=400 is too large")
@pytest.mark.parametrize("count", [1, 2, 159, 199, 201, 399, 400, 401, 5_281])
def test_clips_of_any_length_and_loudness_as_librosa_has_them(count):
    import librosa

    generator, at = np.random.default_rng(count), np.arange(count)
    noise, square = generator.standard_normal(count), np.where(at // 7 % 2, 32_767.0, -32_768.0)
    for samples in (noise, noise * 1e-41, noise * 1e15, square, np.full(count, 0.3), at == count // 2):
        samples = samples.astype(np.float32)
        centred = samples - samples.mean()
        emphasis = np.append(centred[0], centred[1:] - np.float32(0.97) * centred[:-1])
        power = librosa.feature.melspectrogram(
            y=emphasis,
            sr=16_000,
            n_fft=400,
            hop_length=160,
            window=np.hamming(400),
            pad_mode="reflect",
            n_mels=40,
            fmin=20,
        )
        expected = librosa.power_to_db(power, ref=np.max).T
        np.testing.assert_allclose(spectrogram(samples), expected, rtol=0, atol=1e-3)


def test_silence_is_at_0_db_and_nothing_at_all_counts_as_200_samples_of_it():
    assert spectrogram(np.zeros(5_000, np.float32)).tolist() == [[0.0] * 40] * 32
    assert spectrogram(np.zeros(0, np.float32)).tolist() == [[0.0] * 40] * 2


def test_a_gain_matters_to_soft_clips_alone():
    loud, soft = sound(16_000), sound(16_000) * np.float32(1e-4)
    np.testing.assert_allclose(spectrogram(loud, gain_db=-4), spectrogram(loud), rtol=0, atol=1e-3)
    difference = spectrogram(soft, gain_db=-4) - spectrogram(soft)
    assert 3.9 < difference.max() < 4.1


@pytest.mark.parametrize(("tower_of", "name", "recipe"), [
    (resnet152, "r152_224", lambda: np.random.default_rng(0).integers(0, 256, (3, 3, 224, 224))),
    (resnet152, "r152_224x298", lambda: np.random.default_rng(1).integers(0, 256, (2, 3, 224, 298))),
    (resnext101_3d, "rx101", lambda: np.random.default_rng(2).integers(0, 256, (19, 3, 112, 112))),
])  # fmt: skip
def test_pictures_as_the_original_describes_them(filled_folder, tower_of, name, recipe):
    pictures = recipe().astype(np.uint8).transpose(0, 2, 3, 1)
    (ours,) = tower_of.encoder(filled_folder).load_clip_tower(CPU).encode([pictures])
    golden = PICTURES[f"{name}_l2"]
    assert ours.shape == golden.shape
    np.testing.assert_allclose(ours, golden, rtol=0, atol=1e-5)
    raw = PICTURES[f"{name}_raw"]
    np.testing.assert_allclose(ours, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=0, atol=1e-5)
