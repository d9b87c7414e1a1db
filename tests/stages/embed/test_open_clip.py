"""The family `open-clip` against the package's own models, transforms and tokenizers."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import open_clip
import open_clip.pretrained
import pytest
import torch
from filled import open_clip as filled
from filled import roberta_files
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from cache.errors import UserError
from pipeline.checkpoints import open_clip as files
from pipeline.checkpoints.fingerprints import fingerprint_of

CPU = torch.device("cpu")
TEXTS = ["A dog BARKS!", "the  rain on a roof, an onion.", "rain " * 100, ""]
SIGLIP = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "squash"}
NAMES = {
    "ViT-B-32": {},
    "ViT-B-32-quickgelu": {"interpolation": "bilinear", "resize_mode": "longest", "fill_color": 128},
    "RN50": {},
    "coca_ViT-B-32": {},
    "EVA02-B-16": {},
    "ViT-B-16-SigLIP": SIGLIP,
    "convnext_base": {"mean": [0.1, 0.2, 0.3]},
    "roberta-ViT-B-32": {},
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Writes the folder of a model once."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            settings = filled.settings_of(name)
            if "hf_model_name" in settings["text_cfg"]:
                text = roberta_files.write(made[name] / "text", num_hidden_layers=1, vocab_size=400)
                roberta_files.write(made[name], num_hidden_layers=1, vocab_size=400)
                settings["text_cfg"].update(hf_model_name=str(text), hf_tokenizer_name=str(text))
            filled.write(made[name], settings, NAMES[name])
        return made[name]

    return folder


def pictures(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


CLIPS = [pictures((2, 190, 270, 3)), pictures((1, 300, 60, 3), 1), pictures((3, 32, 32, 3), 2)]


def expected(model, transform, tokenizer):
    """(clips, captions) of the package's own encode_image and encode_text."""
    with torch.no_grad():
        frames = [model.encode_image(torch.stack([transform(Image.fromarray(one)) for one in clip])) for clip in CLIPS]
        captions = model.encode_text(tokenizer(TEXTS))
    clips = torch.stack([normalize(normalize(one, dim=-1).mean(0), dim=0) for one in frames])
    return clips.numpy(), normalize(captions, dim=-1).numpy()


def rows(encoder):
    tower, text = encoder.load_clip_tower(CPU), encoder.load_caption_tower(CPU)
    clips = tower.encode([tower.prepare(clip, b"") for clip in CLIPS])
    return clips, text.encode([text.prepare(one, b"") for one in TEXTS])


@pytest.mark.parametrize("name", NAMES)
def test_rows_equal_those_of_the_package(folder_of, name):
    folder = folder_of(name)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    clips, captions = rows(filled.of(folder, dim=_dim(folder)))
    wanted = expected(model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}"))
    np.testing.assert_allclose(clips, wanted[0], atol=1e-5)
    np.testing.assert_allclose(captions, wanted[1], atol=1e-5)
    assert np.abs(clips[0] - clips[1]).max() > 1e-3 and np.abs(captions[0] - captions[1]).max() > 1e-3


def test_tokens_after_the_end_of_a_caption_are_not_computed(folder_of):
    tower, lengths = filled.of(folder_of("ViT-B-32")).load_caption_tower(CPU), []
    tower.networks[0].register_forward_hook(lambda module, given, row: lengths.append(given[0].shape[1]))
    tokens = [tower.prepare(text, b"") for text in ("a dog", "rain " * 100)]
    rows = [tower.encode([one])[0] for one in tokens]
    np.testing.assert_allclose(tower.encode(tokens), rows, atol=1e-6)
    assert len(tokens[0]) == 77 and lengths == [4, 77, 77]


def _dim(folder):
    return json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["embed_dim"]


def by_name(tmp_path, name):
    """Filled weights of a whole model, and the package's own rows by its name and this file."""
    model, _, transform = open_clip.create_model_and_transforms(name)
    filled.fill_state_dict(model)
    file = tmp_path / "weights.pt"
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, file)
    return file, expected(model.eval(), transform, open_clip.get_tokenizer(name))


