"""One-off use gives what the stages give."""

from pathlib import Path

import numpy as np
import pytest
from media_samples import numbered_frames, tone, write_media
from PIL import Image

from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline.config import layout
from pipeline.media.frames import read_frames
from stages.embed.command import embed
from stages.embed.encode_files import encode, open_encoder
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.ingest.init import init

TEXTS = ["a steady tone", "silence"]


@pytest.fixture
def videos(project):
    folder = project / "videos"
    folder.mkdir()
    for name, hertz in (("a steady tone", 300.0), ("silence", 0.0)):
        samples = tone(1.5, 22050, hertz, channels=2)
        write_media(folder / f"{name}.mp4", samples=samples, sample_rate=22050, frames=numbered_frames(40))
    init(folder, name="mine", captions=None, window=10.0)
    ingest("mine")
    extract_audio("mine")
    return folder


@pytest.mark.parametrize("encoder", ["yamnet-minilm", "efficientnet-minilm"])
def test_files_and_stages_give_the_same_embeddings(videos, encoder):
    embed("mine", encoder, device="cpu")
    clips = open_artifact(layout.embeddings("mine", encoder, "clips"))
    captions = open_artifact(layout.embeddings("mine", encoder, "captions"))
    option = "audio" if encoder == "yamnet-minilm" else "video"
    encode(encoder, Path("out/emb.npz"), text=TEXTS, device="cpu", **{option: [videos / one for one in clips.ids]})
    with np.load("out/emb.npz") as stored:
        np.testing.assert_allclose(stored[option], clips.numpy(), atol=1e-5)
        np.testing.assert_allclose(stored["text"], captions.numpy(), atol=1e-5)
        assert stored["text_names"].tolist() == TEXTS
        assert stored[option].shape == (2, 384)


def test_from_python_in_three_lines(videos):
    encoder = open_encoder("yamnet-minilm", device="cpu")
    similarity = encoder.captions(["a dog barks"]) @ encoder.clips([videos / "silence.mp4"]).T
    assert similarity.shape == (1, 1)
    assert encoder.clips([]).shape == encoder.captions([]).shape == (0, 384)


def test_segments_of_files(videos):
    encoder, file = open_encoder("yamnet-minilm", device="cpu"), videos / "a steady tone.mp4"
    with pytest.raises(UserError, match=r"a steady tone\.mp4: no segment from 1\.0 s to 9\.0 s: it lasts 1\.\d{3} s"):
        encoder.clips([(file, 1.0, 9.0)])
    samples = np.concatenate([tone(2, 16000, 300.0), tone(2, 16000, 0.0)])
    write_media(videos / "half.wav", samples=samples, sample_rate=16000)
    half = videos / "half.wav"
    first, again, second, whole = encoder.clips([(half, 0.0, 2.0), (half, 0.0, 2.0), (half, 2.0, 4.0), half])
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 1e-2 and np.abs(first - whole).max() > 1e-3
    np.testing.assert_array_equal(encoder.clips([(half, 0.0, 4.0)])[0], whole)
    with pytest.raises(UserError, match="a folder of frames has no seconds"):
        Path("film").mkdir()
        for number in range(30):
            Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(f"film/frame_{number + 1:010d}.png")
        open_encoder("efficientnet-minilm", device="cpu").clips([("film", 0.0, 1.0)])


def test_a_folder_of_frames_is_the_video_it_was_made_from(project):
    film = write_media(Path("film.mkv"), frames=numbered_frames(40), video_codec="ffv1", pixel_format="bgr0")
    Path("film").mkdir()
    for index, image in read_frames(film, [number / 25 for number in range(40)]):
        Image.fromarray(image).save(f"film/frame_{index + 1:010d}.png")
    rows = open_encoder("efficientnet-minilm", device="cpu").clips([film, "film"])
    np.testing.assert_allclose(rows[1], rows[0], rtol=0, atol=1e-6)


def test_mistakes_are_named(videos):
    with pytest.raises(UserError, match="Nothing to encode"):
        encode("yamnet-minilm", Path("emb.npz"))
    with pytest.raises(UserError, match="has no option 'checkpoint'"):
        encode("yamnet-minilm", Path("emb.npz"), text=["x"], checkpoint=Path("x.pt"))
    write_media(videos / "mute.mp4", frames=numbered_frames(10))
    write_media(videos / "blind.wav", samples=tone(1, 16000), sample_rate=16000)
    with pytest.raises(UserError, match=r"mute\.mp4: no audio track\."):
        encode("yamnet-minilm", Path("emb.npz"), video=[videos / "mute.mp4"], device="cpu")
    with pytest.raises(UserError, match=r"blind\.wav: no video track\."):
        encode("efficientnet-minilm", Path("emb.npz"), audio=[videos / "blind.wav"], device="cpu")
    with pytest.raises(UserError, match=r"none\.wav: file not found"):
        encode("yamnet-minilm", Path("emb.npz"), audio=[videos / "none.wav"], device="cpu")
    with pytest.raises(UserError, match="Device 'cuda:99' cannot be used"):
        encode("yamnet-minilm", Path("emb.npz"), text=["x"], device="cuda:99")
    assert not Path("emb.npz").exists()
    with pytest.raises(UserError, match="videos is a folder: name the NPZ file"):
        encode("yamnet-minilm", videos, text=["x"], device="cpu")
    assert (videos / "silence.mp4").is_file()
