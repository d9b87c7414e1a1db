"""Features through the stage's command: ragged artifacts, and none of the items that an encoder has no tower for."""

from pathlib import Path

import numpy as np
import pytest
from filled import resnext101_3d, word2vec
from media_samples import corner_frame, noise, write_media

from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline.config import layout
from stages.embed.command import embed
from stages.embed.encode_files import encode, open_encoder
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.ingest.init import init

LENGTHS_S = {"long": 2.0, "short": 0.5}


@pytest.fixture
def videos(project, filled_folder):
    """A corpus of two videos, and the two encoders with files in a place where there are some."""
    folder = project / "videos"
    folder.mkdir()
    for name, length_s in LENGTHS_S.items():
        write_media(
            folder / f"{name}.mp4",
            samples=noise(length_s, 16_000),
            sample_rate=16_000,
            frames=[corner_frame(128, 96)] * round(25 * length_s),
        )
    for name, family in (("word2vec", word2vec), ("resnext101-3d", resnext101_3d)):
        checkpoint = family.encoder(filled_folder).config.checkpoint
        (project / f"configs/encoders/{name}.yaml").write_text(f"family: {name}\ncheckpoint: {checkpoint}\n")
    init(folder, name="mine", captions=None, window=10.0)
    ingest("mine")
    extract_audio("mine")
    return folder


def embedded(encoder):
    """The one artifact of an encoder of features, after the command."""
    stale = layout.embeddings("mine", encoder, "captions" if encoder != "word2vec" else "clips")
    stale.mkdir(parents=True, exist_ok=True)  # an earlier version left an empty one there
    embed("mine", encoder, device="cpu")
    (path,) = stale.parent.iterdir()
    return open_artifact(path)


def test_spectrograms_are_ragged_rows_and_not_computed_twice(videos, capsys):
    clips = embedded("avlnet-spectrogram")
    assert clips.format.ragged and clips.format.dtype == "float32"
    frames = [len(row) for row in clips[:]]
    for length_s, count in zip(LENGTHS_S.values(), frames, strict=True):
        assert abs(count - 100 * length_s) <= 12  # AAC comes in blocks of 64 ms
    assert all(row.min() >= -80 and row.max() == 0 for row in clips[:])
    assert Path(clips.path).name == "clips.zarr"
    before = {path.name: path.read_bytes() for path in Path(clips.path).rglob("*") if path.is_file()}
    capsys.readouterr()
    again = embedded("avlnet-spectrogram")
    assert "2 rows wanted, 2 found in cache, 0 computed" in capsys.readouterr().out
    assert before == {path.name: path.read_bytes() for path in Path(again.path).rglob("*") if path.is_file()}


def test_words_are_ragged_rows_and_there_are_no_clips(videos):
    captions = embedded("word2vec")
    assert Path(captions.path).name == "captions.zarr" and len(captions) == 2
    assert [row.shape for row in captions[:]] == [(0, 300), (0, 300)]  # neither name has a vector in the small file


def test_pictures_are_ragged_rows_in_half_precision_and_the_same_without_a_cache(videos):
    clips = embedded("resnext101-3d")
    assert clips.format.dtype == "float16"
    assert [row.shape for row in clips[:]] == [(3, 2048), (1, 2048)]  # 48 and 12 pictures, 16 at a time
    np.testing.assert_allclose(np.linalg.norm(clips.numpy().astype(np.float32), axis=1), 1.0, atol=1e-3)
    encode("resnext101-3d", Path("out.npz"), video=[videos / one for one in clips.ids], device="cpu")
    with np.load("out.npz") as stored:
        np.testing.assert_allclose(stored["video"], clips.numpy(), atol=1e-3)
        assert stored["video_offsets"].tolist() == clips.offsets.tolist() == [0, 3, 4]


def test_a_side_that_is_missing_cannot_be_asked_for_without_a_cache(project):
    with pytest.raises(UserError, match="'avlnet-spectrogram' embeds no captions"):
        open_encoder("avlnet-spectrogram").captions(["a dog"])
