"""The encoder `yamnet-minilm`: its YAML, identity and rows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stages.embed.encoders.yamnet_minilm import ENCODER, Config, YamnetMinilm
from stages.embed.models.wheel_files import WeightsError

CPU, KEY = torch.device("cpu"), bytes(16)
ROOT = Path(__file__).parents[3]
OPTIONS = yaml.safe_load((ROOT / "configs" / "encoders" / "yamnet-minilm.yaml").read_text())


@pytest.fixture(scope="module")
def encoder() -> YamnetMinilm:
    return ENCODER(Config(**OPTIONS))


def noise(samples: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(samples).standard_normal(samples).astype(np.float32)


def test_the_yaml_is_complete() -> None:
    assert OPTIONS["family"] == "yamnet-minilm" and OPTIONS["top_k"] == 10
    assert all(len(OPTIONS[name]) == 64 for name in ("index_sha256", "weights_sha256", "minilm_sha256"))


def test_identity_names_every_file_and_option(encoder: YamnetMinilm) -> None:
    identity = encoder.clip_identity()
    files = {value.name for value in identity.values() if isinstance(value, Path)}
    assert files == {
        "variables.index",
        "variables.data-00000-of-00001",
        "yamnet_class_map.csv",
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
        "from stages.embed.encoders.yamnet_minilm import ENCODER, Config\n"
        "encoder = ENCODER(Config(**yaml.safe_load(open('configs/encoders/yamnet-minilm.yaml'))))\n"
        "encoder.clip_identity(), encoder.caption_identity()\n"
        "print(sorted({'torch', 'transformers', 'timm', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_rows_do_not_depend_on_the_batch(encoder: YamnetMinilm) -> None:
    tower = encoder.load_clip_tower(CPU)
    clips = [tower.prepare(wave, KEY) for wave in (noise(1), noise(100_000), np.zeros(16_000, np.float32))]
    rows = tower.encode(clips)
    assert rows.shape == (3, encoder.dim) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for clip, row in zip(clips, rows, strict=True):
        np.testing.assert_array_equal(tower.encode([clip])[0], row)


def test_silence_is_nearest_to_the_word(encoder: YamnetMinilm) -> None:
    clips, captions = encoder.load_clip_tower(CPU), encoder.load_caption_tower(CPU)
    texts = ["silence", "a dog barks", "people applaud", ""]
    rows = captions.encode([captions.prepare(text, KEY) for text in texts])
    assert int((rows @ clips.encode([clips.prepare(np.zeros(32_000, np.float32), KEY)])[0]).argmax()) == 0


@pytest.mark.parametrize("option", ["index_sha256", "weights_sha256", "minilm_sha256"])
def test_other_bytes_than_the_pinned_are_refused(option: str) -> None:
    encoder = ENCODER(Config(**{**OPTIONS, option: "0" * 64}))
    with pytest.raises(WeightsError, match=option):
        encoder.load_clip_tower(CPU)
