import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from avlnet_samples import (
    AUDIO,
    CORPUS,
    FEATURES_2D,
    FEATURES_3D,
    PICTURE,
    VECTORS,
    WORDS,
    N,
    write_corpus,
    write_features,
)

from cache import tables
from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.checkpoints.weights import save_weights
from pipeline.config import layout
from pipeline.networks.avlnet import AvlNet, DaveNet
from pipeline.networks.avlnet_shape import Shape
from pipeline.runner.rows import pair_id
from stages.embed.command import embed as run_embed
from stages.embed.encoders.avlnet import RENAMED, AvlNetConfig, seen_frames

WIDTHS = (4, 4, 8, 8, 16)
MAX_FRAMES = 1024


@pytest.fixture
def corpus(project):
    return write_corpus()


def write_encoder(variant: str, seed: int = 0) -> None:
    torch.manual_seed(seed)
    net = AvlNet(Shape(variant, 8, 2 * PICTURE, WORDS, WIDTHS))
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
    save_weights(net, Path("net.pth"))
    words = "" if variant == "bi" else f"text: {VECTORS}\n"
    Path("configs/encoders/mine.yaml").write_text(
        f"family: avlnet\ncheckpoint: net.pth\nmax_frames: {MAX_FRAMES}\n{words}"
    )


def embed(**options) -> dict[str, dict[str, np.ndarray]]:
    """All sides: id -> row."""
    run_embed(CORPUS, "mine", **{"device": "cpu", "workers": 2, **options})
    found = {}
    for path in layout.embeddings(CORPUS, "mine", "any").parent.glob("*.zarr"):
        artifact = open_artifact(path)
        found[path.stem] = dict(zip(artifact.ids, artifact.numpy(), strict=True))
    return found


def straightforward(variant: str, clip: str, caption: str) -> dict[str, np.ndarray]:
    """The network on one clip, padded to the full length, as the authors run it."""
    from pipeline.networks.avlnet import load_avlnet

    def rows(encoder: str, modality: str, id: str) -> np.ndarray:
        artifact = open_artifact(layout.embeddings(CORPUS, encoder, modality))
        return artifact.row(artifact.ids.index(id)).astype(np.float32)

    def unit(row: np.ndarray) -> np.ndarray:
        return row / np.linalg.norm(row)

    spectrogram = rows(AUDIO, "clips", clip)
    sound = np.pad(spectrogram.T, ((0, 0), (0, MAX_FRAMES - len(spectrogram))))
    picture = np.concatenate([unit(rows(one, "clips", clip).max(axis=0)) for one in (FEATURES_2D, FEATURES_3D)])
    words = rows(VECTORS, "captions", caption)
    words = np.pad(words, ((0, 20 - len(words)), (0, 0)))
    inputs = [torch.from_numpy(one[None]) for one in (picture, sound, words)]
    inputs.insert(2, torch.tensor([len(spectrogram)]))
    net = load_avlnet(Path("net.pth"))
    with torch.no_grad():
        return dict(zip(net.shape.sides, (one[0].numpy() for one in net(*inputs)), strict=True))


@pytest.mark.parametrize("variant", ["bi", "tri", "fused"])
def test_rows_are_what_the_network_makes_of_the_features(corpus, variant):
    write_encoder(variant)
    found = embed()
    expected = straightforward(variant, "5.mp4", "c5")
    assert set(found) == set(expected)
    ids = {"sound": "5.mp4", "picture": "5.mp4", "text": "c5", "sound_text": pair_id("5.mp4", "c5")}
    for side, row in expected.items():
        np.testing.assert_allclose(found[side][ids[side]], row, rtol=1e-5, atol=1e-5)
    assert "0.mp4" not in found["picture"] and len(found["picture"]) == N - 1  # has no picture
    silent = pair_id(f"{N - 1}.mp4", f"c{N - 1}") if variant == "fused" else f"{N - 1}.mp4"
    heard = found["sound_text" if variant == "fused" else "sound"]
    assert silent not in heard and len(heard) == N - 1


def test_rows_do_not_depend_on_the_batch(corpus):
    write_encoder("tri")
    one = embed(batch_size=1)
    write_encoder("tri", seed=1)
    other = embed(batch_size=16)
    assert not np.allclose(one["sound"]["5.mp4"], other["sound"]["5.mp4"])  # other weights, other rows
    write_encoder("bi")
    assert set(embed()) == {"sound", "picture"}  # what a former variant left is gone
    assert len(open_artifact(layout.embeddings(CORPUS, "mine", "sound"))) == N - 1
    write_encoder("tri", seed=1)
    for path in Path(".hearonce/rows").glob("*"):
        shutil.rmtree(path)
    for side, rows in embed(batch_size=3, workers=1).items():
        for id, row in rows.items():
            np.testing.assert_allclose(row, other[side][id], rtol=1e-5, atol=1e-5)


