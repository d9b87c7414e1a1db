"""The readers `esc-50`, `urbansound8k` and `vggsound` on files of the published form."""

from pathlib import Path

import classified_files as files
import pytest

from cache.errors import UserError
from pipeline.config.corpus import load_corpus
from pipeline.config.params import CorpusPlace
from stages.ingest.command import READERS


def read(corpus, annotations, media=None, **options):
    config = load_corpus(corpus)
    config = config.model_copy(update={"files": config.files.model_copy(update=options)})
    return READERS[config.reader](CorpusPlace(media=media or annotations, annotations=annotations), config)


def subsets(annotations):
    found = {}
    for subset, _, clip in annotations.subsets:
        found.setdefault(subset, []).append(clip)
    return found


def test_esc_50(project):
    names = files.esc_50(Path("esc"))
    found = read("esc-50", Path("esc"))
    assert [clip.id for clip in found.clips] == names
    assert found.clips[0].audio[0].media == Path("audio") / names[0] and not found.clips[0].frames
    assert subsets(found) == {
        "fold-1": names[:3],
        "fold-2": names[3:],
        "esc-10": [names[1], names[2], names[4], names[5]],
    }
    labels = {one.caption_id: one.text for one in found.captions if one.source == "labels"}
    assert labels == {"labels:silence": "silence", "labels:white_noise": "white noise", "labels:sine_wave": "sine wave"}
    assert found.pairs == list(zip(names, list(labels) * 2, strict=True))
    prompted = {one.caption_id: one.text for one in found.captions if one.source == "labels@laion-clap"}
    assert prompted["labels@laion-clap:0:white_noise"] == "This is a sound of white noise."
    ensemble = [one for one in found.captions if one.source == "labels@ensemble"]
    assert len(ensemble) == 3 * 5 and len({one.caption_id for one in ensemble}) == len(ensemble)
    assert found.notes == [
        "esc/meta/esc50.csv gives 6 clips, published are 2000: is this the official file?",
        "esc/meta/esc50.csv gives 3 classes, published are 50: is this the official file?",
    ]
    assert read("esc-50", Path("esc/meta"), Path("esc/audio")).pairs == found.pairs
    assert read("esc-50", Path("esc/meta/esc50.csv"), Path("esc")).clips == found.clips


def test_urbansound8k(project):
    names = files.urbansound8k(Path("urban"))
    found = read("urbansound8k", Path("urban"))
    assert found.clips[4].audio[0].media == Path("audio/fold2") / names[4]
    assert subsets(found)["background"] == [names[2], names[5]] and subsets(found)["fold-2"] == names[3:]
    assert len(found.pairs) == 6 and not found.faults


def test_vggsound(project):
    Path("vgg").mkdir()
    names = files.vggsound(Path("vgg"))
    found = read("vggsound", Path("vgg"))
    assert [clip.id for clip in found.clips] == [names[0], names[2]]
    assert names == ["---g-f_I2yQ_000001", "--0PQM4-hqg_000030", "-0p7hKXZ1ww_000030"]
    clip = found.clips[1]
    assert clip.audio is clip.frames and clip.audio[0].media == Path("video") / f"{names[2]}.mp4"
    assert found.pairs[1] == (names[2], "labels:playing violin, fiddle")
    assert [fault[0] for fault in found.faults] == [names[0]]
    both = read("vggsound", Path("vgg"), split="all")
    assert subsets(both) == {"test": [names[0], names[2]], "train": [names[1]]}


def test_media_that_are_missing_are_named(project):
    names = files.esc_50(Path("esc"))
    (Path("esc/audio") / names[2]).unlink()
    found = read("esc-50", Path("esc"))
    assert found.faults == [(names[2], "", "no audio: esc has no audio/{video} or {video}")]
    for one in Path("esc/audio").iterdir():
        one.unlink()
    found = read("esc-50", Path("esc"))
    assert not found.faults and "no audio of any video: esc has no audio/{video}" in found.notes[0]


def test_rows_that_cannot_be_used_are_faults(project):
    files.esc_50(Path("esc"))
    path = Path("esc/meta/esc50.csv")
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace(",1,", ",one,", 1)
    lines[2] = lines[2] + ",more"
    lines[3] = "../secret.wav" + lines[3][lines[3].index(",") :]
    lines[5] = lines[5].replace(",white_noise,", ",_,")
    lines.append(lines[4])
    path.write_text("\n".join(lines) + "\n")
    found = read("esc-50", Path("esc"))
    assert [reason for _, _, reason in found.faults] == [
        "line 2: fold is 'one', no number",
        "line 3: 8 cells where there should be 7 (filename, fold, target, category, esc10, src_file, take)",
        "line 4: '../secret.wav' is no name of a file",
        "line 6: '_' is no name of a class: it is empty",
        f"the clip {lines[4].split(',')[0]} has a second row, which is left out",
    ]
    assert len(found.clips) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.wav,dog\n", "does not begin with filename,fold,target"),
        ("", "does not begin with"),
        ('filename,fold,target,category,esc10,src_file,take\n"a.wav,1', "cannot be read"),
    ],
)
def test_another_file_is_refused(project, text, message):
    Path("esc50.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read("esc-50", Path("."))
    with pytest.raises(UserError, match=r"has no metadata/UrbanSound8K.csv or UrbanSound8K.csv: get it from"):
        read("urbansound8k", Path("."))


def test_class_prompts_that_cannot_be_used_are_refused(project):
    files.esc_50(Path("esc"))
    prompts = Path("configs/class-prompts/ensemble.txt")
    for text, message in (("a sound\n", "line 1 is no template: it has no {}"), ("# none\n", "has no template")):
        prompts.write_text(text)
        with pytest.raises(UserError, match=message):
            read("esc-50", Path("esc"))
    prompts.unlink()
    with pytest.raises(UserError, match="No class prompts 'ensemble'"):
        read("esc-50", Path("esc"))
