"""MetaCLIP 2 and X-CLIP in `clip-like` against transformers' own processor and model on the same frames."""

import json
import shutil

import numpy as np
import pytest
import torch
from filled import clip_like
from PIL import Image
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, AutoTokenizer, MetaClip2Config, XCLIPConfig

from cache.errors import UserError

CPU = torch.device("cpu")
TEXTS = ["A dog BARKS!", "the  rain on a roof, an onion.", "rain " * 100, ""]
OPTIONS = {"metaclip2": {}, "xclip": {"frames": 4, "pool": "model"}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {kind: tmp_path_factory.mktemp(kind) for kind in OPTIONS}
    for kind, folder in made.items():
        clip_like.write(folder, kind)
    return made


@pytest.fixture
def copy(folders, tmp_path):
    return lambda kind: shutil.copytree(folders[kind], tmp_path / "copy")


def encoder(folder, kind, **options):
    return clip_like.encoder(folder, kind=kind, **{**OPTIONS[kind], **options})


def clips_of(frames, side):
    generator = np.random.default_rng(0)
    sizes = [(side + 5, 3 * side), (2 * side, side), (side, side)]
    return [generator.integers(0, 256, (frames, *size, 3), dtype=np.uint8) for size in sizes]


def expected_clips(folder, kind, clips):
    """(rows of the package, its processor and its forward)."""
    model = clip_like.RELATIVES[kind].from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    rows = []
    for clip in clips:
        pictures = [Image.fromarray(frame) for frame in clip]
        with torch.no_grad():
            inputs = processor(pictures, return_tensors="pt")
            if kind == "xclip":
                rows.append(normalize(model.get_video_features(**inputs).pooler_output, dim=-1)[0])
            else:
                frames = normalize(model.get_image_features(**inputs).pooler_output, dim=-1)
                rows.append(normalize(frames.mean(0), dim=0))
    return np.stack(rows)


def expected_captions(folder, kind, texts):
    model = clip_like.RELATIVES[kind].from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, truncation=True, max_length=77, return_tensors="pt"
    )
    with torch.no_grad():
        return normalize(model.get_text_features(**tokens).pooler_output, dim=-1).numpy()


def equal(folder, kind, clips, texts, atol, **options):
    one = encoder(folder, kind, **options)
    tower, text_tower = one.load_clip_tower(CPU), one.load_caption_tower(CPU)
    rows = tower.encode([tower.prepare(clip, b"") for clip in clips])
    np.testing.assert_allclose(rows, expected_clips(folder, kind, clips), atol=atol)
    texts_rows = text_tower.encode([text_tower.prepare(text, b"") for text in texts])
    np.testing.assert_allclose(texts_rows, expected_captions(folder, kind, texts), atol=atol)
    assert np.abs(rows[0] - rows[1]).max() > 10 * atol and np.abs(texts_rows[0] - texts_rows[1]).max() > 10 * atol
    return tower, rows


@pytest.mark.parametrize("kind", OPTIONS)
def test_rows_equal_those_of_transformers_in_any_batch(folders, kind):
    clips = clips_of(OPTIONS[kind].get("frames", 3), 32) * 3
    tower, rows = equal(folders[kind], kind, clips, TEXTS, 1e-5)
    alone = np.concatenate([tower.encode([tower.prepare(clip, b"")]) for clip in clips])
    np.testing.assert_allclose(alone, rows, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OPTIONS)
def test_rows_equal_at_the_size_that_transformers_has_by_default(tmp_path, kind):
    """ViT-B/32 with 12 layers, 224 x 224; X-CLIP's is that of microsoft/xclip-base-patch32."""
    marks = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}  # as in the published MetaCLIP 2
    clip_like.write(tmp_path, kind, XCLIPConfig() if kind == "xclip" else MetaClip2Config(text_config=marks))
    frames = 8 if kind == "xclip" else 3
    equal(tmp_path, kind, clips_of(frames, 224)[:2], TEXTS, 1e-4, dim=512, frames=frames)


def test_a_caption_is_pooled_at_its_first_end(folders):
    """MetaCLIP 2's end is token 2: the highest id, as in CLIP's older settings, is something else."""
    tower = encoder(folders["metaclip2"], "metaclip2").load_caption_tower(CPU)
    tokens = tower.prepare("a dog ~ barks", b"").tolist()
    assert tokens[0] == 0 and tokens[-1] == 2 == min(tokens[1:]) and max(tokens) > 2
    assert len(tower.prepare("rain " * 100, b"")) == 77


def test_frames_of_a_clip_count_in_their_order(folders):
    clip = clips_of(4, 32)[0]
    tower = encoder(folders["xclip"], "xclip").load_clip_tower(CPU)
    there, back = tower.encode([tower.prepare(one, b"") for one in (clip, clip[::-1])])
    assert np.abs(there - back).max() > 1e-4


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("xclip", {"pool": "raw"}, "type 'xclip': write `pool: model`"),
        ("metaclip2", {"pool": "model"}, "'metaclip_2': write `pool: normalised` or `raw`"),
        ("xclip", {"frames": 8}, "takes 4 frames per clip: write `frames: 4`"),
        ("xclip", {"dim": 512}, "write `dim: 24`"),
    ],
)
def test_options_that_do_not_fit_the_model(folders, kind, options, says):
    with pytest.raises(UserError, match=says):
        encoder(folders[kind], kind, **options).clip_identity()


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_tokenizer_of_another_model_is_refused(copy, kind):
    folder = copy(kind)
    settings = json.loads((folder / "config.json").read_text())
    settings["text_config"]["eos_token_id"] = 7
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="the files are of different models"):
        encoder(folder, kind).load_caption_tower(CPU)


@pytest.mark.parametrize("kind", OPTIONS)
def test_what_can_be_compiled_is_what_computes(folders, kind):
    one, called = encoder(folders[kind], kind), []
    clip = clips_of(OPTIONS[kind].get("frames", 3), 32)[0]
    for tower, item in ((one.load_clip_tower(CPU), clip), (one.load_caption_tower(CPU), "a dog")):
        tower.networks[0].register_forward_hook(lambda *given: called.append(given[0]))
        tower.encode([tower.prepare(item, b"")])
        assert called.pop() is tower.networks[0]
