"""The readers `clotho`, `audiocaps` and `musiccaps` on files of exactly the published formats."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from published_captions import AUDIOCAPS_HEADER, CLOTHO_HEADER, MUSICCAPS_HEADER, audio, clotho, write_csv

import hearonce as hearonce_package
from cache import tables as schemas
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.config.records import CONFIGS, load
from pipeline.config.subsets import read_subset
from stages.ingest.command import READERS

YOUTUBE = ("7fmOlUlwoNg", "6BJ455B1aAs", "-0Gj8-vB1q4")
SIZES = {"development": 2, "validation": 1, "evaluation": 3}


def read(corpus, folder, **options):
    shipped = load(CONFIGS / "corpora" / f"{corpus}.yaml", CorpusConfig)
    config = shipped.model_copy(update={"files": shipped.files.model_copy(update=options)})
    return READERS[config.reader](CorpusPlace(media=folder / "media", annotations=folder / "annotations"), config)


def table(name, corpus="clotho"):
    return schemas.read_table(layout.table(corpus, name), getattr(schemas, name.upper()))


def reasons(annotations):
    return [reason for _, _, reason in annotations.faults]


def without_counts(notes):
    return [note for note in notes if "published are" not in note]


@pytest.fixture
def audiocaps(tmp_path):
    """Five captions of each clip of `test`, one of the clip of `train`, in the order of the official files: mixed."""
    rows = [(103540 - n, YOUTUBE[n % 2], (20, 0)[n % 2], f"Rattling, number {n // 2 % 4}") for n in range(10)]
    write_csv(tmp_path / "annotations" / "test.csv", AUDIOCAPS_HEADER, rows, end="\r\n")
    write_csv(tmp_path / "annotations" / "train.csv", AUDIOCAPS_HEADER, [(91139, YOUTUBE[2], 130, "Water pours")])
    audio(tmp_path / "media" / "test" / f"Y{YOUTUBE[0]}.wav", 0.2)
    return tmp_path


def test_clotho_is_added_ingested_embedded_and_scored_on_its_subsets(project, hearonce, tmp_path):
    clotho(tmp_path, SIZES)
    Path("configs/experiments/clotho/cheap.yaml").write_text(
        "protocol: paired-retrieval\nrows:\n  - encoders: [yamnet-minilm]\n"
    )
    code, out, _ = hearonce(
        "add", "clotho", "--media", tmp_path / "media", "--annotations", tmp_path / "annotations",
        "--experiments", "clotho-yamnet-minilm",
    )  # fmt: skip
    assert code == 0 and "1 experiment, 4 subsets in params.yaml" in out
    assert "Licence of clotho: Clips: the Creative Commons licence of each file" in out and "Terms of clotho: " in out
    assert "clotho-evaluation: {corpus: clotho, subset: evaluation" in Path("params.yaml").read_text()
    code, out, _ = hearonce("ingest", "clotho")
    assert code == 0 and "6 clips, 30 captions" in out
    assert "2 clips of subset development, published are 3,839" in out
    clips, captions, pairs = (table(name) for name in ("clips", "captions", "pairs"))
    assert clips["clip_id"].to_list()[-1] == "evaluation/evaluation Größe, 2.wav"
    assert clips["stop_s"].to_list() == [0.5] * 6
    first = captions.filter(captions["caption_id"].str.starts_with("given:development/development Größe, 0.wav"))
    assert first["text"].to_list() == [f'A "dog" barks, 0 times {extra}.' for extra in range(5)]
    assert pairs.group_by("clip_id").len()["len"].to_list() == [5] * 6
    assert {subset: len(read_subset("clotho", subset)) for subset in SIZES} == SIZES
    for command in (["extract-audio", "clotho"], ["embed", "clotho", "yamnet-minilm", "--device", "cpu"]):
        assert hearonce(*command)[0] == 0
    assert hearonce("score", "clotho", "evaluation")[0] == 0
    result = json.loads(Path("data/results/clotho/evaluation/metrics.json").read_text())["clotho-yamnet-minilm"]
    queries = pl.read_parquet("data/results/clotho/evaluation/queries.parquet")
    assert len(queries) == 3 * 5 + 3
    embedded = hearonce_package.embeddings("clotho", "yamnet-minilm")
    texts = hearonce_package.embeddings("clotho", "yamnet-minilm", "captions")
    similarities = texts.numpy()[-15:] @ embedded.numpy()[-3:].T
    own = np.repeat(np.arange(3), 5)
    assert result["text_to_clip"]["R@1"] == pytest.approx(100 * np.mean(similarities.argmax(1) == own))
    assert result["clip_to_text"]["R@1"] == pytest.approx(100 * np.mean(own[similarities.argmax(0)] == np.arange(3)))


def test_clips_of_one_name_in_two_subsets_are_two(project, tmp_path):
    for subset in ("development", "evaluation"):
        audio(tmp_path / "media" / "clotho" / subset / "Rain.wav")
        rows = [["Rain.wav", *(f"rain of {subset}, {n}" for n in range(5))]]
        write_csv(tmp_path / "annotations" / f"clotho_captions_{subset}.csv", CLOTHO_HEADER, rows)
    found = read("clotho-v1", tmp_path)
    assert [clip.audio[0].media.as_posix() for clip in found.clips] == [
        "clotho/development/Rain.wav",
        "clotho/evaluation/Rain.wav",
    ]
    assert not found.faults and not without_counts(found.notes)


def test_files_converted_to_flac_are_found_and_a_missing_subset_is_a_note(project, tmp_path):
    clotho(tmp_path, {"evaluation": 1})
    wav = next((tmp_path / "media").rglob("*.wav"))
    wav.unlink()
    audio(wav.with_suffix(".flac"))
    found = read("clotho", tmp_path)
    assert len(found.clips) == 1 and len(found.captions) == 5
    missing = [note for note in found.notes if "is left out" in note]
    assert len(missing) == 2 and "clotho_captions_development.csv is missing (get it from doi.org" in missing[0]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (["file_name", *CLOTHO_HEADER[2:]], ["a.wav", "b", "c", "d", "e"], "has no column 'caption_1' .it has file_n"),
        (["name", "text"], ["a.wav", "b"], "has no column 'file_name' and no 'caption_1' and no"),
        (CLOTHO_HEADER, None, "has no rows: get Clotho from doi.org"),
    ],
)
def test_another_table_is_refused_with_its_columns(project, tmp_path, header, row, message):
    clotho(tmp_path, {"evaluation": 1})
    write_csv(tmp_path / "annotations" / "clotho_captions_evaluation.csv", header, [row] if row else [])
    with pytest.raises(UserError, match=message):
        read("clotho", tmp_path)


def test_no_file_at_all_says_where_they_are_had(project, tmp_path):
    (tmp_path / "annotations").mkdir()
    with pytest.raises(UserError, match=r"train\.csv and .*test\.csv are missing: get AudioCaps from github.com/cdj"):
        read("audiocaps", tmp_path)
    with pytest.raises(UserError, match=r"musiccaps-public\.csv is missing: get MusicCaps from kaggle"):
        read("musiccaps", tmp_path)
    with pytest.raises(UserError, match=r"files\.subsets of the corpus config names no caption file of Clotho"):
        read("clotho", tmp_path, subsets={})


def test_rows_that_cannot_be_used_are_faults_and_the_others_stay(project, tmp_path):
    clotho(tmp_path, {"evaluation": 4})
    path = tmp_path / "annotations" / "clotho_captions_evaluation.csv"
    lines = path.read_text().splitlines()
    names = [f"evaluation Größe, {number}.wav" for number in range(4)]
    lines[2] = f'"{names[1]}",one,two'  # too few cells
    lines[3] = lines[3].replace("2 times 1", "2 times \x07")  # a bell in one caption
    lines += [lines[4], "notes.txt,a,b,c,d,e", f'"{names[0]}",a,b,c,d,e,f', f'"{names[2]}",a,b,c,d,']
    path.write_text("\n".join(lines))
    found = read("clotho", tmp_path)
    assert [clip.id for clip in found.clips] == [f"evaluation/{names[number]}" for number in (0, 2, 3)]
    assert len(found.captions) == 14
    assert [reason.split(":")[0] for reason in reasons(found)] == [
        "clotho_captions_evaluation.csv row 3",
        "clotho_captions_evaluation.csv row 4",
        "clotho_captions_evaluation.csv row 6",
        "clotho_captions_evaluation.csv row 7",
        "clotho_captions_evaluation.csv row 8",
        "clotho_captions_evaluation.csv row 9",
    ]
    parts = (
        "3 fields",
        "U+0007",
        "in clotho_captions_evaluation.csv row 5 already",
        "file_name is 'notes.txt'",
        "7 fields",
        "row 4 already",
    )
    for part, reason in zip(parts, reasons(found), strict=True):
        assert part in reason


def test_audiocaps_joins_the_captions_of_a_clip_and_counts_what_is_gone(audiocaps, project):
    found = read("audiocaps", audiocaps)
    (clip,) = found.clips
    assert clip.id == f"{YOUTUBE[0]}@20-30"
    (span,) = clip.audio
    assert (span.media.as_posix(), span.start_s, span.stop_s, span.cut_s) == (f"test/Y{YOUTUBE[0]}.wav", 0, None, 10)
    assert [caption.text for caption in found.captions] == [f"Rattling, number {n % 4}" for n in range(5)]
    assert {pair[0] for pair in found.pairs} == {clip.id} and len(found.pairs) == 5
    assert set(found.subsets) == {
        ("train", "clip", f"{YOUTUBE[2]}@130-140"),
        *(("test", "clip", f"{id}@{start}-{start + 10}") for id, start in ((YOUTUBE[0], 20), (YOUTUBE[1], 0))),
    }
    (gone,) = [note for note in found.notes if note.startswith("no media")]
    assert "1 of 1 (train), 1 of 2 (test) clips, which are left out" in gone and "{video}_{start_ms}" in gone
    assert not found.faults
    assert any("gives 10 captions of subset test, published are 4,875" in note for note in found.notes)


@pytest.mark.parametrize(
    "name", ["{id}", "Y{id}", "{id}_20", "{id}_20_30", "{id}_20000_30000", "{id}_000020", "{id}_000020_000030"]
)
def test_common_names_of_clips(audiocaps, project, name):
    (audiocaps / "media" / "test" / f"Y{YOUTUBE[0]}.wav").rename(
        audiocaps / "media" / f"{name.format(id=YOUTUBE[0])}.flac"
    )
    assert len(read("audiocaps", audiocaps).clips) == 1


def test_whole_videos_are_read_at_their_times(audiocaps, project):
    (audiocaps / "media" / "test" / f"Y{YOUTUBE[0]}.wav").rename(audiocaps / "media" / f"{YOUTUBE[0]}.webm")
    (audiocaps / "media" / f"{YOUTUBE[1]}_0.wav").touch()  # a clip, where whole videos are wanted
    found = read("audiocaps", audiocaps, media_are="videos")
    (span,) = found.clips[0].audio
    assert (span.start_s, span.stop_s, span.cut_s) == (20, 30, 10) and len(found.clips) == 1


def test_rows_of_audiocaps_that_cannot_be_used(audiocaps, project):
    rows = [
        (1, YOUTUBE[0], 20, "first"),
        (1, YOUTUBE[0], 20, "again"),
        (2, YOUTUBE[0], "soon", "when"),
        (3, "short", 20, "whose"),
        ("x", YOUTUBE[0], 20, "which"),
        (4, YOUTUBE[0], 20, " "),
    ]
    write_csv(audiocaps / "annotations" / "test.csv", AUDIOCAPS_HEADER, rows)
    found = read("audiocaps", audiocaps)
    assert [caption.text for caption in found.captions] == ["first"]
    parts = ("audiocap_id 1 stands in test.csv row 2", "'soon' is no time", "'short'", "'x'", "caption is empty")
    wrong = sorted(reasons(found))
    assert len(wrong) == 5 and all(any(part in reason for reason in wrong) for part in parts)


def test_an_id_with_two_files_is_not_guessed(audiocaps, project):
    audio(audiocaps / "media" / "old" / f"{YOUTUBE[1]}.mp3", 0.2)
    audio(audiocaps / "media" / "new" / f"{YOUTUBE[1]}.wav", 0.2)
    found = read("audiocaps", audiocaps)
    assert len(found.clips) == 1
    assert f"may be any of new/{YOUTUBE[1]}.wav, old/{YOUTUBE[1]}.mp3" in reasons(found)[0]


def musiccaps_row(number, balanced, evaluated, caption="a song", aspects="['low quality', \"singer's\", 'sad']"):
    return [YOUTUBE[number], 30, 40, "/m/0140xf,/m/04rlf", aspects, caption, 4, balanced, evaluated]


def test_musiccaps_has_captions_aspects_and_subsets(project, tmp_path):
    rows = [
        musiccaps_row(0, "True", "True"),
        musiccaps_row(1, "False", "True", caption='two lines,\nand a "quote"'),
        musiccaps_row(2, "False", "False", aspects="[]"),
    ]
    write_csv(tmp_path / "annotations" / "musiccaps-public.csv", MUSICCAPS_HEADER, rows)
    audio(tmp_path / "media" / f"[{YOUTUBE[0]}]-[30-40].wav", 0.2)
    audio(tmp_path / "media" / f"{YOUTUBE[1]}.wav", 0.2)
    audio(tmp_path / "media" / f"{YOUTUBE[2]}_30_40.wav", 0.2)
    found = read("musiccaps", tmp_path)
    assert not found.faults and not without_counts(found.notes)
    texts = {caption.caption_id: caption.text for caption in found.captions}
    assert texts[f"aspects:{YOUTUBE[0]}@30-40"] == "low quality, singer's, sad"
    assert texts[f"given:{YOUTUBE[1]}@30-40"] == 'two lines,\nand a "quote"'
    assert len(texts) == 5
    named = [(subset, id.partition("@")[0]) for subset, _, id in found.subsets]
    assert named == [
        ("eval", YOUTUBE[0]),
        ("balanced", YOUTUBE[0]),
        ("eval", YOUTUBE[1]),
        ("train", YOUTUBE[2]),
    ]


def test_rows_of_musiccaps_that_cannot_be_used(project, tmp_path):
    rows = [
        musiccaps_row(0, "yes", "True"),
        musiccaps_row(1, "True", "True", aspects="['open"),
        [YOUTUBE[2], 40, 30, *musiccaps_row(2, "True", "True")[3:]],
    ]
    write_csv(tmp_path / "annotations" / "musiccaps-public.csv", MUSICCAPS_HEADER, rows)
    (tmp_path / "media").mkdir()
    parts = ("is_balanced_subset is 'yes'", 'aspect_list is "[\'open"', "stops at 30 s and starts at 40 s")
    for part, reason in zip(parts, reasons(read("musiccaps", tmp_path)), strict=True):
        assert part in reason


def ingested(tmp_path, hearonce, media_are):
    """Clips, and reasons by clip, of AudioCaps with media that are partly clips, partly whole videos."""
    config = Path("configs/corpora/audiocaps.yaml")
    config.write_text(config.read_text().replace("media_are: clips", f"media_are: {media_are}"))
    folders = ["--media", tmp_path / "media", "--annotations", tmp_path / "annotations"]
    assert hearonce("add", "audiocaps", *folders, "--experiments", "audiocaps-laion-clap")[0] == 0
    hearonce("ingest", "audiocaps")
    problems = pl.read_parquet("data/problems/audiocaps/ingest.parquet")
    return table("spans", "audiocaps"), dict(problems.select("id", "reason").iter_rows())


@pytest.mark.parametrize("media_are", ["clips", "videos"])
def test_the_length_of_a_file_tells_a_clip_from_a_video(project, hearonce, tmp_path, media_are):
    rows = [(number, id, start, "text") for number, (id, start) in enumerate(zip(YOUTUBE, (20, 0, 20), strict=True))]
    write_csv(tmp_path / "annotations" / "test.csv", AUDIOCAPS_HEADER, rows)
    for id, duration_s in zip(YOUTUBE, (10.05, 10.0, 28.0), strict=True):
        audio(tmp_path / "media" / f"{id}.wav", duration_s)
    spans, problems = ingested(tmp_path, hearonce, media_are)
    found = {row["clip_id"]: (row["start_s"], row["stop_s"]) for row in spans.iter_rows(named=True)}
    cut, first, late = (f"{id}@{start}-{start + 10}" for id, start in zip(YOUTUBE, (20, 0, 20), strict=True))
    if media_are == "clips":
        assert found == {cut: (0, 10.05), first: (0, 10)}
        assert set(problems) == {late} and "lasts 28.00 s, its clip 10 s" in problems[late]
        assert "set `media_are: videos`" in problems[late]
    else:
        assert found == {first: (0, 10), late: (20, 28)}  # videos may end before the clip does
        assert set(problems) == {cut} and "set `media_are: clips`" in problems[cut]
