"""The encoder family `avlnet-spectrogram`, which has no weights."""

from pathlib import Path

from stages.embed.encoders.avlnet_spectrogram import ENCODER, AVLnetSpectrogram, Config


def encoder(folder: Path, **options: object) -> AVLnetSpectrogram:
    """The encoder."""
    return ENCODER(Config(family="avlnet-spectrogram", **options))
