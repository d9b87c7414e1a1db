"""Texts of classes: which captions they are, and templates as they are shipped and written."""

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.classes import (
    FOLDER,
    caption_id,
    class_of,
    filled,
    is_of_classes,
    prompted_id,
    read_prompts,
    source_of,
)
from pipeline.config.corpus import load_corpus
from pipeline.config.experiments import experiments_of


def test_the_shipped_tables_read_prompts_that_their_corpora_have(project):
    assert all(read_prompts(path.stem) for path in FOLDER.glob("*.txt"))
    for corpus in ("esc-50", "urbansound8k", "vggsound"):
        made = {"labels", *map(source_of, load_corpus(corpus).classes.prompts)}
        read = {source for one in experiments_of(corpus) for source in one.sources()}
        assert read and read <= made, corpus
        assert all(one.protocol == "zero-shot-classification" for one in experiments_of(corpus))


def test_an_id_says_the_class_whatever_it_is_called():
    for name in ("dog", "playing violin, fiddle", "12:30 train", "a@b"):
        assert class_of(caption_id(name), "labels") == name
        assert class_of(prompted_id("clap", 12, name), "labels@clap") == name
    assert is_of_classes("labels") and is_of_classes("labels@clap") and not is_of_classes("labelled")


def test_templates_are_lines_with_a_hole(project):
    path = Path("configs/class-prompts/mine.txt")
    path.write_text("# two\n\n  A {} and a {}. \nthe sound of {}\n")
    assert read_prompts("mine") == ["A {} and a {}.", "the sound of {}"]
    assert filled("A {} and a {}.", "dog_bark") == "A dog bark and a dog bark."
    path.write_text("{}\n{}\n")
    with pytest.raises(UserError, match="line 2 repeats a template"):
        read_prompts("mine")
    with pytest.raises(UserError, match=r"No class prompts 'mine2' .*did you mean 'mine'"):
        read_prompts("mine2")
