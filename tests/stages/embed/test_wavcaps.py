"""The family `wavcaps` without its networks: options, identity, crops, texts and damaged files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled import bert_words
from parity.fill import sine_mix
from pydantic import ValidationError

from cache.errors import UserError
from pipeline.checkpoints.text_models import load_bert_tokenizer
from pipeline.checkpoints.weights import CheckpointError
from stages.embed.encoder import AudioInput, seeded_draw
from stages.embed.encoders.wavcaps import ENCODER, Config, drawn_crop, wavcaps_text
from stages.embed.registry import load_encoder

LONG = sine_mix(500_000, 32_000)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "HTSAT-BERT-FT-Clotho.pt"
    path.touch()
    return path


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "bert" / "vocab.txt"
    path.parent.mkdir()
    path.write_text("\n".join(bert_words.words()) + "\n")
    return path


def encoder(**options):
    return ENCODER(Config(**{"family": "wavcaps", **options}))


@pytest.mark.parametrize(
    ("name", "file"),
    [("wavcaps", "PT"), ("wavcaps-audiocaps", "FT-AudioCaps"), ("wavcaps-clotho", "FT-Clotho")],
)
def test_the_three_checkpoints_as_audio_egovlp_runs_them(name, file):
    made = load_encoder(name)
    assert made.config == Config(
        family="wavcaps", checkpoint=f"checkpoints/HTSAT-BERT-{file}.pt", text_model="checkpoints/bert-base-uncased"
    )
    assert made.clip_input == AudioInput(32_000) and made.dim == 1024


@pytest.mark.parametrize("options", [{"max_length_s": 10.24}, {"max_length_s": 0}, {"max_tokens": 2}, {"crop": 1}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValidationError):
        encoder(checkpoint="x.pt", **options)


def test_identity(checkpoint, vocabulary):
    text = {"text_model": str(vocabulary.parent)}
    made = encoder(checkpoint=checkpoint, **text)
    clip, caption = made.clip_identity(), made.caption_identity()
    assert clip["checkpoint"] == caption["checkpoint"] == checkpoint and clip["max_samples"] == 320_000
    assert caption["text"] == vocabulary
    for option in ({"seed": 1}, {"max_length_s": 5}):
        other = encoder(checkpoint=checkpoint, **text, **option)
        assert other.clip_identity() != clip and other.caption_identity() == caption
    for option in ({"max_tokens": 77}, {"text_transform": "wavcaps"}):
        other = encoder(checkpoint=checkpoint, **text, **option)
        assert other.clip_identity() == clip and other.caption_identity() != caption
    assert encoder(checkpoint=checkpoint, text_model="not here").clip_identity() == clip


@pytest.mark.parametrize("name", ["wavcaps", "wavcaps-audiocaps", "wavcaps-clotho"])
def test_a_missing_checkpoint_says_how_to_get_it(project, name):
    made = load_encoder(name)
    message = f"not found: {made.config.checkpoint}: run `hearonce checkpoints fetch {made.config.checkpoint.stem}`"
    for needs_it in (made.clip_identity, made.caption_identity, lambda: made.load_clip_tower(torch.device("cpu"))):
        with pytest.raises(UserError, match=message):
            needs_it()


def test_a_longer_clip_is_cropped_where_key_and_seed_say():
    crop = drawn_crop(LONG, 320_000, seeded_draw(b"a" * 16, 0))
    start = seeded_draw(b"a" * 16, 0)(range(180_001))
    np.testing.assert_array_equal(crop, LONG[start : start + 320_000])
    for key, seed in ((b"b" * 16, 0), (b"a" * 16, 1)):
        other = drawn_crop(LONG, 320_000, seeded_draw(key, seed))
        assert len(other) == 320_000 and not np.array_equal(other, crop)
    assert crop.base is None  # a crop does not keep ten minutes of sound in memory


def test_a_crop_starts_anywhere_both_ends_included():
    samples = np.arange(6, dtype=np.float32)
    starts = {int(drawn_crop(samples, 4, seeded_draw(bytes([i] * 16), 0))[0]) for i in range(60)}
    assert starts == {0, 1, 2}


@pytest.mark.parametrize("samples", [1, 319_999, 320_000])
def test_a_shorter_clip_is_left_whole(samples):
    def refuse(_):
        raise AssertionError("nothing is to be drawn")

    np.testing.assert_array_equal(drawn_crop(LONG[:samples], 320_000, refuse), LONG[:samples])


def test_an_empty_clip_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        drawn_crop(np.zeros(0, np.float32), 320_000, seeded_draw(bytes(16), 0))


@pytest.mark.parametrize(
    ("caption", "spoken"),
    [
        ("A Dog barks .  Rain, falls !", "a dog barks rain falls "),
        ('He says: "hi" (loud)', "he says  hi  loud "),
        ("a   b", "a b"),
        ("C# * x|y; z?", "c#  x y z "),
        ("end.", "end "),
    ],
)
def test_captions_as_wavcaps_prepares_them(caption, spoken):
    assert wavcaps_text(caption) == spoken  # values of retrieval/data_handling/text_transform.py


def test_a_vocabulary_of_another_model_or_cut_short_is_refused(vocabulary):
    words = bert_words.words()
    assert load_bert_tokenizer(str(vocabulary.parent), "bert-base-uncased")("rain")["input_ids"] == [
        101,
        words.index("rain"),
        102,
    ]
    for content in (words[:-1], [*words[1:], "x"], [*words[:-1], "dog"]):
        vocabulary.write_text("\n".join(content) + "\n")
        with pytest.raises(CheckpointError, match=r"vocab\.txt is not the vocabulary.*checkpoints fetch bert"):
            load_bert_tokenizer(str(vocabulary.parent), "bert-base-uncased")
    vocabulary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"vocab\.txt, the vocabulary.*cannot be read.*checkpoints fetch bert"):
        load_bert_tokenizer(str(vocabulary.parent), "bert-base-uncased")
    vocabulary.unlink()
    with pytest.raises(UserError, match=r"vocab\.txt, the vocabulary.* is not there: .*checkpoints fetch bert"):
        load_bert_tokenizer(str(vocabulary.parent), "bert-base-uncased")


def test_without_folder_and_network_it_says_what_to_do(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)
    with pytest.raises(UserError, match=r"'bert-base-uncased' is neither .*checkpoints fetch bert.*`text_model`"):
        load_bert_tokenizer("bert-base-uncased", "bert-base-uncased")
