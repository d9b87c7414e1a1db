"""The two encoders whose weights are in wheels; what they share with all others is in test_contract.py."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled import efficientnet_minilm, yamnet_minilm
from PIL import Image

from pipeline.checkpoints.wheels import WeightsError

CPU, KEY = torch.device("cpu"), bytes(16)
MINILM = {"config.json", "tokenizer.json", "model.safetensors"}
FILES = {
    yamnet_minilm: {"variables.index", "variables.data-00000-of-00001", "yamnet_class_map.csv"},
    efficientnet_minilm: {"efficientnet-lite0-57934424.pth", "imagenet1k_clean_names.json"},
}


@pytest.mark.parametrize("family", FILES)
def test_identity_names_every_file_and_option(family, tmp_path):
    encoder = family.encoder(tmp_path)
    identity = encoder.clip_identity()
    assert {value.name for value in identity.values() if isinstance(value, Path)} == FILES[family] | MINILM
    assert identity["top_k"] == encoder.config.top_k == 10
    assert "top_k" not in encoder.caption_identity()


@pytest.mark.parametrize(
    ("family", "option"),
    [
        (yamnet_minilm, "index_sha256"),
        (yamnet_minilm, "weights_sha256"),
        (yamnet_minilm, "minilm_sha256"),
        (efficientnet_minilm, "weights_sha256"),
        (efficientnet_minilm, "minilm_sha256"),
    ],
)
def test_other_bytes_than_the_pinned_are_refused(family, option, tmp_path):
    with pytest.raises(WeightsError, match=option):
        family.encoder(tmp_path, **{option: "0" * 64}).load_clip_tower(CPU)


def nearest(encoder, item, texts):
    """Which text lies nearest to a clip."""
    clips, captions = encoder.load_clip_tower(CPU), encoder.load_caption_tower(CPU)
    rows = captions.encode([captions.prepare(text, KEY) for text in texts])
    return texts[int((rows @ clips.encode([clips.prepare(item, KEY)])[0]).argmax())]


def test_silence_is_nearest_to_the_word(tmp_path):
    silence = np.zeros(32_000, np.float32)
    assert (
        nearest(yamnet_minilm.encoder(tmp_path), silence, ["a dog barks", "silence", "people applaud", ""]) == "silence"
    )


def test_a_photograph_is_nearest_to_what_it_shows(tmp_path):
    path = Path(pytest.importorskip("sklearn").__file__).parent / "datasets" / "images" / "flower.jpg"
    if not path.is_file():
        pytest.skip("this scikit-learn has no flower.jpg")
    with Image.open(path) as photograph:
        frames = [np.asarray(photograph.convert("RGB"))] * 8
    texts = ["a man drives a car", "a flower", "an aeroplane takes off", ""]
    assert nearest(efficientnet_minilm.encoder(tmp_path), frames, texts) == "a flower"
