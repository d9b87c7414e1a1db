"""From the official files of a corpus with classes to its table: add, ingest, extract-audio, embed, score, report."""

from pathlib import Path

import classified_files as files
import polars as pl
import pytest
from scoring import details_of, metrics_of

from cache import tables
from pipeline.config import layout
from pipeline.config.params import load_params
from stages.report.overview import overviews
from stages.report.results import read_results


def steps(hearonce, corpus, encoder="yamnet-minilm", subsets=("all",)):
    for arguments in (
        ("ingest", corpus),
        ("extract-audio", corpus),
        ("embed", corpus, encoder),
        *(("score", corpus, subset) for subset in subsets),
    ):
        code, said, error = hearonce(*arguments)
        assert code == 0, (arguments, said, error)
        yield said


def test_esc_50_from_its_files_to_its_table(project, hearonce):
    files.esc_50(Path("ESC-50-master"))
    place = ("--media", "ESC-50-master", "--annotations", "ESC-50-master")
    code, said, error = hearonce("add", "esc-50", *place, "--experiments", "esc-50-yamnet-minilm-*")
    assert code == 0, error
    assert "2 experiments, 7 subsets in params.yaml" in said
    *_, whole, _, fold = steps(hearonce, "esc-50", subsets=("all", "esc-10", "fold-2"))
    assert "esc-50-yamnet-minilm-names: clip to class top-1 " in whole and "chance 33.3" in whole
    assert "2 of 2 experiments scored" in fold
    found = metrics_of("esc-50")["esc-50-yamnet-minilm-ensemble"]
    assert set(found) == {"clip_to_class", "class_to_clip", "folds"}
    # a tagger knows silence, noise and a sine from each other, by the names of the classes alone
    assert metrics_of("esc-50")["esc-50-yamnet-minilm-names"]["clip_to_class"]["top-1"] > 60
    assert found["folds"]["top-1"] == pytest.approx(found["clip_to_class"]["top-1"], abs=1e-4)
    few = metrics_of("esc-50", "esc-10")["esc-50-yamnet-minilm-names"]
    assert details_of("esc-50", "esc-50-yamnet-minilm-names", "esc-10")["counts"]["clip_to_class"] == {
        "n_queries": 4,
        "n_items": 2,
    }
    assert "folds" in few and "folds" not in metrics_of("esc-50", "fold-2")["esc-50-yamnet-minilm-names"]
    classes = tables.read_table(layout.results("esc-50", "all") / "classes.parquet", tables.CLASSES)
    assert set(classes["class"]) == set(files.SOUNDS) and set(classes["metric"]) == {"top-1", "mAP"}
    captions = tables.read_table(layout.table("esc-50", "captions"), tables.CAPTIONS)
    assert captions.filter(pl.col("source") == "labels@wavcaps")["text"].to_list()[1] == "white noise can be heard"

    code, said, error = hearonce("results", "--corpus", "esc-50")
    assert code == 0, error
    assert "zero-shot-classification" in said and "Clip → class" in said and "Over folds" in said
    chosen, _ = read_results(load_params(), lambda *_: None, "esc-50")
    whole_table, of_subsets = overviews(chosen)
    assert {column.metric for column in whole_table.columns} >= {"top-1", "top-1 SD", "top-5", "mAP@10", "mAP"}
    assert {column.label for column in of_subsets.columns} == {"Clip → class top-1", "Class → clip mAP"}
    code, said, error = hearonce("compare", "esc-50-yamnet-minilm-names", "esc-50-yamnet-minilm-ensemble")
    assert code == 0 and "macro top-1" in said and "mAP@10" in said and "left out" not in said, error
    code, said, error = hearonce("report")
    assert code == 0, error
    page = (layout.DATA / "report" / "index.html").read_text()
    assert "Clip → class" in page and "Class → clip" in page


def test_a_folder_with_a_column_of_labels(project, hearonce):
    for number, name in enumerate(files.SOUNDS):
        for fold in (1, 2):
            files.write_wav(Path("mine") / f"{name}-{fold}.wav", files.sound(name, 2.0, fold + number))
    rows = [f"{name}-{fold}.wav,{name},{fold}" for name in files.SOUNDS for fold in (1, 2)]
    Path("labels.csv").write_text("\n".join(["file,label,fold", *rows]) + "\n")
    code, said, error = hearonce("init", "mine", "--captions", "labels.csv")
    assert code == 0, error
    assert "6 media files, 3 classes from labels.csv" in said
    whole = list(steps(hearonce, "mine"))[-1]
    assert "mine-audio-names: clip to class top-1 " in whole
    found = metrics_of("mine")["mine-audio-names"]
    assert found["clip_to_class"]["mAP@10"] > 0.5 and "top-1 SD" in found["folds"]


def test_check_says_which_prompts_the_corpus_lacks(project, hearonce):
    files.esc_50(Path("esc"))
    place = ("--media", "esc", "--annotations", "esc", "--experiments", "esc-50-yamnet-minilm-*")
    assert hearonce("add", "esc-50", *place)[0] == 0
    assert hearonce("check")[0] == 0
    config = Path("configs/corpora/esc-50.yaml")
    config.write_text(config.read_text().replace(", ensemble]", "]"))
    code, _, error = hearonce("check")
    assert (
        code == 2 and "reads caption source 'labels@ensemble', which `classes:` of configs/corpora/esc-50.yaml" in error
    )
    Path("configs/class-prompts/wavcaps.txt").write_text("can be heard\n")
    assert "wavcaps.txt line 1 is no template" in hearonce("check")[2]


def test_vggsound_with_a_video_that_is_gone(project, hearonce):
    Path("vgg").mkdir()
    names = files.vggsound(Path("vgg"))
    place = ("--media", "vgg", "--annotations", "vgg/vggsound.csv", "--experiments", "vggsound-clip-vit-b32-*")
    assert hearonce("add", "vggsound", *place)[0] == 0
    code, said, _ = hearonce("ingest", "vggsound", "--keep-going")
    assert code == 0 and "1 clips, 20 captions" in said and "2 classes, published are 309" in said
    problems = tables.read_table(layout.problems("vggsound", "ingest"), tables.PROBLEMS)
    assert problems["id"].to_list() == [names[0]]
    spans = tables.read_table(layout.table("vggsound", "spans"), tables.SPANS)
    assert spans["clip_id"].to_list() == [names[2]] * 2 and spans["media_path"][0] == f"video/{names[2]}.mp4"
