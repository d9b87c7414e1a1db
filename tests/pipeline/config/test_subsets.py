from pathlib import Path

import pytest

from cache import tables
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.subsets import read_subset

CLIPS = ["dog.mp4", "talk.mp4@0-10", "talk.mp4@10-20", "a@b.wav"]


@pytest.fixture
def corpus(project):
    def write(name, rows, schema):
        tables.write_table(tables.table(rows, schema), schema, layout.table("mine", name))

    media = {"dog.mp4": 3.0, "talk.mp4": 20.0, "a@b.wav": 1.0}
    write(
        "media",
        [
            {
                "media_id": name,
                "path": name,
                "digest": "",
                "duration_s": seconds,
                "has_audio": True,
                "has_video": name.endswith("mp4"),
            }
            for name, seconds in media.items()
        ],
        tables.MEDIA,
    )
    spans = [("dog.mp4", 0, 3), ("talk.mp4", 0, 10), ("talk.mp4", 10, 20), ("a@b.wav", 0, 1)]
    write(
        "clips",
        [
            {"clip_id": id, "media_id": name, "media_path": name, "media_digest": "", "start_s": a, "stop_s": b}
            for id, (name, a, b) in zip(CLIPS, spans, strict=True)
        ],
        tables.CLIPS,
    )
    texts = {"c1": "a dog barks", "c2": "someone speaks", "c3": "a bell"}
    write(
        "captions",
        [{"caption_id": one, "text": text, "source": "given"} for one, text in texts.items()],
        tables.CAPTIONS,
    )
    pairs = {"c1": ["dog.mp4"], "c2": ["talk.mp4@0-10", "talk.mp4@10-20"], "c3": ["dog.mp4"]}
    write("pairs", [{"clip_id": clip, "caption_id": one} for one, ids in pairs.items() for clip in ids], tables.PAIRS)
    annotated = [("low", "clip", "dog.mp4"), ("low", "caption", "c1"), ("high", "question", "7")]
    write("subsets", [{"subset": a, "kind": b, "id": c} for a, b, c in annotated], tables.SUBSETS)
    Path("configs/subsets/mine").mkdir(parents=True)
    return lambda text: Path("configs/subsets/mine/some.yaml").write_text(text)


def test_a_medium_is_named_where_clip_ids_do_not_say_it(corpus):
    clips = [{"clip_id": one, "media_id": "audio/P01/P01_01.flac"} for one in ("P01_01_0", "P01_01_1")]
    place = {"media_path": "x", "media_digest": "", "start_s": 0, "stop_s": 1}
    rows = [{**one, **place} for one in [*clips, {"clip_id": "UID@0-1", "media_id": "UID/0.flac"}]]
    tables.write_table(tables.table(rows, tables.CLIPS), tables.CLIPS, layout.table("mine", "clips"))
    corpus("clips: [audio/P01/P01_01.flac]\n")
    assert read_subset("mine", "some") == {"P01_01_0", "P01_01_1"}
    corpus("clips: [UID]\n")
    assert read_subset("mine", "some") == {"UID@0-1"}
    corpus("clips: [audio/P01/P01_1.flac]\n")
    with pytest.raises(UserError, match=r"did you mean 'audio/P01/P01_01\.flac'"):
        read_subset("mine", "some")


def test_clips_and_whole_media_can_be_named(corpus):
    corpus("clips: [dog.mp4, talk.mp4, a@b.wav]\n")
    assert read_subset("mine", "some") == set(CLIPS)
    corpus("clips: [talk.mp4@10-20]\n")
    assert read_subset("mine", "some") == {"talk.mp4@10-20"}


@pytest.mark.parametrize(
    ("condition", "clips"),
    [
        ("duration_s < 5", {"dog.mp4", "a@b.wav"}),
        ("text LIKE '%dog%' OR NOT has_video", {"dog.mp4", "a@b.wav"}),
        ("media_duration_s = 20 AND start_s >= 10", {"talk.mp4@10-20"}),
        ("source = 'given' AND text = 'a bell'", {"dog.mp4"}),
    ],
)
def test_clips_are_chosen_by_a_condition(corpus, condition, clips):
    corpus(f'where: "{condition}"\n')
    assert read_subset("mine", "some") == clips


def test_a_subset_of_the_annotations_is_taken_over(corpus):
    corpus("annotated: low\n")
    assert read_subset("mine", "some") == {"dog.mp4", "c1"}
    corpus("annotated: high\n")
    assert read_subset("mine", "some") == {"7"}


def test_a_medium_that_could_not_be_read_stops_no_subset(corpus):
    corpus("clips: [dog.mp4, unreadable.mp4, lost.mp4]\n")
    remarks = []
    assert read_subset("mine", "some", remarks.append) == {"dog.mp4"}
    assert "'unreadable.mp4' names no clip" in remarks[0] and "and 1 more" in remarks[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clips: [dog.mp3]\n", r"names no clip: 'dog\.mp3' names no clip \(did you mean 'dog\.mp4'\?\)"),
        ("clips: []\n", "names no clip"),
        ("where: duration_s > 100\n", "no clip of 'mine' fulfils `where: duration_s > 100`"),
        ("where: lenght > 100\n", "cannot be understood .*lenght.*columns: clip_id, "),
        ("where: duration_s >\n", "cannot be understood"),
        ("where: 1 = 1; DROP TABLE clips\n", "cannot be understood"),
        ("annotated: lwo\n", "has no subset 'lwo' .*hearonce ingest mine.*, did you mean 'low'"),
        ("clips: [dog.mp4]\nannotated: low\n", "give one of clips, where and annotated"),
        ("clip: [dog.mp4]\n", "unknown key 'clip', did you mean 'clips'"),
    ],
)
def test_mistakes_are_named(corpus, text, message):
    corpus(text)
    with pytest.raises(UserError, match=message):
        read_subset("mine", "some")


def test_a_name_nobody_knows_says_what_was_meant(corpus):
    corpus("clips: [dog.mp4]\n")
    with pytest.raises(UserError, match=r"No subset 'soome' of 'mine' .* did you mean 'some'\?"):
        read_subset("mine", "soome")