def test_a_second_run_computes_nothing(corpus, capsys):
    write_encoder("bi")
    first = embed()
    capsys.readouterr()
    second = embed()
    assert capsys.readouterr().out.count(", 0 computed") == 2
    assert all(np.array_equal(first[side][id], row) for side, rows in second.items() for id, row in rows.items())


@pytest.mark.parametrize("variant", ["bi", "tri", "fused"])
def test_a_run_with_nothing_to_do_loads_no_network(corpus, variant):
    write_encoder(variant)
    embed()
    code = (
        "import sys\nfrom stages.embed.command import embed\n"
        f"embed({CORPUS!r}, 'mine', device='cpu')\nprint('torch' in sys.modules)"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout.count(", 0 computed") == len(Shape(variant).sides)
    assert again.stdout.endswith("False\n")


def test_other_weights_are_not_taken_for_those_that_were_embedded(corpus, capsys):
    write_encoder("bi")
    first = embed()
    write_encoder("bi", seed=1)
    capsys.readouterr()
    second = embed()
    assert ", 0 computed" not in capsys.readouterr().out
    assert not any(np.array_equal(first[side][id], row) for side, rows in second.items() for id, row in rows.items())


def write_more_captions(n: int) -> None:
    """n more captions of each clip, of another source, in another order than the clips."""
    clips = tables.read_table(layout.table(CORPUS, "clips"), tables.CLIPS)["clip_id"].to_list()
    captions = tables.read_table(layout.table(CORPUS, "captions"), tables.CAPTIONS)
    pairs = tables.read_table(layout.table(CORPUS, "pairs"), tables.PAIRS)
    more = [(f"m{k}:{clip}", clip) for k in range(n) for clip in clips]
    captions = captions.vstack(
        tables.table([{"caption_id": i, "text": i, "source": "more"} for i, _ in more], tables.CAPTIONS)
    )
    pairs = pairs.vstack(tables.table([{"clip_id": clip, "caption_id": i} for i, clip in more], tables.PAIRS))
    tables.write_table(captions, tables.CAPTIONS, layout.table(CORPUS, "captions"))
    tables.write_table(pairs, tables.PAIRS, layout.table(CORPUS, "pairs"))
    random = np.random.default_rng(0)
    rows = {one: random.standard_normal((5, WORDS)).astype(np.float32) for one in captions["caption_id"]}
    write_features(VECTORS, "captions", rows)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_trunk_runs_once_for_a_clip_however_many_texts_it_has(corpus, monkeypatch, batch_size):
    write_encoder("fused")
    write_more_captions(4)
    passes = []
    trunk = DaveNet.forward
    monkeypatch.setattr(DaveNet, "forward", lambda net, x: passes.append(len(x)) or trunk(net, x))
    found = embed(batch_size=batch_size, workers=3)["sound_text"]
    assert len(found) == 5 * (N - 1) and sum(passes) == N - 1
    for caption in ("c5", "m0:5.mp4", "m3:5.mp4"):
        row = straightforward("fused", "5.mp4", caption)["sound_text"]
        np.testing.assert_allclose(found[pair_id("5.mp4", caption)], row, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", ["tri", "fused"])
def test_only_texts_of_the_caption_sources_in_the_yaml_are_embedded(corpus, variant, capsys):
    write_encoder(variant)
    write_more_captions(2)
    side = "text" if variant == "tri" else "sound_text"
    heard = N - (variant == "fused")  # one clip is silent
    assert len(embed()[side]) == 3 * heard
    yaml = Path("configs/encoders/mine.yaml")
    options = yaml.read_text()
    for source, count in (("given", 1), ("more", 2)):
        yaml.write_text(f"{options}captions: [{source}]\n")
        capsys.readouterr()
        assert len(embed()[side]) == count * heard
        said = capsys.readouterr().out
        assert f"; texts of {source}\n" in said and said.count(", 0 computed") == len(said.splitlines())


def test_equal_weights_are_equal_bytes(corpus):
    """So that a training that is run again makes nothing after it run again."""
    write_encoder("bi")
    first = Path("net.pth").read_bytes()
    write_encoder("bi")
    assert Path("net.pth").read_bytes() == first


def test_one_yaml_serves_several_trainings(corpus, capsys):
    """`CONFIG@TRAINING`: other weights, other rows, artifacts of their own; equal weights, the same rows."""
    write_encoder("bi")
    for name in ("one", "other", "again"):
        if name == "other":
            write_encoder("bi", seed=1)
        layout.training(name).mkdir(parents=True)
        same = layout.training("one") / "model.pth" if name == "again" else "net.pth"
        shutil.copy(same, layout.training(name) / "model.pth")
    Path("net.pth").unlink()
    found, fingerprints = {}, {}
    for name in ("one", "other", "again"):
        run_embed(CORPUS, f"mine@{name}", device="cpu", workers=2)
        artifact = open_artifact(layout.embeddings(CORPUS, f"mine@{name}", "picture"))
        found[name] = artifact.numpy()
        fingerprints[name] = artifact.description["fingerprint"]
    assert not np.allclose(found["one"], found["other"])
    assert fingerprints["one"] != fingerprints["other"] and fingerprints["one"] == fingerprints["again"]
    assert np.array_equal(found["one"], found["again"])
    said = capsys.readouterr().out
    assert "mine@again" in said and ", 0 computed" in said.splitlines()[-1]
    with pytest.raises(UserError, match=r"data/trainings/none/model\.pth"):
        run_embed(CORPUS, "mine@none", device="cpu")


def test_a_training_describes_its_weights_as_an_encoder(corpus):
    """`data/trainings/TRAINING/encoder.yaml`, which a training writes, counts before `configs/encoders/CONFIG.yaml`."""
    write_encoder("bi")
    folder = layout.training("e3")
    folder.mkdir(parents=True)
    shutil.move("net.pth", folder / "model.pth")
    (folder / "encoder.yaml").write_text(
        f"family: avlnet\ncheckpoint: {folder}/model.pth\nmax_frames: {MAX_FRAMES}\naudio: {AUDIO}\n"
    )
    run_embed(CORPUS, "mine@e3", device="cpu")
    assert len(open_artifact(layout.embeddings(CORPUS, "mine@e3", "sound"))) == N - 1
    (folder / "encoder.yaml").write_text(f"family: avlnet\ncheckpoint: {folder}/model.pth\naudio: other\n")
    with pytest.raises(UserError, match=r"data/embeddings/mine/other/clips\.zarr"):
        run_embed(CORPUS, "mine@e3", device="cpu")


@pytest.mark.parametrize("key", RENAMED)
def test_keys_of_earlier_versions_name_their_successors(corpus, key):
    write_encoder("bi")
    yaml = Path("configs/encoders/mine.yaml")
    yaml.write_text(f"{yaml.read_text()}{key}: x\n")
    with pytest.raises(UserError, match=f"mine.yaml.*`{key}` is renamed to `{RENAMED[key]}`"):
        embed()


def test_padding_beyond_the_margin_is_left_out():
    assert seen_frames(100, 5120) == 528 and seen_frames(5000, 5120) == 5120 and seen_frames(10, 1000) == 1000


def test_mistakes_are_told_in_one_sentence(corpus):
    write_encoder("tri")
    Path("configs/encoders/mine.yaml").write_text("family: avlnet\ncheckpoint: net.pth\n")
    with pytest.raises(UserError, match=r"mine\.yaml: net\.pth is AVLnet-Text-Tri: name an encoder of word vectors"):
        embed()
    with pytest.raises(UserError, match="'yamnet-minilm', not 'avlnet'"):
        run_embed(CORPUS, "yamnet-minilm@training")


@pytest.mark.parametrize(
    ("side", "fingerprint"),
    [
        ("sound", "b402f7b17e60568b02f900ca92122fc7"),
        ("picture", "eaa0a1fa828f4459eb834baf7051f133"),
        ("text", "d5dc0829e2fed3b7960c58dbb67ee480"),
        ("sound_text", "099b32d5febac87dc56d47780b5febf2"),
    ],
)
def test_fingerprints_are_those_of_earlier_versions(project, side, fingerprint):
    Path("net.pth").write_bytes(b"weights")
    config = AvlNetConfig(family="avlnet", checkpoint=Path("net.pth"))
    assert fingerprint_of({**config.identity(side), "features": ["ab"]})[0] == fingerprint


def test_videos_are_searched_by_the_audio_of_a_clip(corpus):
    from hearonce.searching import search

    write_encoder("bi")
    found = embed()
    tables.write_table(tables.table([], tables.MEDIA), tables.MEDIA, layout.table(CORPUS, "media"))
    Path("params.yaml").write_text(
        f"corpora: {{{CORPUS}: {{media: media, annotations: media}}}}\nsubsets: {{}}\n"
        f"embeddings: {{a: {{corpus: {CORPUS}, encoder: mine, config: configs/encoders/mine.yaml, reads: media}}}}\n"
    )
    best = search(CORPUS, clip="5.mp4", encoders="mine@video", by="audio", top=3)
    query = found["sound"]["5.mp4"]
    cosines = {
        clip: row @ query / np.linalg.norm(row) / np.linalg.norm(query)
        for clip, row in found["picture"].items()
        if clip != "5.mp4"
    }
    assert best["clip_id"].to_list() == sorted(cosines, key=cosines.__getitem__, reverse=True)[:3]
    np.testing.assert_allclose(best["score"], sorted(cosines.values(), reverse=True)[:3], atol=1e-5)
