"""Made-up corpora of the size and shape of AudioEpicMIR and AudioEgoMCQ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_VERBS, N_NOUNS = 97, 300
WITH_TWO_NOUNS = 0.25


@dataclass(frozen=True)
class Retrieval:
    """Attributes:
    clips: float32 (clips, dim).
    captions: float32 (clips, dim), the embedding of every clip's sentence.
    indexes: (sentences,) the first clip that has each sentence.
    relevancy: float64 (clips, sentences), mean overlap of verb and noun classes.
    levels: (clips,) 0, 1 or 2: a subset to which each sentence, and so each clip, belongs.
    """

    clips: np.ndarray
    captions: np.ndarray
    indexes: np.ndarray
    relevancy: np.ndarray
    levels: np.ndarray


def retrieval(n_clips: int, n_sentences: int, dim: int, seed: int = 0) -> Retrieval:
    """Sentences of one verb and one or two nouns, few of them frequent; every sentence has a clip."""
    generator = np.random.default_rng(seed)
    verbs = generator.choice(N_VERBS, n_sentences, p=_zipf(N_VERBS))
    has_noun = np.zeros((n_sentences, N_NOUNS), np.float32)
    for sentences in (np.arange(n_sentences), np.flatnonzero(generator.random(n_sentences) < WITH_TWO_NOUNS)):
        has_noun[sentences, generator.choice(N_NOUNS, len(sentences), p=_zipf(N_NOUNS))] = 1
    extra = generator.choice(n_sentences, n_clips - n_sentences, p=_zipf(n_sentences))
    sentence_of = generator.permutation(np.concatenate([np.arange(n_sentences), extra]))
    _, indexes = np.unique(sentence_of, return_index=True)
    names = generator.standard_normal((N_VERBS + N_NOUNS, dim), np.float32)
    has_verb = np.eye(N_VERBS, dtype=np.float32)[verbs]
    texts = np.concatenate([has_verb, has_noun], axis=1) @ names
    texts += generator.standard_normal(texts.shape, np.float32)
    clips = texts[sentence_of] + 25 * generator.standard_normal((n_clips, dim), np.float32)
    return Retrieval(
        _unit(clips),
        _unit(texts)[sentence_of],
        indexes,
        _relevancy(verbs, has_noun)[sentence_of],
        generator.integers(0, 3, n_sentences)[sentence_of],
    )


@dataclass(frozen=True)
class Questions:
    """Attributes:
    texts: float32 (questions, dim).
    clips: float32 (clips, dim).
    options: (questions, 5) rows of clips.
    answers: (questions,) 0..4.
    types: (questions,) inter or intra.
    """

    texts: np.ndarray
    clips: np.ndarray
    options: np.ndarray
    answers: np.ndarray
    types: np.ndarray


def questions(n: int, dim: int, seed: int = 0) -> Questions:
    """As many clips as questions, each of them in five."""
    generator = np.random.default_rng(seed)
    clips = _unit(generator.standard_normal((n, dim), np.float32))
    options = np.stack([generator.permutation(n) for _ in range(5)], axis=1)
    answers = generator.integers(0, 5, n)
    texts = clips[options[np.arange(n), answers]] * 2 + generator.standard_normal((n, dim), np.float32) / 2
    return Questions(_unit(texts), clips, options, answers, np.array(["inter", "intra"])[generator.integers(0, 2, n)])


def _relevancy(verbs: np.ndarray, has_noun: np.ndarray) -> np.ndarray:
    shared = has_noun @ has_noun.T
    n_nouns = has_noun.sum(axis=1)
    shared /= n_nouns[:, None] + n_nouns - shared
    return (shared.astype(np.float64) + (verbs[:, None] == verbs)) / 2


def _zipf(n: int) -> np.ndarray:
    weights = 1 / np.arange(1, n + 1)
    return weights / weights.sum()


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
