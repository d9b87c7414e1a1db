"""A made-up corpus as the reference's pickle and as our cache: the same numbers in both."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cache import tables
from cache.artifact import write_artifact
from cache.keys import caption_key
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.config import layout

CORPUS = "made-up"
VIDEO_DIM = 2048


def clips(n: int, frames: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Id, spectrogram (frames, 40), pooled 2D and 3D features of each clip; lengths vary as those of YouCook2 do."""
    random = np.random.default_rng(0)
    for i in range(n):
        length = int(random.uniform(0.3, 1.7) * frames)
        spectrogram = random.uniform(-80, 0, (length, 40)).astype(np.float32)
        flat, moving = random.standard_normal((2, VIDEO_DIM)).astype(np.float32)
        yield f"v{i}", spectrogram, flat, moving


def write_pickle(path: Path, n: int, frames: int) -> None:
    """The reference's file: a list of dictionaries, `audio` a tensor (40, frames)."""
    import torch

    data = [
        {"id": id, "2d": flat, "3d": moving, "audio": torch.from_numpy(np.ascontiguousarray(spectrogram.T))}
        for id, spectrogram, flat, moving in clips(n, frames)
    ]
    path.write_bytes(pickle.dumps(data, protocol=4))


def write_cache(n: int, frames: int, max_frames: int, options: dict[str, object]) -> None:
    """Our artifacts, the clips table and a training in the current folder."""
    kinds = {"avlnet-spectrogram": (40, 1), "resnet152": (VIDEO_DIM, 2), "resnext101-3d": (VIDEO_DIM, 3)}
    ids = [f"v{i}" for i in range(n)]
    for encoder, (dim, place) in kinds.items():
        fingerprint = encoder.encode().hex()[:32].ljust(32, "0")
        store = RowStore.ensure("rows", "clips", fingerprint, RowFormat(dim, ragged=True))
        with store.writer({}) as writer:
            for one in clips(n, frames):
                writer.add([caption_key(one[0])], [np.atleast_2d(one[place])])
        description = {"modality": "clips", "encoder": encoder, "fingerprint": fingerprint}
        keys = [caption_key(one) for one in ids]
        write_artifact(layout.embeddings(CORPUS, encoder, "clips"), ids, keys, store, description)
    rows = [
        {"clip_id": one, "media_id": one, "media_path": one, "media_digest": "", "start_s": 0.0, "stop_s": 1.0}
        for one in ids
    ]
    tables.write_table(tables.table(rows, tables.CLIPS), tables.CLIPS, layout.table(CORPUS, "clips"))
    folder = Path("configs/trainings") / CORPUS
    folder.mkdir(parents=True)
    given = {"corpus": CORPUS, "max_frames": max_frames, **options}
    (folder / "bench.yaml").write_text("".join(f"{key}: {value}\n" for key, value in given.items()))
    Path("params.yaml").write_text("corpora: {}\nembeddings: {}\nsubsets: {}\n")
