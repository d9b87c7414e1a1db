"""LAION-CLAP against the original code (audio_egovlp) and against `laion_clap` 1.1.7, with the same filled weights."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from filled import laion_clap, laion_clap_transformers
from parity.fill import sine_mix

from pipeline.checkpoints.weights import CheckpointError
from pipeline.networks import laion_clap as published
from pipeline.networks import laion_clap_package as package
from stages.embed.encoders.laion_clap import ENCODER, CaptionTower, ClipTower

FOLDER = Path(__file__).parent / "golden"
GOLDEN = np.load(FOLDER / "laion_clap_fusion.npz")
RECIPE = json.loads((FOLDER / "laion_clap_fusion.json").read_text())
BASE = published.text_config(None)
KEYS = json.loads((FOLDER / "keys_laion_clap_fusion.json").read_text())["keys"]
FAMILIES = {"published": laion_clap, "transformers": laion_clap_transformers}
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def networks(filled_folder):
    """The audio network by either loader."""
    made = {name: family.encoder(filled_folder).load_clip_tower(CPU)._network for name, family in FAMILIES.items()}
    return made


@pytest.fixture(scope="session")
def towers(networks):
    """Clip towers with other options over one loaded model."""

    def with_options(loader="published", **options):
        defaults = {"seed": 0, "fuse_short": True, "antialias": False, "quantise_int16": False}
        return ClipTower(networks[loader], **{**defaults, **options})

    return with_options


def views(tower, name, seed=0):
    """The golden clip `name` with the chunks that the original drew for it."""
    picks = iter(RECIPE[name]["picks_front_mid_back"])
    return tower.views(sine_mix(RECIPE[name]["n"], 48_000, seed), lambda positions: next(picks))


def agree(ours, golden, atol=1e-4):
    np.testing.assert_allclose(ours, golden, rtol=0, atol=atol)
    cosine = (ours * golden).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(golden, axis=-1)
    assert cosine.min() >= 0.9999


def test_every_official_key_is_there():
    expected = {key: shape for key, shape, _ in KEYS}
    assert {key: list(one.shape) for key, one in published.layout("HTSAT-tiny", True, BASE).items()} == expected
    model = package.build("HTSAT-tiny", True, BASE, text_is_wanted=False)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == expected


@pytest.mark.parametrize("fusion", [True, False])
@pytest.mark.parametrize("amodel", sorted(published.SIZES))
def test_sizes_and_scales_are_those_of_the_package(amodel, fusion):
    model = package.build(amodel, fusion, BASE, text_is_wanted=False)
    layout = published.layout(amodel, fusion, BASE)
    assert {key: value.shape for key, value in model.state_dict().items()} == {k: v.shape for k, v in layout.items()}
    scale = published.mel_scale(amodel, fusion)
    for name in ("sample_rate", "window_size", "hop_size", "mel_bins", "fmin", "fmax"):
        assert getattr(model.audio_cfg, name) == getattr(scale, name)
    assert model.audio_cfg.clip_samples == published.CLIP_SAMPLES


@pytest.mark.parametrize("fuse_short", [True, False])
def test_the_reference_loader_gives_the_same_rows(filled_folder, towers, fuse_short):
    ours = towers(fuse_short=fuse_short)
    reference = laion_clap.encoder(filled_folder, loader="package", fuse_short=fuse_short).load_clip_tower(CPU)
    clips = [views(ours, name) for name in ("4s", "14s")]
    np.testing.assert_allclose(reference.encode(clips), ours.encode(clips), rtol=0, atol=1e-5)


def test_captions_of_the_reference_loader_are_the_same(filled_folder, caption_tower):
    reference = laion_clap.encoder(filled_folder, loader="package").load_caption_tower(CPU)
    tokens = [caption_tower.prepare(text, bytes(16)) for text in ("a dog barks", "rain")]
    np.testing.assert_allclose(reference.encode(tokens), caption_tower.encode(tokens), rtol=0, atol=1e-6)


def test_the_fast_path_imports_nothing_of_the_package(filled_folder):
    config = laion_clap.encoder(filled_folder).config
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pipeline.networks.laion_clap import load_audio\n"
        "load_audio(Path(sys.argv[1]), 'HTSAT-tiny', True, None)\n"
        "print([name for name in sys.modules if name.startswith(('laion_clap', 'clap_module', 'torchlibrosa'))])"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(config.checkpoint)]
    done = subprocess.run(command, cwd=FOLDER.parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("loader", FAMILIES)
@pytest.mark.parametrize("name", ["3.3s", "4s", "10s", "10s+200", "10.02s", "14s", "25s"])
def test_a_clip_as_the_reference_embeds_it(towers, name, loader):
    tower = towers(loader)
    clip = views(tower, name)
    assert clip.longer == RECIPE[name]["longer"]
    agree(tower.encode([clip]), GOLDEN[f"audio_{name}"])


@pytest.mark.parametrize(("name", "loader"), [("14s", "published"), ("25s", "published"), ("25s", "transformers")])
def test_antialias_is_that_of_current_torchvision(towers, name, loader):
    tower = towers(loader, antialias=True)
    agree(tower.encode([views(tower, name)]), GOLDEN[f"audio_{name}_antialias1"])


@pytest.mark.parametrize("loader", FAMILIES)
def test_quantised_samples(towers, loader):
    tower = towers(loader, quantise_int16=True)
    agree(tower.encode([views(tower, "4s")]), GOLDEN["audio_4s_quantised"], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "loader"), [("4s", "published"), ("10s", "published"), ("14s", "published"), ("4s", "transformers")]
)
def test_a_clip_as_the_package_embeds_it(towers, name, loader):
    tower = towers(loader, fuse_short=False, quantise_int16=True)
    agree(tower.encode([views(tower, name)]), GOLDEN[f"pip_audio_{name}"])


def test_a_mixed_batch_of_the_reference(towers):
    tower = towers(fuse_short=False)  # beside a longer clip, the reference does not fuse the short ones either
    batch = [views(tower, "4s"), views(tower, "14s"), views(tower, "10s", seed=3)]
    agree(tower.encode(batch), GOLDEN["audio_batch_short_long_exact"])


@pytest.mark.parametrize("fuse_short", [True, False])
def test_a_row_does_not_depend_on_its_batch(towers, fuse_short):
    tower = towers(fuse_short=fuse_short)
    names = ["4s", "14s", "10s", "25s", "3.3s"]
    clips = [views(tower, name) for name in names]
    alone = np.concatenate([tower.encode([clip]) for clip in clips])
    short = [clip for clip in clips if not clip.longer]
    assert alone.dtype == np.float32 and alone.shape == (5, 512)
    np.testing.assert_allclose(tower.encode(clips), alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(tower.encode(clips[::-1]), alone[::-1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(tower.encode(short), alone[[not clip.longer for clip in clips]], rtol=0, atol=1e-5)
    assert np.abs(alone[0] - GOLDEN["audio_4s" if fuse_short else "pip_audio_4s"]).max() < 1e-4


def test_fusion_of_short_clips_is_no_small_matter(towers):
    fused, plain = towers(), towers(fuse_short=False)
    difference = np.abs(fused.encode([views(fused, "4s")]) - plain.encode([views(plain, "4s")])).max()
    assert difference == pytest.approx(RECIPE["pip_laion_clap"]["4s_pip_vs_ref_maxabs"], abs=1e-3)


@pytest.mark.parametrize("samples", [np.zeros(48_000, np.float32), np.ones(1, np.float32)], ids=["silence", "1 sample"])
def test_odd_clips_give_finite_unit_rows(towers, samples):
    tower = towers()
    row = tower.encode([tower.prepare(samples, bytes(16))])
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_chunks_depend_on_key_and_seed_alone(towers):
    samples = sine_mix(672_000, 48_000, 0)
    first = towers().prepare(samples, b"a" * 16)
    towers().prepare(samples, b"b" * 16)
    np.testing.assert_array_equal(towers().prepare(samples, b"a" * 16).mel, first.mel)
    for tower, key in ((towers(), b"b" * 16), (towers(seed=1), b"a" * 16)):
        assert not torch.equal(tower.prepare(samples, key).mel, first.mel)


@pytest.fixture(scope="session")
def caption_tower(filled_folder):
    return laion_clap.encoder(filled_folder).load_caption_tower(CPU)


def golden_captions_agree(tower):
    ids, mask = torch.from_numpy(GOLDEN["ids"]), torch.from_numpy(GOLDEN["mask"])
    agree(tower.encode_ids(ids, mask), GOLDEN["text"])
    agree(tower.encode([row[kept.bool()] for row, kept in zip(ids, mask, strict=True)]), GOLDEN["text"])
    return ids, mask


def test_captions_as_the_reference_embeds_them(caption_tower):
    golden_captions_agree(caption_tower)


def test_captions_through_transformers(filled_folder):
    tower = laion_clap_transformers.encoder(filled_folder, layer_norm_eps=1e-5).load_caption_tower(CPU)
    ids, mask = golden_captions_agree(tower)
    branch = tower._network.branch
    for norm in (layer for layer in branch.modules() if isinstance(layer, torch.nn.LayerNorm)):
        norm.eps = 1e-12  # what the configurations on the hub say
    moved = np.abs(tower.encode_ids(ids, mask) - GOLDEN["text"]).max()
    assert moved == pytest.approx(RECIPE["transformers_ClapModel"]["text_maxabs"], rel=0.05)


def test_a_caption_does_not_depend_on_its_batch(caption_tower):
    texts = ["a dog", "", "rain falls on a tin roof while somebody whistles, far away", "naïve 犬"]
    prepared = [caption_tower.prepare(text, bytes(16)) for text in texts]
    assert prepared[1].tolist() == [0, 2]
    alone = np.concatenate([caption_tower.encode([tokens]) for tokens in prepared])
    np.testing.assert_allclose(caption_tower.encode(prepared), alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)


def test_a_very_long_caption_is_cut(caption_tower):
    tokens = caption_tower.prepare("a" * 3000, bytes(16))
    assert len(tokens) == 512 and tokens[-1] == 2
    assert np.isfinite(caption_tower.encode([tokens])).all()


def test_a_tokenizer_of_another_model_is_refused(caption_tower):
    class Other:
        bos_token_id, pad_token_id, eos_token_id = 101, 0, 102

        def __len__(self):
            return 30522

    with pytest.raises(CheckpointError, match="use the files of roberta-base"):
        CaptionTower(caption_tower._network, Other(), 512)


def test_a_checkpoint_of_another_architecture_lists_its_keys(filled_folder):
    config = laion_clap.encoder(filled_folder).config
    encoder = ENCODER(config.model_copy(update={"fusion": False}))
    with pytest.raises(CheckpointError, match="not a checkpoint of LAION-CLAP HTSAT-tiny without fusion") as caught:
        encoder.load_clip_tower(CPU)
    extra = [key for key, _, _ in KEYS if "mel_conv2d" in key or "fusion_model" in key]
    branches = (f"audio_branch.patch_embed.{name}.*" for name in ("mel_conv2d", "fusion_model"))
    counted = [f"  {one} ({sum(key.startswith(one[:-1]) for key in extra)} keys)" for one in branches]
    assert str(caught.value).splitlines()[1:] == [f"{len(extra)} unexpected:", *counted]
    with pytest.raises(CheckpointError, match="of another shape"):
        ENCODER(config.model_copy(update={"amodel": "HTSAT-base"})).load_clip_tower(CPU)


def test_a_truncated_checkpoint(filled_folder, tmp_path):
    config = laion_clap.encoder(filled_folder).config
    path = tmp_path / "cut.pt"
    with open(config.checkpoint, "rb") as whole:
        path.write_bytes(whole.read(1_000_000))
    with pytest.raises(CheckpointError, match=r"cut\.pt is cut short or damaged"):
        ENCODER(config.model_copy(update={"checkpoint": str(path)})).load_clip_tower(CPU)
