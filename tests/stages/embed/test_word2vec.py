"""Captions as vectors of words: the tokeniser, the file format, what is read of it."""

import gzip

import numpy as np
import pytest
import torch
from filled import word2vec as filled

from cache.errors import UserError
from pipeline.formats import word_vectors
from pipeline.formats.word_vectors import open_vectors, words_of
from stages.embed.encoders.word2vec import ENCODER, Config

DIM = 7


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """The working tree, with its store, is an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".hearonce"


def test_words_keep_their_case_apostrophes_digits_and_underscores():
    assert words_of("The man's cuts a Onion_2, and-fries it!") == [
        "The",
        "man's",
        "cuts",
        "a",
        "Onion_2",
        "and",
        "fries",
        "it",
    ]
    assert words_of("é, 犬が") == ["é", "犬が"]
    assert words_of(" - ") == []


@pytest.mark.parametrize("line_feeds", [False, True])
def test_vectors_are_those_of_the_file_and_the_first_of_a_word_counts(tmp_path, line_feeds):
    vectors = open_vectors(filled.write_vectors(tmp_path / "v.bin", DIM, line_feeds), DIM)
    for number, word in enumerate(filled.WORDS[:-1]):
        np.testing.assert_array_equal(vectors.of([word]), filled.vectors(DIM)[[number]])
    assert len(vectors) == len(filled.WORDS)
    found = vectors.of(["in", "nowhere", "the", "THE", "in", "fridge"])
    np.testing.assert_array_equal(found, filled.vectors(DIM)[[6, 0, 6, 4]])
    assert vectors.of(["nowhere"]).shape == (0, DIM)


def test_captions_become_ragged_rows(tmp_path):
    encoder = filled.encoder(tmp_path)
    tower = encoder.load_caption_tower(torch.device("cpu"))
    rows = tower.encode([tower.prepare(text, bytes(16)) for text in ("The man's fridge opens", "xyz", "")])
    np.testing.assert_array_equal(rows[0], filled.vectors(300)[[1, 2, 4, 3]])
    assert [row.shape for row in rows[1:]] == [(0, 300), (0, 300)]
    assert encoder.row_format("captions").ragged and encoder.towers == ("captions",)


def test_the_whole_file_is_read_once_only(tmp_path, store):
    for _ in range(2):
        filled.encoder(tmp_path).load_caption_tower(torch.device("cpu"))
        (index,) = (store / "word-indexes").iterdir()
        made = index.stat().st_mtime_ns, index.stat().st_ino
    filled.encoder(tmp_path).load_caption_tower(torch.device("cpu"))
    assert (index.stat().st_mtime_ns, index.stat().st_ino) == made


def test_a_damaged_or_foreign_file_is_one_sentence(tmp_path):
    whole = filled.write_vectors(tmp_path / "v.bin", DIM).read_bytes()
    for name, content, words in (
        ("cut.bin", whole[:-5], "cut short: it has 8 of the 9 vectors"),
        ("no-vectors.bin", whole[:4], "cut short"),
        ("packed.bin", gzip.compress(whole), "is compressed: unpack it"),
        ("text.bin", b"the 0.1 0.2\n", "is no file of word vectors"),
        ("empty.bin", b"", "is empty"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=words) as caught:
            open_vectors(path, DIM)
        assert str(path) in str(caught.value)
    with pytest.raises(UserError, match="set `dim: 7`"):
        open_vectors(tmp_path / "v.bin", 300)
    assert open_vectors(tmp_path / "v.bin").dim == DIM
    missing = ENCODER(Config(family="word2vec", checkpoint=tmp_path / "missing.bin"))
    with pytest.raises(UserError, match="not found"):
        missing.caption_identity()


def test_a_flipped_bit_in_the_index_of_words_is_found_and_the_index_made_again(tmp_path, store):
    path = filled.write_vectors(tmp_path / "v.bin", DIM)
    expected = open_vectors(path, DIM).of(filled.WORDS)
    (index,) = (store / "word-indexes").iterdir()
    data = index.read_bytes()
    for byte in range(0, len(data), 13):
        index.write_bytes(data[:byte] + bytes([data[byte] ^ 16]) + data[byte + 1 :])
        np.testing.assert_array_equal(open_vectors(path, DIM).of(filled.WORDS), expected)
        assert index.read_bytes() == data


def test_an_index_of_a_file_that_changes_meanwhile_is_not_kept(tmp_path, store, monkeypatch):
    path = filled.write_vectors(tmp_path / "v.bin", DIM)
    other = path.read_bytes().replace(b"in ", b"on ")

    def overtaken(*of):
        path.with_name("new").write_bytes(other)
        path.with_name("new").replace(path)
        return index_of(*of)

    index_of = word_vectors._index
    monkeypatch.setattr(word_vectors, "_index", overtaken)
    with pytest.raises(UserError, match="has changed while it was being read"):
        open_vectors(path, DIM)
    assert not list((store / "word-indexes").glob("*.npy"))


@pytest.mark.parametrize(
    "header", ["99999999999999 3", "9 99999999999999", "9 -3", "-9 3", "9 0", "9" * 50 + " 3", "9" * 70]
)
def test_what_a_header_claims_is_held_against_the_file(tmp_path, store, header):
    path = tmp_path / "v.bin"
    path.write_bytes(
        header.encode() + b"\n" + filled.write_vectors(tmp_path / "w.bin", 3).read_bytes().partition(b"\n")[2]
    )
    with pytest.raises(UserError, match=r"cut short|is no file of word vectors") as caught:
        open_vectors(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
