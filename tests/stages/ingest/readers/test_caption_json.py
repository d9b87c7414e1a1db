"""The readers `msrvtt-videos`, `youcook2-videos`, `vatex` and `activitynet-captions` on the published formats."""

import pytest
from published_captions import audio, video, write_csv, write_json

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.config.records import CONFIGS, load
from stages.ingest.command import READERS

YOUTUBE = ("GLd3aX16zBg", "xHr8X2Wpmno", "V53XmPeyjIU")


def read(corpus, folder, **options):
    shipped = load(CONFIGS / "corpora" / f"{corpus}.yaml", CorpusConfig)
    config = shipped.model_copy(update={"files": shipped.files.model_copy(update=options)})
    return READERS[config.reader](CorpusPlace(media=folder / "media", annotations=folder / "annotations"), config)


def touched(folder, *names):
    """Files whose names alone matter."""
    for name in names:
        path = folder / "media" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def reasons(found):
    return [reason for _, _, reason in found.faults]


def texts(found, source="given"):
    return [caption.text for caption in found.captions if caption.source == source]


def members(found, subset):
    return [id for name, kind, id in found.subsets if name == subset and kind == "clip"]


def msrvtt_video(number, split):
    return {
        "category": 9,
        "url": f"https://www.youtube.com/watch?v={YOUTUBE[0]}",
        "video_id": f"video{number}",
        "start time": 137.72,
        "end time": 149.44,
        "split": split,
        "id": number,
    }


def msrvtt(*videos, n_captions=2):
    sentences = [
        {"caption": f"caption {n} of {one['video_id']}", "video_id": one["video_id"], "sen_id": 20 * one["id"] + n}
        for one in videos
        for n in range(n_captions)
    ]
    return {"info": {"year": "2016"}, "videos": list(videos), "sentences": sentences}


@pytest.fixture
def msrvtt_files(tmp_path):
    folder = tmp_path / "annotations"
    videos = [msrvtt_video(0, "train"), msrvtt_video(6513, "validate")]
    write_json(folder / "train_val_videodatainfo.json", msrvtt(*videos))
    write_json(folder / "test_videodatainfo.json", msrvtt(msrvtt_video(9770, "test"), msrvtt_video(9771, "test")))
    rows = [("ret0", "msr9770", "video9770", "a person is connecting something to system")]
    write_csv(folder / "MSRVTT_JSFUSION_test.csv", ["key", "vid_key", "video_id", "sentence"], rows)
    write_csv(folder / "MSRVTT_train.9k.csv", ["video_id"], [["video0"], ["video6513"], ["video9771"], ["video1"]])
    touched(tmp_path, *(f"TrainValVideo/video{number}.mp4" for number in (0, 6513, 9770, 9771)))
    return tmp_path


def test_msrvtt_of_the_challenge_with_the_split_1k_a(project, msrvtt_files):
    found = read("msrvtt-videos", msrvtt_files)
    assert [clip.id for clip in found.clips] == ["video0", "video6513", "video9770", "video9771"]
    (span,) = found.clips[0].frames
    assert (span.media.as_posix(), span.start_s, span.stop_s) == ("TrainValVideo/video0.mp4", 0, None)
    assert len(texts(found)) == 8 and texts(found, "eval") == ["a person is connecting something to system"]
    assert ("video9770", "eval:video9770") in found.pairs
    assert members(found, "test") == ["video9770", "video9771"] and members(found, "validate") == ["video6513"]
    assert members(found, "test-1k-a") == ["video9770"]
    assert members(found, "train-9k") == ["video0", "video6513", "video9771"]
    notes = " | ".join(found.notes)
    assert "MSRVTT_train.9k.csv names 1 clip that the caption files lack, such as video1" in notes
    assert "subset train-7k is left out" in notes and "4 clips, published are 10,000" in notes
    assert not found.faults


