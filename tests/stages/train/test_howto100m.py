import json
import pickle

import numpy as np
import pytest
from howto100m_samples import CAPTIONS, PATHS, build
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import UserError
from stages.train.howto100m import HowTo100M, read_paths
from stages.train.speech_captions import (
    CaptionFile,
    SpeechCaptions,
    import_captions,
    json_entries,
    open_captions,
    speech_segment,
)

SILENT = {"start": [], "end": [], "text": []}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("howto100m")
    build(root)
    return root


def test_the_path_list(root, tmp_path):
    assert read_paths(root / "paths.csv") == [path.replace("None/", "") for path in PATHS]
    (tmp_path / "paths.csv").write_text("food/video_a/aaa\n")
    with pytest.raises(UserError, match=r"paths\.csv has no column `path`"):
        read_paths(tmp_path / "paths.csv")
    with pytest.raises(UserError, match=r"none\.csv cannot be read"):
        read_paths(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("chosen", "least_s", "start", "stop", "words"),
    [
        (1, 1.0, 2.0, 3.0, "b"),
        (1, 2.0, 1.0, 3.0, "b a"),  # both neighbours make it as long: the one before
        (2, 2.0, 3.0, 5.0, "c d"),  # only the one after is near
        (0, 99.0, 1.0, 20.0, "a b c d"),
        (3, 3.5, 2.0, 20.0, "d c b"),
    ],
)
def test_a_short_caption_is_joined_to_the_nearer_neighbour(chosen, least_s, start, stop, words):
    captions = SpeechCaptions([1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0], ["a", "b", "c", "d"])
    if chosen == 2:
        captions = SpeechCaptions([0.0, 0.5, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0], ["a", "b", "c", "d"])
    if stop == 20.0:
        captions = SpeechCaptions([1.0, 2.0, 17.0, 18.0], [2.0, 3.0, 17.5, 20.0], ["a", "b", "c", "d"])
    found = speech_segment(captions, chosen, least_s)
    assert (found.start_s, found.stop_s, " ".join(found.words)) == (start, stop, words)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("arrays", [False, True])
def test_captions_are_read_video_by_video_from_the_imported_file(tmp_path, protocol, arrays):
    source = {
        id: {**one, "start": np.array(one["start"]), "end": np.array(one["end"])} if arrays else one
        for id, one in {**CAPTIONS, "silent": {"start": [], "end": [], "text": []}}.items()
    }
    (tmp_path / "caption.pickle").write_bytes(pickle.dumps(source, protocol))
    assert import_captions(tmp_path / "caption.pickle", tmp_path / "captions.h5") == 4
    captions = CaptionFile(tmp_path / "captions.h5")
    assert list(captions) == list(source)
    for id, one in CAPTIONS.items():
        assert captions[id] == SpeechCaptions(one["start"], one["end"], one["text"])
    assert len(captions["silent"]) == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": {"start": [1.0], "end": [2.0]}}, "video a has no captions with start, end and text"),
        ({"a": {"start": [1.0], "end": [2.0], "text": []}}, "1 starts, 1 ends and 0 texts"),
        ([{"start": []}], "is a list, expected a dict of videos"),
        ("captions", "neither a list nor a dict"),
    ],
)
def test_another_pickle_is_refused_and_nothing_is_left(tmp_path, content, reason):
    (tmp_path / "caption.pickle").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=reason):
        import_captions(tmp_path / "caption.pickle", tmp_path / "captions.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["caption.pickle"]


def test_damaged_feature_files_are_named(root, tmp_path):
    build(tmp_path)
    videos = HowTo100M(read_paths(tmp_path / "paths.csv"), tmp_path / "features", tmp_path / "sounds")
    random = np.random.default_rng(0)
    with pytest.raises(UserError, match="Video aaa has no captions"):
        videos.speech_segments(0, 2, 100, 5.0, random)
    spectrogram = tmp_path / "sounds" / PATHS[0] / "aaa_spec.npz"
    spectrogram.write_bytes(spectrogram.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"aaa_spec\.npz holds no readable array `arr_0`"):
        videos.random_windows(0, 2, 100, random)
    np.savez(spectrogram, np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match=r"aaa_spec\.npz holds no readable array `arr_0` \(Object arrays"):
        videos.random_windows(0, 2, 100, random)
    spectrogram.unlink()
    with pytest.raises(UserError, match=r"aaa_spec\.npz is missing"):
        videos.random_windows(0, 2, 100, random)


@pytest.mark.parametrize("ascii_only", [False, True])
def test_captions_in_json_are_those_of_the_pickle(tmp_path, ascii_only):
    source = {**CAPTIONS, 'é"{': {"start": [0.5], "end": [1], "text": ["crème } brûlée, \\"]}, "silent": SILENT}
    (tmp_path / "caption.json").write_text(json.dumps(source, ensure_ascii=ascii_only, indent=1), encoding="utf-8")
    (tmp_path / "caption.pickle").write_bytes(pickle.dumps(source))
    for name in ("json", "pickle"):
        assert import_captions(tmp_path / f"caption.{name}", tmp_path / f"{name}.h5") == len(source)
    ours, theirs = (CaptionFile(tmp_path / f"{name}.h5") for name in ("json", "pickle"))
    assert list(ours) == list(theirs) == list(source)
    assert all(ours[id] == theirs[id] for id in source)


VALUES = st.lists(st.text()) | st.dictionaries(st.text(), st.floats(allow_nan=False))


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.integers(1, 30))
def test_json_is_read_whatever_the_chunks(tmp_path_factory, entries, chunk):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8", newline="")
    assert list(json_entries(path, "", chunk)) == list(entries.items())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": {"start": [1], "end": [2], "text": ["b"]}', "cut short"),
        ('{"a": {"start": [1], "en', "cut short"),
        ("", "cut short"),
        ('[{"start": []}]', r"found '\[' where \{ should be"),
        ('{"a": 3}', "'a' holds no captions"),
        ('{"a": {"start": [], "end": [], "text": []}} {}', "behind the end"),
        ('{"a": {"start": [1], "end": [], "text": []}}', "video a has no captions with start, end and text"),
        (b'{"a": {"start": [], "end": [], "text": ["\xff"]}}', "cannot be read"),
    ],
)
def test_damaged_json_is_refused_with_a_sentence(tmp_path, content, reason):
    path = tmp_path / "caption.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=reason):
        import_captions(path, tmp_path / "captions.h5")
    assert [one.name for one in tmp_path.iterdir()] == ["caption.json"]


def test_the_other_form_beside_is_named(tmp_path):
    (tmp_path / "caption.json").touch()
    with pytest.raises(UserError, match=r"caption\.pickle is missing: name .*caption\.json instead"):
        open_captions(tmp_path / "caption.pickle")
