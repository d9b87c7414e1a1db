"""Checkpoints of the real architectures with known weights, under the official names."""

from __future__ import annotations

from pathlib import Path

from filled import egovlp, laion_clap, wavcaps


def write_checkpoints(folder: Path) -> None:
    """Writes what `hearonce checkpoints fetch` would bring for A Sound Approach.

    The two fine-tuned WavCaps checkpoints are one file: their names decide the weights of a filled one.
    """
    folder.mkdir(parents=True)
    wavcaps.encoder(folder)
    (folder / "HTSAT-BERT-PT.pt").rename(folder / "HTSAT-BERT-FT-Clotho.pt")
    (folder / "HTSAT-BERT-FT-AudioCaps.pt").hardlink_to(folder / "HTSAT-BERT-FT-Clotho.pt")
    egovlp.encoder(folder)
    laion_clap.encoder(folder)
    (folder / "HTSAT-tiny-fusion-roberta-base.pt").rename(folder / "630k-audioset-fusion-best.pt")
