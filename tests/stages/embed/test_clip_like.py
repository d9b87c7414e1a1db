"""The family `clip-like` against transformers' own processor and model, on small folders as the hub has them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from filled import clip_like
from huggingface_hub.errors import LocalEntryNotFoundError
from media_samples import corner_frame, write_media
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedTokenizerFast

from cache.errors import UserError
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.networks.clip import rewrite
from stages.embed.encode_files import OpenEncoder
from stages.embed.encoder import FrameInput
from stages.embed.encoders.clip_like import ENCODER, Config

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
KINDS = list(clip_like.MODELS)
SHAPES = [(3, 37, 91, 3), (1, 120, 50, 3), (8, 32, 32, 3), (2, 1, 1, 3), (1, 2, 5, 3)]
TEXTS = ["A dog BARKS!", "the  rain on a roof, an onion.", "rain " * 100, ""]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    made = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, folder in made.items():
        clip_like.write(folder, kind)
    return made


@pytest.fixture
def copy(folders, tmp_path):
    """A folder of CLIP to damage."""
    return Path(shutil.copytree(folders["clip"], tmp_path / "copy"))


def frames(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pictures(tower, clips):
    return tower.encode([tower.prepare(clip, b"") for clip in clips])


def captions(tower, texts):
    return tower.encode([tower.prepare(text, b"") for text in texts])


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_equal_those_of_transformers(folders, kind):
    tower = clip_like.encoder(folders[kind], kind=kind).load_clip_tower(CPU)
    raw_tower = clip_like.encoder(folders[kind], kind=kind, pool="raw").load_clip_tower(CPU)
    model = clip_like.MODELS[kind].from_pretrained(folders[kind]).eval()
    processor = AutoImageProcessor.from_pretrained(folders[kind])
    apart = 0.0
    for clip in map(frames, SHAPES):
        with torch.no_grad():
            inputs = processor(images=[Image.fromarray(frame) for frame in clip], return_tensors="pt")
            embeddings = model.get_image_features(**inputs).pooler_output
        mean = normalize(normalize(embeddings, dim=-1).mean(0), dim=0)
        raw = normalize(embeddings.mean(0), dim=0)
        np.testing.assert_allclose(pictures(tower, [clip])[0], mean, atol=1e-5)
        np.testing.assert_allclose(pictures(raw_tower, [clip])[0], raw, atol=1e-5)
        apart = max(apart, float((mean - raw).abs().max()))
    assert apart > 1e-4  # so that the option is seen to matter


@pytest.mark.parametrize("kind", KINDS)
def test_captions_equal_those_of_transformers(folders, kind):
    folder = folders[kind]
    tower = clip_like.encoder(folder, kind=kind).load_caption_tower(CPU)
    model = clip_like.MODELS[kind].from_pretrained(folder).eval()
    if kind == "clip":
        tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, truncation=True, return_tensors="pt")
        assert tokens["input_ids"].shape[1] == 77
    else:
        written = [rewrite(text, "canonical" if kind == "siglip" else "lower") for text in TEXTS]
        loader = PreTrainedTokenizerFast if kind == "siglip" else AutoTokenizer  # SiglipTokenizer wants SentencePiece
        tokenizer = loader.from_pretrained(folder)
        tokens = tokenizer(written, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
        assert tokens["input_ids"].shape[1] == 64
    with torch.no_grad():
        expected = normalize(model.get_text_features(**tokens).pooler_output, dim=-1)
    np.testing.assert_allclose(captions(tower, TEXTS), expected, atol=1e-5)


def test_captions_are_written_as_in_training(folders):
    assert rewrite("A dog's BARK --\tloud!", "canonical") == "a dogs bark loud"
    assert rewrite("A dog's  BARK!", "lower") == "a dog's  bark!"
    for kind, same, other in (
        ("clip", "a DOG barks", "a dog barks!"),
        ("siglip", " A dog, barks!", None),
        ("siglip2", "A Dog barks", "a dog barks!"),
        ("siglip2-fixed", "A Dog barks", "a dog barks!"),
    ):
        tower = clip_like.encoder(folders[kind], kind=kind).load_caption_tower(CPU)
        plain, alike = captions(tower, ["a dog barks", same])
        np.testing.assert_allclose(plain, alike, atol=1e-6)
        if other:
            assert np.abs(captions(tower, [other])[0] - plain).max() > 1e-3
    as_is = clip_like.encoder(folders["siglip2-fixed"], kind="siglip2-fixed", text="none").load_caption_tower(CPU)
    assert np.abs(np.subtract(*captions(as_is, ["a dog barks", "A Dog barks"]))).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_batch(folders, kind):
    encoder = clip_like.encoder(folders[kind], kind=kind)
    for tower, items in (
        (encoder.load_clip_tower(CPU), [frames(shape, 1) for shape in SHAPES] + [frames((40, 20, 60, 3))]),
        (encoder.load_caption_tower(CPU), TEXTS),
    ):
        prepared = [tower.prepare(item, b"") for item in items]
        alone = np.concatenate([tower.encode([item]) for item in prepared])
        assert alone.shape == (len(items), encoder.dim) and alone.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(tower.encode(prepared), alone, atol=1e-5)
        np.testing.assert_allclose(tower.encode(prepared[::-1]), alone[::-1], atol=1e-5)


def test_a_video_is_seen_as_it_is_shown(folders, tmp_path):
    """Stored on its side and marked as turned, it gives the row of the upright one; without the mark another."""
    opened = OpenEncoder(clip_like.encoder(folders["clip"]), "cpu")
    upright = corner_frame(64, 48)
    on_its_side = np.ascontiguousarray(np.rot90(upright, -1))
    shown, marked, unmarked = opened.clips(
        [
            write_media(tmp_path / "shown.mp4", frames=[upright] * 3),
            write_media(tmp_path / "marked.mp4", frames=[on_its_side] * 3, rotation=90),
            write_media(tmp_path / "unmarked.mp4", frames=[on_its_side] * 3),
        ]
    )
    assert 1 - shown @ marked < (1 - shown @ unmarked) / 4  # the codec's colours are not those of the picture


@pytest.mark.parametrize("form", ["pytorch_model.bin", "shards", "float16", "position ids"])
def test_forms_of_weights(copy, folders, form):
    whole = copy / "model.safetensors"
    weights = load_file(whole)
    if form == "pytorch_model.bin":
        torch.save(weights, copy / form)
        whole.unlink()
    elif form == "shards":
        names = list(weights)
        parts = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
        for name, keys in parts.items():
            save_file({key: weights[key] for key in keys}, copy / name)
        index = {"weight_map": {key: name for name, keys in parts.items() for key in keys}}
        (copy / "model.safetensors.index.json").write_text(json.dumps(index))
        whole.unlink()
    elif form == "float16":
        save_file({key: value.half() for key, value in weights.items()}, whole)
    else:
        save_file({**weights, "text_model.embeddings.position_ids": torch.arange(77)[None]}, whole)
    clip = [frames(SHAPES[0])]
    expected = pictures(clip_like.encoder(folders["clip"]).load_clip_tower(CPU), clip)
    row = pictures(clip_like.encoder(copy).load_clip_tower(CPU), clip)
    np.testing.assert_allclose(row, expected, atol=5e-3 if form == "float16" else 1e-6)


def damage_weights(change):
    def damaged(folder):
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return damaged


def add(weights):
    weights["visual.proj"] = torch.zeros(3)


def shorten(weights):
    weights["visual_projection.weight"] = torch.zeros(24, 16)


def truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def replace(name, old, new):
    def damaged(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return damaged


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_weights(lambda w: w.pop("logit_scale")), r"not a checkpoint of CLIPModel.*\n1 missing:\n  logit_scale"),
        (damage_weights(add), r"\n1 unexpected:\n  visual\.proj"),
        (damage_weights(shorten), r"of another shape:\n  visual_projection\.weight: \(24, 16\) in the file"),
        (truncate, r"model\.safetensors is cut short or damaged"),
        (lambda f: (f / "model.safetensors").unlink(), r"has neither model\.safetensors nor pytorch_model\.bin: put "),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json cannot be read"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "model of type 'bert': .* reads clip"),
        (
            replace("config.json", '"projection_dim": 24', '"projection_dim": 40'),
            "write `dim: 40` in the encoder's YAML",
        ),
        (lambda f: (f / "preprocessor_config.json").unlink(), r"no usable preprocessor_config\.json"),
        (replace("preprocessor_config.json", ": 32", ": 48"), r"make frames of 48 x 48, but .* takes 32 x 32"),
    ],
)
def test_damaged_folders_of_pictures(copy, damage, says):
    damage(copy)
    with pytest.raises(UserError, match=says):
        clip_like.encoder(copy).load_clip_tower(CPU)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "vocab.json").unlink(), "has no tokenizer: put config.json"),
        (lambda f: (f / "vocab.json").write_text("{"), "has no usable tokenizer"),
        (replace("config.json", '"eos_token_id": ', '"eos_token_id": 1'), "the files are of different models"),
        (replace("config.json", '"vocab_size": ', '"vocab_size": 1'), "of another shape:\n  text_model"),
    ],
)
def test_damaged_folders_of_text(copy, damage, says):
    damage(copy)
    with pytest.raises(UserError, match=says):
        clip_like.encoder(copy).load_caption_tower(CPU)


def test_a_hub_id_is_taken_from_the_cache(folders, tmp_path, monkeypatch):
    """The folder layout of the Hugging Face cache, read without network."""
    snapshot = tmp_path / "models--some--clip" / "snapshots" / ("0" * 40)
    shutil.copytree(folders["clip"], snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub._snapshot_download.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub, local = clip_like.encoder(snapshot, model="some/clip"), clip_like.encoder(folders["clip"])
    assert fingerprint_of(hub.clip_identity()) == fingerprint_of(local.clip_identity())
    assert fingerprint_of(hub.caption_identity()) == fingerprint_of(local.caption_identity())
    assert np.array_equal(captions(hub.load_caption_tower(CPU), TEXTS), captions(local.load_caption_tower(CPU), TEXTS))


def test_a_hub_id_without_network_says_what_to_put_where(monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("no connection and not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    encoder = ENCODER(Config(family="clip-like", model="openai/clip-vit-base-patch32", dim=512))
    says = r"is neither .*checkpoints fetch clip-vit-base-patch32`, or put config\.json, .*huggingface.*`model`"
    for identity in (encoder.clip_identity, encoder.caption_identity):
        with pytest.raises(UserError, match=says):
            identity()


def test_identity_covers_options_and_bytes(folders, copy):
    base = clip_like.encoder(folders["clip"])
    clips, texts = fingerprint_of(base.clip_identity()), fingerprint_of(base.caption_identity())

    def changed(folder=folders["clip"], **options):
        one = clip_like.encoder(folder, **options)
        return fingerprint_of(one.clip_identity()) != clips, fingerprint_of(one.caption_identity()) != texts

    assert changed(copy) == (False, False)
    assert changed(frames=4) == changed(pool="raw") == (True, False)
    assert changed(text="lower") == (False, True)
    (copy / "preprocessor_config.json").write_text("{}")
    assert changed(copy) == (True, False)
    damage_weights(lambda weights: weights["logit_scale"].add_(1))(copy)
    assert changed(copy) == (True, True)


def test_identity_needs_no_torch(folders):
    code = (
        "import sys\n"
        "from stages.embed.encoders.clip_like import ENCODER, Config\n"
        "one = ENCODER(Config(family='clip-like', model=sys.argv[1], dim=24))\n"
        "one.clip_identity(), one.caption_identity()\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(folders["clip"])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("name", "dim"), [("clip-vit-b32", 512), ("siglip-base", 768), ("eva02-clip-b16", 512)])
def test_the_yamls(name, dim):
    options = yaml.safe_load((ROOT / "configs" / "encoders" / f"{name}.yaml").read_text())
    encoder = ENCODER(Config(**options))
    assert set(options) == set(Config.model_fields) - {"precision"}
    assert encoder.dim == dim and encoder.clip_input == FrameInput(8)


@pytest.mark.parametrize("options", [{"frames": 0}, {"dim": 0}, {"pool": "max"}, {"text": "upper"}, {"frame": 8}])
def test_wrong_options_are_refused(tmp_path, options):
    with pytest.raises(ValidationError):
        Config(**{"family": "clip-like", "model": str(tmp_path), "dim": 8, **options})
