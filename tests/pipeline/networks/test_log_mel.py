"""The log-mel of checkpoints made with torchlibrosa, against torchlibrosa."""

import numpy as np
import pytest
import torch
from parity.fill import sine_mix
from torchlibrosa.stft import LogmelFilterBank, Spectrogram

from pipeline.networks.log_mel import LogMel, is_windowed_fourier


@pytest.fixture(scope="module", params=[(32_000, 320), (48_000, 480)], ids=["WavCaps", "LAION-CLAP"])
def theirs(request):
    rate, hop = request.param
    return Spectrogram(n_fft=1024, hop_length=hop), LogmelFilterBank(sr=rate, n_fft=1024, n_mels=64, fmin=50, fmax=14e3)


@pytest.fixture(scope="module")
def ours(theirs):
    return LogMel(theirs[1].melW, theirs[0].stft.hop_length)


def test_kernels_of_torchlibrosa_are_those_of_the_fft(theirs):
    stft = theirs[0].stft
    real, imaginary = stft.conv_real.weight, stft.conv_imag.weight
    assert is_windowed_fourier(real, imaginary)
    assert not is_windowed_fourier(real, -imaginary)
    assert not is_windowed_fourier(real * 1.001, imaginary)


@pytest.mark.parametrize("level", [1, 1e-3, 0])
@pytest.mark.parametrize("samples", [513, 4_000, 33_333])
def test_decibels_are_those_of_torchlibrosa(theirs, ours, samples, level):
    waveforms = torch.from_numpy(np.stack([sine_mix(samples, 32_000, seed) for seed in (0, 1)]) * np.float32(level))
    with torch.no_grad():
        expected = theirs[1](theirs[0](waveforms))[:, 0]
        torch.testing.assert_close(ours(waveforms), expected, rtol=0, atol=1e-3)
    if level == 0:
        assert (expected == -100).all()


def test_half_precision_around_it_changes_nothing(ours):
    waveforms = torch.from_numpy(sine_mix(4_000, 32_000)[None])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ours(waveforms)
    assert inside.dtype == torch.float32 and torch.equal(inside, ours(waveforms))
