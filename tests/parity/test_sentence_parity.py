"""Sentence encoders against golden numbers of sentence-transformers 6.2 on folders that it wrote (filled weights)."""

import json

import numpy as np
import pytest
import torch
from filled.sentence import NAMES, TEXTS, rows_of, write
from safetensors.torch import load_file, save_file

from cache.errors import UserError
from pipeline.checkpoints.sentence import find
from pipeline.checkpoints.wheels import minilm_files
from pipeline.networks.minilm import MiniLM
from pipeline.networks.sentence import SentenceEncoder


@pytest.fixture
def folder(tmp_path):
    """Writes a folder to read or to damage."""
    return lambda name=NAMES[0]: write(tmp_path / "model", name)


@pytest.mark.parametrize("name", NAMES)
def test_vectors_equal_those_of_the_package(folder, name):
    found = find(str(folder(name)))
    encoder = SentenceEncoder(found)
    for prompt, rows in rows_of(name).items():
        vectors = encoder.encode(TEXTS, found.prompt(prompt or None))
        np.testing.assert_allclose(vectors, rows, atol=2e-6, err_msg=prompt)
    assert vectors.shape == (len(TEXTS), found.dim) and vectors.dtype == np.float32
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_on_a_cpu_a_vector_does_not_depend_on_the_texts_beside_it(folder):
    encoder = SentenceEncoder(find(str(folder())))
    together = encoder.encode(TEXTS)
    assert all(np.array_equal(encoder.encode([text])[0], row) for text, row in zip(TEXTS, together, strict=True))


def test_padding_changes_a_vector_by_rounding_only(tmp_path):
    """As on a GPU, where texts of several lengths share a pass."""
    for place, name in enumerate(NAMES):
        encoder = SentenceEncoder(find(str(write(tmp_path / str(place), name))))
        tokens = encoder._tokenizer(TEXTS, truncation=True, max_length=encoder._max_tokens)
        together = encoder._vectors({key: tokens[key] for key in tokens if key in encoder._taken})
        np.testing.assert_allclose(together, encoder.encode(TEXTS), atol=2e-6, err_msg=name)


def test_the_packaged_minilm_has_the_vectors_of_its_own_network():
    folder = minilm_files()["config.json"].parent
    vectors = SentenceEncoder(find(str(folder))).encode(TEXTS[:2] + TEXTS[3:])
    np.testing.assert_allclose(vectors, MiniLM(folder).encode(TEXTS[:2] + TEXTS[3:]), atol=1e-6)


def edit(name, change):
    def damaged(folder):
        content = json.loads((folder / name).read_text())
        changed = change(content)
        (folder / name).write_text(json.dumps(content if changed is None else changed))

    return damaged


def edit_weights(name, change):
    def damaged(folder):
        weights = load_file(folder / name)
        change(weights)
        save_file(weights, folder / name)

    return damaged


def shorten(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


BERT, DENSE = NAMES[0], NAMES[2]
WEIGHT = "encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        (BERT, lambda f: (f / "modules.json").write_text("{"), r"modules\.json cannot be read"),
        (
            BERT,
            edit("modules.json", lambda m: m[1].update(type="x.WordWeights")),
            "made of Transformer, WordWeights, No",
        ),
        (BERT, edit("modules.json", lambda m: m[:1]), "made of Transformer: read are Transformer, Pooling"),
        (
            BERT,
            edit("1_Pooling/config.json", lambda c: c.update(pooling_mode="sum")),
            "The pooling sum is not known: cls",
        ),
        (
            BERT,
            edit("sentence_bert_config.json", lambda c: c.update(transformer_task="fill-mask")),
            "takes fill-mask, ",
        ),
        (BERT, lambda f: (f / "config.json").unlink(), "has no config.json: put the files of the model"),
        (BERT, lambda f: (f / "model.safetensors").unlink(), r"neither model\.safetensors nor pytorch_model\.bin"),
        (BERT, shorten, "has no model that can be loaded"),
        (
            BERT,
            edit_weights("model.safetensors", lambda w: w.pop(WEIGHT)),
            rf"model\.safetensors lacks {WEIGHT}: it is n",
        ),
        (BERT, edit_weights("model.safetensors", lambda w: w[WEIGHT].fill_(np.nan)), "holds NaN in encoder"),
        (
            BERT,
            edit_weights("model.safetensors", lambda w: w.update({WEIGHT: torch.zeros(2, 2)})),
            "no model that can be",
        ),
        (BERT, lambda f: (f / "tokenizer.json").write_text("{"), "no usable tokenizer"),
        (BERT, edit("config.json", lambda c: c.update(model_type="nothing")), "no model that can be loaded"),
        (
            DENSE,
            edit("2_Dense/config.json", lambda c: c.update(activation_function="os.system")),
            "activation 'system'",
        ),
        (DENSE, edit("2_Dense/config.json", lambda c: c.update(use_residual=True)), "a layer that is not plain"),
        (DENSE, edit_weights("2_Dense/model.safetensors", lambda w: w.pop("linear.bias")), "1 missing:\n  bias"),
    ],
)
def test_damaged_folders(folder, name, damage, says):
    path = folder(name)
    damage(path)
    with pytest.raises(UserError, match=says):
        SentenceEncoder(find(str(path)))


def test_the_pooling_is_named_once(folder):
    path = folder()
    with pytest.raises(UserError, match=r"modules\.json names the pooling: leave `pooling: cls` out"):
        find(str(path), "cls")
    (path / "modules.json").unlink()
    with pytest.raises(UserError, match="says nothing of pooling: write `pooling: mean`"):
        find(str(path))
    assert find(str(path), "cls").pooling == ("cls",)
    with pytest.raises(UserError, match=r"'some/model' is neither a local folder.*`text: \{model: FOLDER\}`"):
        find("some/model")


def test_prompts(folder):
    path = folder()
    found = find(str(path))
    assert found.prompt(None) == found.prompt("query") == "query: " and found.prompt("as it is ") == "as it is "
    assert found.prompt("") == ""
    edit("1_Pooling/config.json", lambda c: c.update(include_prompt=False))(path)
    assert find(str(path)).prompt("") == ""
    with pytest.raises(UserError, match="leaves prompts out of its pooling"):
        find(str(path)).prompt("query")
