"""Training on the files that AVLnet's authors describe for HowTo100M, in their format."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from avlnet_samples import CORPUS, evaluations, run, write_corpus, write_training
from avlnet_samples import VECTORS as WORD_ENCODER
from filled.word2vec import write_vectors

from cache.errors import UserError
from pipeline.config import layout
from pipeline.networks.avlnet import load_avlnet
from stages.train.batches import draws
from stages.train.command import identity
from stages.train.config import load_training
from stages.train.howto100m import HowTo100M, WindowedVideos
from stages.train.speech_captions import SpeechCaptions

VIDEOS = [f"cooking/video_{i}/v{i}" for i in range(9)]
SECONDS = 12
WORDS = [f"word{i}" for i in range(len(VIDEOS))]
VECTORS = np.random.default_rng(1).standard_normal((len(WORDS), 11)).astype(np.float32)
WINDOWS = "{frames: 96, per_clip: 2}"
SPOKEN = "{frames: 96, per_clip: 2, least_s: 0.8}"
FILES = "{paths: paths.csv, features: features}"
TEXT_FILES = "{paths: paths.csv, features: features, captions: caption.pickle, vectors: vectors.bin}"


@pytest.fixture
def videos(project):
    """Videos whose sound, picture and words tell which one it is; the last one has no captions."""
    Path("paths.csv").write_text("path\n" + "".join(f"{one}\n" for one in VIDEOS))
    random = np.random.default_rng(0)
    captions = {}
    for i, one in enumerate(VIDEOS):
        folder = Path("features") / one
        folder.mkdir(parents=True)
        spectrogram = random.uniform(-80, 0, (40, 1)) + random.standard_normal((40, 100 * SECONDS))
        arrays = {
            "2d": ("features", random.standard_normal(2048) + 0.1 * random.standard_normal((SECONDS, 2048))),
            "3d": ("features", random.standard_normal(2048) + 0.1 * random.standard_normal((18, 2048))),
            "spec": ("arr_0", spectrogram),
        }
        for kind, (name, values) in arrays.items():
            np.savez(folder / f"{folder.name}_{kind}.npz", **{name: values.astype(np.float16)})
        starts = np.sort(random.uniform(0, SECONDS - 2, 5))
        captions[folder.name] = {
            "start": starts.tolist(),
            "end": (starts + random.uniform(0.2, 2, 5)).tolist(),
            "text": [text.format(WORDS[i]) for text in ("well, {}", "{}", "{} unheard-of", "a {}!", "{0} {0}")],
        }
    captions["v8"] = {"start": [], "end": [], "text": []}
    Path("caption.pickle").write_bytes(pickle.dumps(captions))
    write_vectors(Path("vectors.bin"), words=WORDS, rows=VECTORS)
    return captions


def test_random_windows(videos):
    write_training(files=FILES, windows=WINDOWS, batch_size=4, epochs=1)
    curve, _ = run()
    assert len(curve) == 2 and all(loss > 0 for loss in curve)


@pytest.mark.parametrize("variant", ["tri", "fused"])
def test_stretches_around_captions(videos, variant, capsys):
    write_training(
        files=TEXT_FILES, windows=SPOKEN, variant=variant, batch_size=4, epochs=12, lr=3e-2, lr_decay=1.0, accumulate=2
    )
    curve, _ = run()
    assert len(curve) == 12 * 2 and sum(curve[-2:]) < 0.9 * sum(curve[:2])
    shape = load_avlnet(layout.training("small") / "model.pth").shape
    assert (shape.variant, shape.word_dim) == (variant, 11)
    assert "1 videos without captions left out" in capsys.readouterr().out


def test_items_are_those_of_the_reader_with_vectors_of_the_words(videos):
    write_training(files=TEXT_FILES, windows=SPOKEN, variant="tri", max_words=2)
    config = load_training("small")
    features = WindowedVideos(config.files, config)
    assert features.clip_ids == VIDEOS[:-1]
    captions = {id: SpeechCaptions(one["start"], one["end"], one["text"]) for id, one in videos.items()}
    reader = HowTo100M(VIDEOS, Path("features"), None, captions)
    for i in range(2):
        expected = reader.speech_segments(i, 2, 96, 0.8, draws(1, 0, i))
        found = features.training_items(i, draws(1, 0, i))
        np.testing.assert_array_equal([item.video for item in found], expected.video)
        np.testing.assert_array_equal([item.audio.frames for item in found], expected.audio)
        for item, words in zip(found, expected.words, strict=True):
            known = [VECTORS[WORDS.index(word)] for word in words if word in WORDS]
            assert known
            np.testing.assert_array_equal(item.text, ([*known, np.zeros(11)] if len(known) == 1 else known)[:2])


def test_captions_are_imported_once_and_decide_the_training(videos):
    write_training(files=TEXT_FILES, windows=SPOKEN, variant="tri")
    config = load_training("small")
    first = identity(config, WindowedVideos(config.files, config))
    (imported,) = Path(".hearonce/captions").iterdir()
    made = imported.stat().st_mtime_ns, imported.stat().st_ino
    assert identity(config, WindowedVideos(config.files, config)) == first
    assert (imported.stat().st_mtime_ns, imported.stat().st_ino) == made
    Path("caption.pickle").write_bytes(pickle.dumps({**videos, "v1": videos["v0"]}))
    assert identity(config, WindowedVideos(config.files, config)) != first
    assert len(list(Path(".hearonce/captions").iterdir())) == 2


@pytest.mark.parametrize("variant", ["bi", "fused"])
def test_evaluation_on_clips_of_a_corpus(videos, variant):
    clips = write_corpus(picture=2048, words=11)
    subset = Path("configs/subsets") / CORPUS / "some.yaml"
    subset.parent.mkdir()
    subset.write_text(f"clips: {clips[4:16]}\n")
    text = {} if variant == "bi" else {"variant": variant, "text": WORD_ENCODER}
    files = {"files": FILES, "windows": WINDOWS} if variant == "bi" else {"files": TEXT_FILES, "windows": SPOKEN}
    write_training("videos", evaluate_on="some", batch_size=4, epochs=2, **text, **files)
    _, metrics = run("videos")
    assert all(set(one) == {"R@1", "R@5", "R@10", "MedR"} for one in metrics["evaluation"].values())
    write_training("clips", evaluate_on="some", start=layout.training("videos") / "model.pth", epochs=1, **text)
    run("clips")
    before, between, after = evaluations("videos")
    assert len({tuple(one) for one in (before, between, after)}) > 1
    assert after == evaluations("clips")[0]
    write_training("videos", evaluate_on="sme", batch_size=4, **text, **files)
    with pytest.raises(UserError, match="did you mean 'some'"):
        run("videos")
    write_training(
        "videos", evaluate_on="some", features_3d="features/avlnet-spectrogram", batch_size=4, **text, **files
    )
    with pytest.raises(UserError, match="video features of length 2088, those to train on of 4096"):
        run("videos")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"files": FILES, "variant": "tri", "windows": SPOKEN}, "variant tri needs files.captions"),
        ({"files": TEXT_FILES, "windows": SPOKEN}, "variant bi takes no files.captions"),
        ({"files": TEXT_FILES, "variant": "fused", "windows": WINDOWS}, "variant fused needs windows.least_s"),
        ({"files": FILES, "windows": SPOKEN.replace("0.8", "0")}, "variant bi takes no windows.least_s"),
        ({"windows": SPOKEN}, "windows with least_s are of the captions of files: leave out least_s"),
        ({"files": TEXT_FILES, "variant": "tri", "windows": SPOKEN, "text": "word2vec"}, "leave out text"),
        ({"files": FILES, "windows": WINDOWS, "train_on": "some"}, "train_on left out"),
        ({"files": TEXT_FILES, "variant": "tri", "windows": SPOKEN, "evaluate_on": "some"}, "give text"),
        ({"files": TEXT_FILES}, "windows must be given"),
        (
            {"files": TEXT_FILES.replace("caption.p", "none.p"), "variant": "tri", "windows": SPOKEN},
            "none.pickle is missing: take HowTo100M's caption.pickle",
        ),
        (
            {"files": TEXT_FILES.replace("vectors.bin", "paths.csv"), "variant": "tri", "windows": SPOKEN},
            "paths.csv is no file of word vectors",
        ),
        (
            {"files": TEXT_FILES.replace("caption.pickle", "vectors.bin"), "variant": "tri", "windows": SPOKEN},
            "vectors.bin cannot be read",
        ),
    ],
)
def test_mistakes_are_told_in_one_sentence(videos, options, sentence):
    write_training(batch_size=4, **options)
    with pytest.raises(UserError) as error:
        run()
    assert sentence in str(error.value)


def test_the_published_trainings_are_read(project):
    for name, numbers in {"tri": (256, 15, 2.5e-4, 6144, 800, 8.0), "fused": (64, 15, 1e-4, 4096, 1000, 10.0)}.items():
        config = load_training(f"howto100m-{name}")
        windows = config.windows
        assert (config.variant, windows.per_clip) == (name, 32)
        shape = (config.batch_size, config.epochs, config.lr, config.dim)
        assert (*shape, windows.frames, windows.least_s) == numbers
