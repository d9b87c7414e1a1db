from pathlib import Path

from pipeline.config.corpus import CorpusConfig
from pipeline.media.probe import AudioTrack, MediaInfo
from pipeline.monitor.problems import Problems
from stages.ingest.annotations import Annotations, Segment
from stages.ingest.tables import Medium, build

SOUND = AudioTrack(16000, 1, "pcm")


def make(segments, durations, **config):
    media = {Path(name): Medium(name * 4, MediaInfo(s, SOUND, None)) for name, s in durations.items()}
    problems = Problems("ingest")
    return build(Annotations(segments), media, CorpusConfig(**config), problems), problems


def spans(tables):
    return [(clip["clip_id"], clip["start_s"], clip["stop_s"]) for clip in tables.clips.to_dicts()]


def test_a_short_medium_is_one_clip_named_like_it():
    tables, _ = make([Segment(Path("a"), ("x",))], {"a": 7.0})
    assert spans(tables) == [("a", 0.0, 7.0)]
    assert tables.media.to_dicts() == [
        {"media_id": "a", "path": "a", "digest": "aaaa", "duration_s": 7.0, "has_audio": True, "has_video": False}
    ]


def test_a_long_medium_is_cut_and_its_caption_belongs_to_every_window():
    tables, _ = make([Segment(Path("a"), ("x",))], {"a": 25.0}, window_s=10.0)
    assert spans(tables) == [("a@0-10", 0.0, 10.0), ("a@10-20", 10.0, 20.0), ("a@20-25", 20.0, 25.0)]
    assert len(tables.pairs) == 3
    assert len(tables.captions) == 1


def test_windows_can_be_switched_off():
    tables, _ = make([Segment(Path("a"))], {"a": 25.0}, window_s=None)
    assert spans(tables) == [("a", 0.0, 25.0)]


def test_given_times_are_kept_and_end_with_the_medium():
    segments = [
        Segment(Path("a"), ("x",), 1.25, 3.0),
        Segment(Path("a"), ("y",), 20.0, 99.0),
        Segment(Path("a"), (), 5.0),
    ]
    tables, problems = make(segments, {"a": 25.0})
    assert spans(tables) == [("a@1.25-3", 1.25, 3.0), ("a@20-25", 20.0, 25.0), ("a@5-25", 5.0, 25.0)]
    assert len(problems) == 0


def test_a_clip_outside_its_medium_is_a_problem():
    tables, problems = make([Segment(Path("a"), ("x",), 30.0, 31.0, "captions.csv row 2")], {"a": 25.0})
    assert tables.clips.is_empty() and tables.pairs.is_empty()
    assert problems.found[0].reason == "captions.csv row 2: the clip starts at 30 s, the media ends at 25.000 s"


def test_captions_are_joined_by_their_text():
    segments = [Segment(Path("a"), ("dog",)), Segment(Path("b"), ("dog", "cat")), Segment(Path("c"))]
    tables, _ = make(segments, {"a": 1.0, "b": 1.0, "c": 1.0})
    assert tables.captions["text"].to_list() == ["dog", "cat"]
    assert len(tables.pairs) == 3
    assert tables.pairs["caption_id"].n_unique() == 2


def test_media_that_could_not_be_opened_have_no_clips_but_their_captions_stay():
    tables, _ = make([Segment(Path("gone"), ("dog",)), Segment(Path("a"), ("cat",))], {"a": 1.0})
    assert [clip["clip_id"] for clip in tables.clips.to_dicts()] == ["a"]
    assert tables.captions["text"].to_list() == ["dog", "cat"]


def test_a_hop_of_a_window_changes_nothing():
    segments = [Segment(Path("a"), ("x",)), Segment(Path("a"), ("y",), 1.0, 3.0), Segment(Path("b"))]
    plain, hopping = (
        make(list(segments), {"a": 0.7, "b": 77.7}, window_s=0.1, **hop)[0] for hop in ({}, {"hop_s": 0.1})
    )
    for name in vars(plain):
        assert getattr(plain, name).equals(getattr(hopping, name)), name


def test_overlapping_windows_of_media_without_times():
    segments = [Segment(Path("a"), ("x",)), Segment(Path("a"), ("y",), 1.0, 3.0)]
    tables, _ = make(segments, {"a": 9.0}, window_s=4.0, hop_s=2.5)
    assert spans(tables) == [("a@0-4", 0.0, 4.0), ("a@2.5-6.5", 2.5, 6.5), ("a@5-9", 5.0, 9.0), ("a@1-3", 1.0, 3.0)]
    assert len(tables.pairs) == 4


def test_clips_from_windows_pairs_timed_captions_with_the_windows_they_are_relevant_to():
    segments = [
        Segment(Path("a"), ("early",), 0.5, 1.5),
        Segment(Path("a"), ("across",), 3.0, 5.0),
        Segment(Path("a"), ("whole",)),
        Segment(Path("a"), ("late",), 9.0, 99.0),
        Segment(Path("a"), ("beyond",), 12.0, 13.0, "cue 5"),
        Segment(Path("b"), ("short",), 0.0, 1.0),
    ]
    tables, problems = make(segments, {"a": 10.0, "b": 3.0}, clips_from="windows", window_s=4.0, hop_s=2.0)
    assert [id for id, _, _ in spans(tables)] == ["a@0-4", "a@2-6", "a@4-8", "a@6-10", "b"]
    text = dict(tables.captions.select("caption_id", "text").iter_rows())
    found = {}
    for clip, caption in tables.pairs.select("clip_id", "caption_id").iter_rows():
        found.setdefault(text[caption], []).append(clip)
    assert found == {
        "early": ["a@0-4"],
        "across": ["a@0-4", "a@2-6", "a@4-8"],
        "whole": ["a@0-4", "a@2-6", "a@4-8", "a@6-10"],
        "late": ["a@6-10"],
        "short": ["b"],
    }
    assert [one.reason for one in problems.found] == ["cue 5: the clip starts at 12 s, the media ends at 10.000 s"]
