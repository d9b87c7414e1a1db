"""Encoders of `configs/encoders/` for files and texts at hand, without a corpus and without a cache."""

from __future__ import annotations

from typing import Any

from stages.embed.encode_files import OpenEncoder, open_encoder


def encoder(name: str, device: str | None = None, **options: Any) -> OpenEncoder:
    """Opens an encoder; its weights are loaded by the first call of a tower.

    Preparation and encoding are those of the `embed` stage, so that rows are equal to the cached ones.

    Args:
        name: of a YAML file in `configs/encoders/`, without suffix.
        device: `cpu`, `cuda`, `cuda:1`, ...; by default a GPU where there is one.
        **options: replace options of the YAML, for example `checkpoint="mine.pt"`.

    Returns:
        An encoder with `clips(files or (file, start, stop))` and `captions(texts)`, both of which give float32
        arrays (n, dim), or lists of arrays (frames, dim) where rows differ in length.

    Raises:
        UserError: there is no such encoder or option, or its checkpoint is missing.

    Example:
        >>> encoder = hearonce.encoder("yamnet-minilm")  # doctest: +SKIP
        >>> encoder.captions(["a dog barks"]) @ encoder.clips([("film.mp4", 2.0, 7.5)]).T  # doctest: +SKIP
    """
    return open_encoder(name, device, **options)
