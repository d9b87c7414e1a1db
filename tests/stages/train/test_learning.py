"""Learning is real: a network from scratch on the audio and frames of the demo corpus finds its clips again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from avlnet_samples import write_features

from cache import tables
from pipeline.config import layout
from pipeline.media.frames import middle_times, read_frames
from stages.embed.command import embed
from stages.extract_audio.command import extract_audio
from stages.ingest.command import ingest
from stages.train.command import train

REPOSITORY = Path(__file__).parents[3]
SIDE = 16
PICTURES = 4


@pytest.fixture
def demo(project):
    """The demo corpus with AVLnet's spectrograms, and small pictures in place of those of the large networks."""
    media = "configs/corpora/demo/media"
    shutil.copytree(REPOSITORY / media, media, dirs_exist_ok=True)
    shutil.copy(REPOSITORY / "params.yaml", "params.yaml")
    ingest("demo", keep_going=True)
    extract_audio("demo", keep_going=True)
    embed("demo", "features/avlnet-spectrogram", keep_going=True, device="cpu", workers=2)
    clips = tables.read_table(layout.table("demo", "clips"), tables.CLIPS).to_dicts()
    pictures = {one["clip_id"]: small_pictures(Path(media) / one["media_path"], one) for one in clips}
    write_features("pixels", "clips", pictures, corpus="demo")
    changes = {id: np.abs(np.diff(rows, axis=0)) for id, rows in pictures.items()}
    write_features("changes", "clips", changes, corpus="demo")
    return len(clips)


def small_pictures(path: Path, clip: dict) -> np.ndarray:
    """(PICTURES, SIDE * SIDE * 3)."""
    times = middle_times(clip["start_s"], clip["stop_s"], PICTURES)
    frames = np.stack([picture for _, picture in read_frames(path, times)])
    rows = np.linspace(0, frames.shape[1] - 1, SIDE).astype(int)
    columns = np.linspace(0, frames.shape[2] - 1, SIDE).astype(int)
    return frames[:, rows][:, :, columns].reshape(PICTURES, -1).astype(np.float32) / 255


def test_retrieval_on_the_training_clips_rises_far_above_chance(demo):
    folder = Path("configs/trainings/demo")
    folder.mkdir(parents=True)
    Path("configs/subsets/demo/everything.yaml").write_text("where: duration_s > 0\n")
    (folder / "small.yaml").write_text(
        "corpus: demo\nfeatures_2d: pixels\nfeatures_3d: changes\nevaluate_on: everything\ndim: 128\n"
        "audio_widths: [8, 8, 16, 32, 64]\nmax_frames: 160\nbatch_size: 29\nepochs: 60\nlr: 0.002\n"
    )
    train("small", device="cpu", workers=2, processes=1, save_every=600.0)
    live = layout.training("small") / "live/plots/metrics"
    recall = np.genfromtxt(live / "evaluation/sound_to_picture/R@1.tsv", skip_header=1)[:, 1]
    loss = np.genfromtxt(live / "train/loss.tsv", skip_header=1)[:, 1]
    chance = 100 / demo
    assert recall[0] <= 5 * chance and recall[-10:].mean() >= 15 * chance  # here 3.4 %, then 53 to 65 %
    assert loss[-10:].mean() < loss[0] / 3