def test_msrvtt_in_one_file_and_in_part(project, msrvtt_files):
    (msrvtt_files / "annotations" / "test_videodatainfo.json").unlink()
    (msrvtt_files / "annotations" / "MSRVTT_JSFUSION_test.csv").unlink()
    found = read("msrvtt-videos", msrvtt_files)
    assert len(found.clips) == 2
    assert any("test_videodatainfo.json is missing, and its clips are left out" in note for note in found.notes)
    write_json(msrvtt_files / "annotations" / "MSRVTT_data.json", msrvtt(msrvtt_video(9771, "test")))
    found = read("msrvtt-videos", msrvtt_files)
    assert [clip.id for clip in found.clips] == ["video9771"] and members(found, "test") == ["video9771"]


def test_what_of_msrvtt_cannot_be_used(project, msrvtt_files):
    content = msrvtt(msrvtt_video(9771, "test"), msrvtt_video(9771, "test"), n_captions=1)
    content["videos"].append({"id": 5})
    content["sentences"] += [
        {"caption": "of nobody", "video_id": "video4711", "sen_id": 1},
        {"caption": 7, "video_id": "video9771", "sen_id": 2},
        {"video_id": "video9771", "sen_id": 3},
        "text",
    ]
    write_json(msrvtt_files / "annotations" / "MSRVTT_data.json", content)
    for name in ("MSRVTT_JSFUSION_test.csv", "MSRVTT_train.9k.csv"):
        (msrvtt_files / "annotations" / name).unlink()
    found = read("msrvtt-videos", msrvtt_files)
    parts = (
        "video video9771: it stands in the file already",
        "video 2: it has no 'video_id'",
        "sentence 2: video_id 'video4711' is not among its videos",
        "sentence 3: caption is '7', no text",
        "sentence 4: it has no 'caption'",
        "sentence 5: ",
    )
    for part, reason in zip(parts, reasons(found), strict=True):
        assert part in reason
    assert texts(found) == ["caption 0 of video9771"] * 2


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["video", "sentence"], [["video9770", "a"]], "has no column 'video_id' .it has video, sentence"),
        (["video_id", "sentence"], [["video9770", "a"], ["video9770", "b"]], "row 3: 'video9770' stands above already"),
        (["video_id", "sentence"], [["video9770", ""]], "row 2: its sentence is empty"),
        (["video_id", "sentence"], [["nobody", "b"]], "names no clip of the corpus"),
    ],
)
def test_a_list_that_is_not_the_published_one_is_refused(project, msrvtt_files, header, rows, message):
    write_csv(msrvtt_files / "annotations" / "MSRVTT_JSFUSION_test.csv", header, rows)
    with pytest.raises(UserError, match=message):
        read("msrvtt-videos", msrvtt_files)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"videos": []}', "is no file of MSR-VTT .has no 'sentences'"),
        ("[1]", "is no file of MSR-VTT .is built otherwise"),
        ('{"videos": [], "videos": []}', "has 'videos' twice"),
    ],
)
def test_a_damaged_file_is_one_sentence(project, msrvtt_files, text, message):
    (msrvtt_files / "annotations" / "MSRVTT_data.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read("msrvtt-videos", msrvtt_files)


def youcook2(*segments, subset="training"):
    annotations = [
        {"segment": segment, "id": number, "sentence": f"step {number}"} for number, segment in enumerate(segments)
    ]
    return {
        "duration": 311.77,
        "subset": subset,
        "recipe_type": "113",
        "annotations": annotations,
        "video_url": "https://www.youtube.com/watch?v=x",
    }


def test_youcook2_has_a_clip_for_each_step(project, hearonce, tmp_path):
    database = {YOUTUBE[0]: youcook2([0, 1], [1, 2]), YOUTUBE[1]: youcook2([0, 1], subset="validation")}
    write_json(tmp_path / "annotations" / "youcookii_annotations_trainval.json", {"database": database})
    video(tmp_path / "media" / "training" / "113" / f"{YOUTUBE[0]}.mp4", 2.0)
    video(tmp_path / "media" / f"{YOUTUBE[1]}.mkv", 2.0, seed=9)
    folders = ["--media", tmp_path / "media", "--annotations", tmp_path / "annotations"]
    code, out, _ = hearonce("add", "youcook2-videos", *folders, "--experiments", "*-clip-vit-b32")
    assert code == 0 and "Licence of youcook2-videos: None is stated" in out
    code, out, _ = hearonce("ingest", "youcook2-videos")
    assert code == 0 and "3 clips, 3 captions" in out
    found = read("youcook2-videos", tmp_path)
    assert [clip.id for clip in found.clips] == [f"{YOUTUBE[0]}@0-1", f"{YOUTUBE[0]}@1-2", f"{YOUTUBE[1]}@0-1"]
    assert [clip.frames[0].media.suffix for clip in found.clips] == [".mp4", ".mp4", ".mkv"]
    assert members(found, "validation") == [f"{YOUTUBE[1]}@0-1"]


def test_what_of_youcook2_cannot_be_used(project, tmp_path):
    database = {YOUTUBE[0]: youcook2([5, 3]), YOUTUBE[1]: youcook2([0, 1]), YOUTUBE[2]: {"subset": "training"}}
    write_json(tmp_path / "annotations" / "youcookii_annotations_trainval.json", {"database": database})
    touched(tmp_path, f"{YOUTUBE[0]}.mp4", f"{YOUTUBE[2]}.mp4")
    found = read("youcook2-videos", tmp_path)
    assert "the segment 5 to 3 s does not stop after its start" in reasons(found)[0]
    assert "it has no 'annotations'" in reasons(found)[1] and len(found.faults) == 2
    assert not found.clips and any("no media of 1 of 1 (training) clips" in note for note in found.notes)


def vatex(video_id, start=10, chinese=True):
    captions = {"enCap": [f"english {n}" for n in range(2)]} | ({"chCap": ["中文"]} if chinese else {})
    return {"videoID": f"{video_id}_{start:06d}_{start + 10:06d}", **captions}


def test_vatex_has_two_languages_and_clips_or_videos(project, tmp_path):
    write_json(tmp_path / "annotations" / "vatex_training_v1.0.json", [vatex(YOUTUBE[0]), vatex(YOUTUBE[0], 30)])
    test = [vatex(YOUTUBE[1], chinese=False), vatex(YOUTUBE[1], chinese=False), {"videoID": "x", "enCap": []}]
    write_json(tmp_path / "annotations" / "vatex_public_test_english_v1.1.json", test)
    (tmp_path / "annotations" / "some.txt").write_text(f"{YOUTUBE[0]}_000030_000040\n")
    subsets = {
        "train": "vatex_training_v1.0.json",
        "test": "vatex_public_test_english_v1.1.json",
        "some": "some.txt",
    }
    touched(tmp_path, f"{YOUTUBE[0]}_000010_000020.mp4", f"{YOUTUBE[1]}.mp4")
    found = read("vatex", tmp_path, subsets=subsets)
    assert [clip.id for clip in found.clips] == [f"{YOUTUBE[0]}_000010_000020", f"{YOUTUBE[1]}_000010_000020"]
    assert texts(found, "chinese") == ["中文"] and len(texts(found)) == 4
    assert members(found, "some") == [f"{YOUTUBE[0]}_000030_000040"]
    assert "it stands in the file already" in reasons(found)[0]
    assert "videoID 'x' is not ID_START_STOP with six digits each" in reasons(found)[1]
    touched(tmp_path, f"{YOUTUBE[0]}.webm")
    found = read("vatex", tmp_path, subsets=subsets, media_are="videos")
    spans = [(clip.frames[0].media.name, clip.frames[0].start_s, clip.frames[0].stop_s) for clip in found.clips]
    assert spans == [(f"{YOUTUBE[0]}.webm", 10, 20), (f"{YOUTUBE[0]}.webm", 30, 40), (f"{YOUTUBE[1]}.mp4", 10, 20)]


def test_one_file_is_not_two_clips(project, tmp_path):
    write_json(tmp_path / "annotations" / "a.json", [vatex(YOUTUBE[0]), vatex(YOUTUBE[0], 30)])
    touched(tmp_path, f"{YOUTUBE[0]}.mp4")
    found = read("vatex", tmp_path, subsets={"train": "a.json"})
    assert len(found.clips) == 1 and "is the file of GLd3aX16zBg_000010_000020 already" in reasons(found)[0]


def activitynet(*sentences):
    times = [[10.0 * number, 10.0 * number + 8] for number in range(len(sentences))]
    return {"duration": 82.73, "timestamps": times, "sentences": list(sentences)}


def test_activitynet_has_a_paragraph_for_each_video_or_its_segments(project, tmp_path):
    videos = {"v_uqiMw7tQ1Cc": activitynet("A man stands. ", " He jumps."), "v_bXdq2zI1Ms0": activitynet("A dog.")}
    write_json(tmp_path / "annotations" / "val_1.json", videos)
    touched(tmp_path, "v_uqiMw7tQ1Cc.mp4", "bXdq2zI1Ms0.mkv")
    found = read("activitynet-captions", tmp_path)
    assert texts(found) == ["A man stands. He jumps.", "A dog."]
    assert [(clip.id, clip.frames[0].stop_s) for clip in found.clips] == [(id, None) for id in videos]
    assert members(found, "val") == list(videos)
    assert any("train.json is missing, and its clips are left out" in note for note in found.notes)
    found = read("activitynet-captions", tmp_path, captions_of="segments")
    assert texts(found) == ["A man stands.", "He jumps.", "A dog."]
    assert found.clips[1].id == "v_uqiMw7tQ1Cc@10-18" and found.clips[1].frames[0].start_s == 10


def test_a_video_in_two_files_and_sentences_without_times(project, tmp_path):
    videos = {"v_uqiMw7tQ1Cc": activitynet("A man stands."), "v_bXdq2zI1Ms0": {"sentences": ["a"], "timestamps": []}}
    write_json(tmp_path / "annotations" / "train.json", videos)
    write_json(tmp_path / "annotations" / "val_1.json", {"v_uqiMw7tQ1Cc": activitynet("Another.")})
    touched(tmp_path, "v_uqiMw7tQ1Cc.mp4")
    found = read("activitynet-captions", tmp_path)
    assert texts(found) == ["A man stands."]
    assert "1 sentences have 0 timestamps" in reasons(found)[0]
    assert "train.json v_uqiMw7tQ1Cc has the clip already" in reasons(found)[1]


def test_audio_and_frames_may_lie_in_two_files(project, tmp_path):
    write_json(tmp_path / "annotations" / "val_1.json", {"v_uqiMw7tQ1Cc": activitynet("A man stands.")})
    audio(tmp_path / "media" / "audio" / "v_uqiMw7tQ1Cc.wav")
    touched(tmp_path, "video/v_uqiMw7tQ1Cc.mp4")
    (clip,) = read("activitynet-captions", tmp_path).clips
    assert (clip.audio[0].media.as_posix(), clip.frames[0].media.as_posix()) == (
        "audio/v_uqiMw7tQ1Cc.wav",
        "video/v_uqiMw7tQ1Cc.mp4",
    )


def test_a_placeholder_that_nobody_knows_is_named(project, tmp_path):
    write_json(tmp_path / "annotations" / "val_1.json", {"v_uqiMw7tQ1Cc": activitynet("A man stands.")})
    for patterns, message in (
        (["{vidio}"], "has {vidio}, did you mean 'video'"),
        ([], "add a pattern such as '{video}"),
    ):
        with pytest.raises(UserError, match=message):
            read("activitynet-captions", tmp_path, media=patterns)
