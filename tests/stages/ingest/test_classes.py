"""Classes in a listing: one a row or several in a cell, as captions and pairs of the clips."""

from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.corpus import ClassSettings, CorpusConfig
from pipeline.config.records import validate
from pipeline.media.location import MediaFolder
from stages.ingest.annotations import Annotations
from stages.ingest.classes import add_classes
from stages.ingest.listing import is_classified, read_listing


def read(text, name="labels.csv", **options):
    Path(name).write_text(text)
    return read_listing(Path(name), MediaFolder(Path.cwd()), ClassSettings(**options))


def labels(annotations):
    return {segment.media.as_posix(): segment.classes for segment in annotations.segments}


def test_one_class_a_row_is_never_split(project):
    found = read('file,label,fold,split\na.wav,"playing violin, fiddle",1,train\nb.wav,dog,2,test\na.wav,dog,1,\n')
    assert labels(found) == {"a.wav": ("playing violin, fiddle", "dog"), "b.wav": ("dog",)}
    assert [segment.subsets for segment in found.segments] == [("fold-1", "train"), ("fold-2", "test")]
    assert not found.notes and not found.faults


def test_several_classes_in_a_cell(project):
    text = 'fname,labels,caption\na.wav,"Bark,Dog",a dog\nb.wav,,nothing\nc.wav,Rain,rain\n'
    found = read(text)
    assert labels(found) == {"a.wav": ("Bark", "Dog"), "b.wav": (), "c.wav": ("Rain",)}
    assert [segment.captions for segment in found.segments] == [("a dog",), ("nothing",), ("rain",)]
    assert found.notes == ["1 clip of labels.csv without a class"]
    found = read("file,tags\na.wav,Speech; male,x\n".replace(",x", ""), separator=";")
    assert labels(found) == {"a.wav": ("Speech", "male")}


def test_classes_of_json_lines(project):
    lines = '{"file": "a.wav", "labels": ["dog", "rain"], "fold": 3}\n{"file": "b.wav", "labels": [1]}\n'
    found = read(lines, "labels.jsonl")
    assert labels(found) == {"a.wav": ("dog", "rain")} and found.segments[0].subsets == ("fold-3",)
    assert found.faults == [("b.wav", "labels.jsonl", "line 2: a class is a number, not a text")]


def test_a_listing_without_classes_is_refused_and_labels_are_left_alone_without_the_key(project):
    with pytest.raises(UserError, match=r"has no column `label` .* \(columns: 'file', 'caption'\)"):
        read("file,caption\na.wav,a dog\n")
    Path("both.csv").write_text("file,caption,label\na.wav,a dog,dog\n")
    found = read_listing(Path("both.csv"), MediaFolder(Path.cwd()))
    assert found.segments[0].captions == ("a dog",) and found.segments[0].classes == ()
    assert not is_classified(Path("both.csv"))
    for name, text in (("one.csv", "file,label\n"), ("two.jsonl", '{"file": "a.wav", "labels": ["dog"]}\n')):
        Path(name).write_text(text)
        assert is_classified(Path(name))


def test_a_row_that_ends_before_its_class_is_a_fault(project):
    found = read("file,start,label\na.wav,1\nb.wav,,dog\n")
    assert [fault[2].partition(": ")[2] for fault in found.faults] == [
        "it has 2 fields, the header 3: write the class, or the separators of empty cells"
    ]
    assert labels(found) == {"b.wav": ("dog",)}


def test_classes_that_read_the_same_are_noted(project):
    annotations = Annotations()
    add_classes(annotations, {"a.wav": ["dog_bark", "dog_bark"], "b.wav": ["dog bark"]}, None)
    assert annotations.pairs == [("a.wav", "labels:dog_bark"), ("b.wav", "labels:dog bark")]
    assert annotations.notes == ["classes 'dog_bark' and 'dog bark' are the same text 'dog bark'"]


def test_settings_that_do_not_fit_are_refused(project):
    path = Path("configs/corpora/mine.yaml")
    with pytest.raises(UserError, match="classes of a folder come from a listing"):
        validate({"classes": {}, "captions_from": "filename"}, CorpusConfig, path)
    with pytest.raises(UserError, match=r"files\.split: all is for reader vggsound"):
        validate({"reader": "epic-mir", "files": {"split": "all"}}, CorpusConfig, path)
    with pytest.raises(UserError, match="epic-mir knows no classes"):
        validate({"reader": "epic-mir", "classes": {}}, CorpusConfig, path)
