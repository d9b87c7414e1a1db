"""Stretches of HowTo100M, against the authors' loader on the files of `howto100m_samples` (numpy seeded with 7 + i).

The golden file holds the picture features, the frame counts, the words (as numbers of `vocabulary`, from 1 on) and
sums of the spectrograms over mels.
"""

from pathlib import Path

import numpy as np
import pytest
from filled.word2vec import write_vectors
from howto100m_samples import CAPTIONS, PATHS, build

from pipeline.formats.word_vectors import open_vectors
from pipeline.networks.avlnet_inputs import padded_words
from stages.train.howto100m import HowTo100M, read_paths
from stages.train.speech_captions import SpeechCaptions

GOLDEN = np.load(Path(__file__).parent / "golden" / "howto100m.npz")


class AuthorsDraws:
    """The draws of `numpy.random.choice` after a global seed."""

    def __init__(self, seed):
        self.state = np.random.RandomState(seed)

    def integers(self, low, high, n):
        return self.state.choice(range(low, high), n, replace=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("howto100m")
    build(root)
    captions = {id: SpeechCaptions(one["start"], one["end"], one["text"]) for id, one in CAPTIONS.items()}
    return HowTo100M(read_paths(root / "paths.csv"), root / "features", root / "sounds", captions)


def check(name, i, found):
    golden = {key: GOLDEN[f"{name}.{i}.{key}"] for key in ("video", "nframes", "audio_sum", "audio_frames")}
    np.testing.assert_allclose(found.video, golden["video"], atol=1e-6)
    np.testing.assert_array_equal(found.n_frames, golden["nframes"])
    sounds = found.audio.astype(np.float64)
    np.testing.assert_array_equal(sounds.sum(axis=2)[:, ::8], golden["audio_sum"])
    np.testing.assert_array_equal(sounds[..., ::10].sum(axis=2), golden["audio_frames"])


@pytest.mark.parametrize("i", range(len(PATHS)))
def test_random_windows(videos, i):
    found = videos.random_windows(i, 8, 300, AuthorsDraws(7 + i))
    check("windows", i, found)
    assert found.words is None


@pytest.mark.parametrize("i", range(len(PATHS)))
def test_speech_captions(videos, i, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = videos.speech_segments(i, 8, 900, 8.0, AuthorsDraws(7 + i), as_reference=True)
    check("spoken", i, found)
    numbers = np.arange(1, 1 + len(GOLDEN["vocabulary"]))[:, None]
    vectors = open_vectors(write_vectors(Path("v.bin"), words=GOLDEN["vocabulary"], rows=numbers))
    items = [padded_words(vectors.of(words), 12)[:, 0] for words in found.words]
    np.testing.assert_array_equal(items, GOLDEN[f"spoken.{i}.text"])


def test_a_stretch_from_the_very_start_has_its_sound_unless_the_authors_rule_is_asked_for(videos):
    reference = videos.speech_segments(0, 8, 900, 8.0, AuthorsDraws(7), as_reference=True)
    ours = videos.speech_segments(0, 8, 900, 8.0, AuthorsDraws(7))
    lost = reference.n_frames == 0
    assert 0 < lost.sum() < 8
    np.testing.assert_array_equal(ours.n_frames[~lost], reference.n_frames[~lost])
    assert (ours.n_frames[lost] >= 800).all()
