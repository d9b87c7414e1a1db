"""Kept answers: durable, shared, and never silently wrong."""

import random
import resource

import pytest
from faults.killing import kill_at_random

from cache.answers import Answer, AnswerStore
from cache.errors import UserError, WriteError

IDENTITY = {"prompt": "Say what you hear.", "model": "m", "decoding": {"temperature": 0}}


def answer(store, text, reply="sound", **changes):
    values = {"finish": "stop", "model": "m", "input_tokens": 3, "output_tokens": 2} | changes
    return Answer(store.key(text), text, reply, **values)


def test_answers_come_back_as_they_went_in(tmp_path):
    store = AnswerStore(tmp_path, IDENTITY)
    texts = ["plain", "line\nbreak\r\n", '"quoted"', "ünï \U0001f600 \u2028", ""]
    store.add([answer(store, text, f"heard {text}") for text in texts])
    found = AnswerStore(tmp_path, IDENTITY).read()
    assert {one.text: one.reply for one in found.values()} == {text: f"heard {text}" for text in texts}
    assert found[store.key("plain")].input_tokens == 3 and found[store.key("plain")].at_ns > 0


@pytest.mark.parametrize(
    "change", [{"prompt": "Say what you see."}, {"model": "n"}, {"decoding": {"temperature": 1}}, {"decoding": {}}]
)
def test_another_prompt_model_or_decoding_is_another_store(tmp_path, change):
    one, other = AnswerStore(tmp_path, IDENTITY), AnswerStore(tmp_path, IDENTITY | change)
    one.add([answer(one, "a")])
    assert other.read() == {} and one.key("a") != other.key("a")


def test_the_last_answer_counts_and_a_colleagues_counts_least(tmp_path):
    store = AnswerStore(tmp_path, IDENTITY)
    store.add([answer(store, "a", "first")])
    store.add([answer(store, "a", "second")])
    AnswerStore(tmp_path, IDENTITY).warm([answer(store, "a", "elsewhere", at_ns=1 << 62)])
    assert store.read()[store.key("a")].reply == "second"


def test_two_writers_at_once_lose_nothing(tmp_path):
    one, other = AnswerStore(tmp_path, IDENTITY), AnswerStore(tmp_path, IDENTITY)
    for number in range(20):
        one.add([answer(one, f"one {number}")])
        other.add([answer(other, f"other {number}")])
    assert len(one.read()) == 40 and one.damages == []


@pytest.mark.parametrize("n_left", [1, 20, 120])
def test_what_a_killed_writer_left_unfinished_is_dropped(tmp_path, n_left):
    store = AnswerStore(tmp_path, IDENTITY)
    store.add([answer(store, "a"), answer(store, "b")])
    (path,) = store.path.glob("*.jsonl")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\n") + 1 + n_left])
    assert [one.text for one in store.read().values()] == ["a"]
    assert store.damages == []
    again = AnswerStore(tmp_path, IDENTITY)
    again.add([answer(again, "b")])
    assert len(again.read()) == 2


def test_every_flipped_bit_is_found_and_costs_one_answer(tmp_path):
    store = AnswerStore(tmp_path, IDENTITY)
    store.add([answer(store, text) for text in "abc"])
    (path,) = store.path.glob("*.jsonl")
    data = path.read_bytes()
    dice = random.Random(5)
    for place in range(len(data) - 1):
        bad = bytearray(data)
        bad[place] ^= 1 << dice.randrange(8)
        path.write_bytes(bytes(bad))
        found = store.read()
        assert store.damages and all("does not match its checksum" in one.reason for one in store.damages), place
        assert all(one.reply == "sound" for one in found.values())
        assert len(found) >= 1


def test_a_record_under_a_foreign_key_is_not_believed(tmp_path):
    store, other = AnswerStore(tmp_path, IDENTITY), AnswerStore(tmp_path, IDENTITY | {"model": "n"})
    store.add([answer(store, "a")])
    store.path.rename(other.path)
    assert other.read() == {} and len(other.damages) == 1


def test_a_file_that_cannot_be_read_is_not_paid_for_again(tmp_path):
    store = AnswerStore(tmp_path, IDENTITY)
    store.add([answer(store, "a")])
    (path,) = store.path.glob("*.jsonl")
    path.unlink()
    path.mkdir()  # root may read every file, but nobody a folder
    with pytest.raises(UserError, match="holds answers that cannot be read"):
        store.read()


def test_a_disk_that_is_full_in_the_middle_of_a_line_costs_that_answer_alone(tmp_path):
    store = AnswerStore(tmp_path, IDENTITY)
    store.add([answer(store, "a")])
    (path,) = store.path.glob("*.jsonl")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, before[1]))
    try:
        with pytest.raises(WriteError, match="was not written"):
            store.add([answer(store, "b")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes().count(b"\n") == 1 and not path.read_bytes().endswith(b"\n")
    store.add([answer(store, "c")])  # the same run may go on when there is room again
    assert sorted(one.text for one in store.read().values()) == ["a", "c"] and store.damages == []


def test_the_folders_of_a_new_store_are_durable(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("cache.answers.sync", synced.append)
    store = AnswerStore(tmp_path / "store/answers", IDENTITY)
    store.add([answer(store, "a")])
    assert {tmp_path, tmp_path / "store", tmp_path / "store/answers", store.path} <= set(synced)


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    dice = random.Random(3)
    told = 0
    for round in range(6):
        store = AnswerStore(tmp_path / str(round), IDENTITY)

        def work(say, store=store):
            for number in range(100_000):
                store.add([answer(store, str(number), "x" * 300)])
                say(number)

        ended = kill_at_random(work, 0.05, dice, told=2 * round)
        texts = {one.text for one in store.read().values()}
        assert {str(number) for number in ended.said} <= texts
        assert len(texts) <= len(ended.said) + 1
        assert store.damages == []
        told += len(ended.said)
    assert told > 20
