import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.keys import (
    KEY_BYTES,
    caption_key,
    caption_keys,
    clip_key,
    clip_keys,
    fingerprint,
    joined_clip_key,
    pack_keys,
    unpack_keys,
)

seconds = st.floats(0, 1e6, allow_nan=False)
DIGEST = "00" * 16


def test_keys_do_not_change_between_versions():
    # A change here makes every cache in the world worthless: it needs a very good reason.
    assert clip_key(DIGEST, 0.0, 1.5).hex() == "11596b532c8ec2dff2c1fc2c83a96d6b"
    assert clip_key(DIGEST, 0.0, 1.5, "flac16-keep-1").hex() == "9326fc96adcaf79009ff55232cab6399"
    assert caption_key("a dog barks").hex() == "64e5376476f65f2643c5f7c1b1c2915e"
    assert fingerprint({"version": 1, "top_k": 10}) == "f3274a20fef70a9e38e6637312260fab"


@given(seconds, seconds, seconds, seconds)
def test_clip_keys_differ_exactly_when_the_segments_do(a, b, c, d):
    assert (clip_key(DIGEST, a, b) == clip_key(DIGEST, c, d)) == ((a, b) == (c, d))


@given(st.text(), st.text())
def test_caption_keys_differ_exactly_when_the_texts_do(a, b):
    assert (caption_key(a) == caption_key(b)) == (a == b)


def test_a_caption_never_has_the_key_of_a_clip():
    assert caption_key('["x"]') != clip_key("x", 0, 1)


def test_whole_seconds_may_be_given_as_integers():
    assert clip_key(DIGEST, 0, 2) == clip_key(DIGEST, 0.0, 2.0)


def test_fingerprint_does_not_depend_on_the_order_of_options():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_fingerprint_refuses_what_has_no_canonical_form():
    with pytest.raises(ValueError):
        fingerprint({"a": float("nan")})


def test_pack():
    keys = [caption_key(str(i)) for i in range(5)]
    packed = pack_keys(keys)
    assert packed.shape == (5, KEY_BYTES)
    assert [row.tobytes() for row in packed] == keys
    assert pack_keys([]).shape == (0, KEY_BYTES)


stretches = st.tuples(st.text(), seconds, seconds)


@given(st.lists(stretches), st.text())
def test_many_clip_keys_are_those_of_the_clips(clips, rendition):
    columns = ([clip[i] for clip in clips] for i in range(3))
    assert unpack_keys(clip_keys(*columns, rendition)) == [clip_key(*clip, rendition) for clip in clips]


@given(st.lists(st.lists(stretches, min_size=1, max_size=3)), st.text())
def test_many_keys_of_joined_clips_are_those_of_the_clips(clips, rendition):
    columns = ([span[i] for spans in clips for span in spans] for i in range(3))
    packed = clip_keys(*columns, rendition, map(len, clips))
    assert unpack_keys(packed) == [joined_clip_key(spans, rendition) for spans in clips]


@given(st.lists(st.text()))
def test_many_caption_keys_are_those_of_the_captions(texts):
    assert unpack_keys(caption_keys(texts)) == [caption_key(text) for text in texts]