def test_a_name_with_a_checkpoint_of_ones_own(tmp_path):
    file, wanted = by_name(tmp_path, "ViT-S-32-alt")
    clips, captions = rows(filled.of("ViT-S-32-alt", dim=256, checkpoint=file))
    np.testing.assert_allclose(clips, wanted[0], atol=1e-4)
    np.testing.assert_allclose(captions, wanted[1], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tag", "dim"), [("ViT-B-32", "laion2b_s34b_b79k", 512), ("EVA02-B-16", None, 512)])
def test_a_published_size(tmp_path, name, tag, dim):
    file, wanted = by_name(tmp_path, name)
    clips, captions = rows(filled.of(name, dim=dim, checkpoint=file, pretrained=tag))
    np.testing.assert_allclose(clips, wanted[0], atol=1e-4)
    np.testing.assert_allclose(captions, wanted[1], atol=1e-4)


def test_the_table_of_published_weights_is_the_package_s():
    assert files.published() == open_clip.pretrained._PRETRAINED


def test_a_tag_is_taken_from_the_hub_cache_with_its_preprocessing(tmp_path, monkeypatch):
    import huggingface_hub

    snapshot = tmp_path / "models--timm--ViT-B-16-SigLIP" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    (snapshot / "open_clip_pytorch_model.bin").write_bytes(b"weights")
    (snapshot / "tokenizer.json").write_text("{}")
    for module in (huggingface_hub, huggingface_hub._snapshot_download):
        monkeypatch.setattr(module.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    found = files.find("ViT-B-16-SigLIP", "webli")
    assert found.weights == [snapshot / "open_clip_pytorch_model.bin"]
    assert found.preprocessing == {key: tuple(v) if isinstance(v, list) else v for key, v in SIGLIP.items()}
    assert found.text_files() == {"tokenizer.json": snapshot / "tokenizer.json"}


OFFLINE = r"'laion/CLIP-ViT-B-32-laion2B-s34B-b79K' is neither .*name the file as `checkpoint`"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "ViT-B32"}, r"open_clip has no model 'ViT-B32', did you mean 'ViT-B-32'\?"),
        ({"pretrained": "laion"}, r"no weights 'laion' of ViT-B-32: it has openai, .*laion2b_s34b_b79k.*`checkpoint`"),
        ({"pretrained": "openai"}, r"trained with QuickGELU, .*write `quick_gelu: true`"),
        ({}, r"no weights by itself: write `pretrained` \(one of openai, "),
        ({"pretrained": "laion2b_s34b_b79k"}, OFFLINE),
        ({"checkpoint": Path("missing.pt")}, r"checkpoint not found: missing\.pt"),
        ({"checkpoint": Path(__file__), "dim": 24}, r"gives embeddings of length 512: write `dim: 512`"),
        ({"model": "ViT-L-14", "checkpoint": Path(__file__)}, r"differ in their preprocessing: write the tag"),
        ({"checkpoint": Path(__file__), "text_model": "a"}, r"own tokenizer: leave `text_model` out"),
        ({"model": "hf-hub:some/model"}, r"'some/model' is neither a local folder"),
        ({"model": "hf-hub:some/model", "pretrained": "openai"}, r"weights of its own: leave `pretrained: openai` out"),
        ({"model": "ViT-B-16-SigLIP", "checkpoint": Path(__file__)}, r"put the tokenizer's files of timm/ViT-B-16-Sig"),
    ],
)
def test_what_cannot_be_had_is_said_in_a_sentence(options, says):
    with pytest.raises(UserError, match=says) as caught:
        filled.of(options.pop("model", "ViT-B-32"), **{"dim": 512, **options}).clip_identity()
    assert "\n" not in str(caught.value)


def test_without_the_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="which is not installed: run `uv sync --extra open-clip`"):
        filled.of("ViT-B-32", pretrained="openai").caption_identity()


@pytest.fixture
def copy(folder_of, tmp_path):
    """A folder of CLIP to damage."""
    return Path(shutil.copytree(folder_of("ViT-B-32"), tmp_path / "copy"))


def change_settings(folder, **changes):
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"].update(changes)
    path.write_text(json.dumps(content))


def drop(folder):
    weights = load_file(filled.weights(folder))
    weights.pop("ln_final.bias")
    save_file(weights, filled.weights(folder))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            drop,
            r"is not a checkpoint of open_clip's CustomTextCLIP\n1 missing:\n  text\.ln_final\.bias",
        ),
        (lambda f: change_settings(f, strange=1), r"open_clip makes no model of these settings: .*strange"),
        (lambda f: change_settings(f, text_cfg={"width": 64}), r"of another shape"),
        (lambda f: filled.weights(f).write_bytes(b"1234"), r"open_clip_model\.safetensors is cut short or damaged"),
        (lambda f: (f / "open_clip_config.json").write_text("{}"), r"has no `model_cfg` with embed_dim"),
        (
            lambda f: filled.weights(f).unlink(),
            r"neither open_clip_model\.safetensors nor open_clip_p",
        ),
    ],
)
def test_damaged_folders(copy, damage, says):
    damage(copy)
    for load in ("load_clip_tower", "load_caption_tower"):
        with pytest.raises(UserError, match=says):
            getattr(filled.of(copy), load)(CPU)


def test_identity_is_of_bytes_settings_and_preprocessing(folder_of, copy):
    def prints(folder, **options):
        one = filled.of(folder, **options)
        return fingerprint_of(one.clip_identity())[0], fingerprint_of(one.caption_identity())[0]

    def changed(folder=copy, **options):
        return tuple(one != other for one, other in zip(prints(folder, **options), base, strict=True))

    base = prints(folder_of("ViT-B-32"))
    assert changed() == (False, False) == changed(f"local-dir:{copy}")
    assert changed(checkpoint=filled.weights(copy).rename(copy / "renamed.safetensors")) == (False, False)
    (copy / "renamed.safetensors").rename(filled.weights(copy))
    assert changed(frames=4) == changed(pool="raw") == (True, False)
    assert changed(quick_gelu=True) == (True, True)
    content = json.loads((copy / "open_clip_config.json").read_text())
    (copy / "open_clip_config.json").write_text(json.dumps({**content, "preprocess_cfg": {"resize_mode": "squash"}}))
    assert changed() == (True, False)


def test_loading_says_nothing_in_the_log(folder_of, caplog):
    with caplog.at_level(logging.DEBUG):
        filled.of(folder_of("ViT-B-32")).load_clip_tower(CPU)
    assert not caplog.records


@pytest.mark.parametrize("name", ["ViT-B-32", "EVA02-B-16"])
def test_what_can_be_compiled_is_what_computes(folder_of, name):
    encoder, called = filled.of(folder_of(name)), []
    for tower, item in ((encoder.load_clip_tower(CPU), CLIPS[0]), (encoder.load_caption_tower(CPU), "a dog")):
        tower.networks[0].register_forward_hook(lambda *given: called.append(given[0]))
        tower.encode([tower.prepare(item, b"")])
        assert called.pop() is tower.networks[0]
