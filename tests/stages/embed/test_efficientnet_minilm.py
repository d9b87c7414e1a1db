"""The encoder `efficientnet-minilm`: its YAML, identity and rows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from stages.embed.encoders.efficientnet_minilm import ENCODER, Config, EfficientnetMinilm
from stages.embed.models.wheel_files import WeightsError

CPU, KEY = torch.device("cpu"), bytes(16)
ROOT = Path(__file__).parents[3]
OPTIONS = yaml.safe_load((ROOT / "configs" / "encoders" / "efficientnet-minilm.yaml").read_text())


@pytest.fixture(scope="module")
def encoder() -> EfficientnetMinilm:
    return ENCODER(Config(**OPTIONS))


def frames(count: int, size: tuple[int, int] = (180, 320)) -> list[np.ndarray]:
    return list(np.random.default_rng(count).integers(0, 256, (count, *size, 3), np.uint8))


def test_the_yaml_is_complete() -> None:
    assert OPTIONS["family"] == "efficientnet-minilm" and OPTIONS["top_k"] == 10
    assert all(len(OPTIONS[name]) == 64 for name in ("weights_sha256", "minilm_sha256"))


def test_identity_names_every_file_and_option(encoder: EfficientnetMinilm) -> None:
    identity = encoder.clip_identity()
    files = {value.name for value in identity.values() if isinstance(value, Path)}
    assert files == {
        "efficientnet-lite0-57934424.pth",
        "imagenet1k_clean_names.json",
        "config.json",
        "tokenizer.json",
        "model.safetensors",
    }
    assert identity["top_k"] == 10 and isinstance(identity["version"], int)
    assert all(value.is_file() for value in identity.values() if isinstance(value, Path))
    captions = encoder.caption_identity()
    assert "top_k" not in captions and isinstance(captions["version"], int)


def test_identity_needs_no_torch() -> None:
    code = (
        "import sys, yaml\n"
        "from stages.embed.encoders.efficientnet_minilm import ENCODER, Config\n"
        "encoder = ENCODER(Config(**yaml.safe_load(open('configs/encoders/efficientnet-minilm.yaml'))))\n"
        "encoder.clip_identity(), encoder.caption_identity()\n"
        "print(sorted({'torch', 'transformers', 'timm', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_rows_do_not_depend_on_the_batch(encoder: EfficientnetMinilm) -> None:
    tower = encoder.load_clip_tower(CPU)
    clips = [tower.prepare(clip, KEY) for clip in (frames(8), frames(1, (1, 1)), frames(3, (400, 224)))]
    rows = tower.encode(clips)
    assert rows.shape == (3, encoder.dim) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for clip, row in zip(clips, rows, strict=True):
        np.testing.assert_array_equal(tower.encode([clip])[0], row)


def test_a_photograph_is_nearest_to_what_it_shows(encoder: EfficientnetMinilm) -> None:
    path = Path(pytest.importorskip("sklearn").__file__).parent / "datasets" / "images" / "flower.jpg"
    if not path.is_file():
        pytest.skip("this scikit-learn has no flower.jpg")
    with Image.open(path) as photograph:
        frame = np.asarray(photograph.convert("RGB"))
    clips, captions = encoder.load_clip_tower(CPU), encoder.load_caption_tower(CPU)
    texts = ["a flower", "a man drives a car", "an aeroplane takes off", ""]
    rows = captions.encode([captions.prepare(text, KEY) for text in texts])
    assert int((rows @ clips.encode([clips.prepare([frame] * 8, KEY)])[0]).argmax()) == 0


@pytest.mark.parametrize("option", ["weights_sha256", "minilm_sha256"])
def test_other_bytes_than_the_pinned_are_refused(option: str) -> None:
    encoder = ENCODER(Config(**{**OPTIONS, option: "0" * 64}))
    with pytest.raises(WeightsError, match=option):
        encoder.load_clip_tower(CPU)
