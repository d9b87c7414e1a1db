"""An endpoint that misbehaves in every way costs time at most; what it has answered is kept."""

import time
from email.utils import formatdate
from pathlib import Path

import pytest
from language_server import content, description_of

from cache.errors import UserError, WriteError
from stages.describe.engine import EndpointLost
from stages.describe.exchange import asked_pause

CAPTIONS = ["cut onion", "wash pan", "open drawer", "stir soup"]
ERROR = {"error": {"message": "sorry"}}


@pytest.fixture
def mine(corpora):
    corpora.add("mine", CAPTIONS)
    return corpora


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}, ERROR),
        (503, {}, "no"),
        (429, {"Retry-After": "0"}, ERROR),
        (408, {}, ERROR),
        "hang",
        "drip",
        "cut off",
        "garbage",
        "html",
        (200, {}, {"choices": []}),
        (200, {}, ["no completion"]),
        (200, {}, {"choices": [{"message": {"content": 5}}]}),
    ],
    ids=str,
)
def test_a_passing_fault_is_asked_again_until_answered(mine, fault):
    slow = fault in ("hang", "drip")
    mine.config(endpoint={"timeout_s": 0.5 if slow else 20})
    mine.server.faults = {"wash pan": [fault, fault]}
    asked = mine.run()
    assert asked.count("wash pan") >= 3 if slow else sorted(asked) == sorted([*CAPTIONS, "wash pan", "wash pan"])
    assert mine.texts()["described-fake:c1"] == description_of("wash pan")
    assert mine.reasons() == {}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (content("no JSON at all"), "the answer is no JSON: 'no JSON at all'"),
        (content('{"description": "cut'), "the answer is no JSON"),
        (content({"summary": "x"}), "not an object with the one text 'description'"),
        (content({"description": ["x"]}), "not an object with the one text"),
        (content({"description": "x", "also": "y"}), "not an object with the one text"),
        (content('{"description": "x", "description": "y"}'), "not an object with the one text"),
        (content('["description"]'), "not an object with the one text"),
        (content({"description": " "}), "the answer is empty"),
        (content('{"description": "a bell \\ud83d rings"}'), "control or half characters: 'a bell \\ud83d rings'"),
        (content({"description": "\x1b[31mred\x00"}), "control or half characters: '\\x1b[31mred\\x00'"),
        (content("cut off in a smile \ud83d"), "the answer is no JSON: 'cut off in a smile \ufffd'"),
        (content({"description": "x" * 500}), "the answer has 500 letters"),
        ({**content({"description": "x"}), "finish_reason": "length"}, "cut off at the limit of tokens"),
        ({"finish_reason": "content_filter"}, "content filter kept the answer back"),
    ],
)
def test_an_answer_that_cannot_be_used_is_tried_again_listed_and_kept(mine, words, reason):
    mine.server.faults = {"wash pan": [words] * 2}
    assert sorted(mine.run()) == sorted([*CAPTIONS, "wash pan"])
    assert reason in mine.reasons()["c1"]
    assert set(mine.texts()) == {f"described-fake:c{i}" for i in (0, 2, 3)}
    assert mine.run() == []  # paid for, so not asked again by itself
    assert reason in mine.reasons()["c1"]
    assert mine.run(again=True) == ["wash pan"]
    assert mine.reasons() == {} and len(mine.texts()) == 4
    assert mine.run() == []


def test_a_refusal_is_not_asked_twice(mine):
    refusal = {"message": {"role": "assistant", "content": None, "refusal": "I would rather not."}}
    mine.server.faults = {"wash pan": [refusal]}
    assert len(mine.run()) == 4
    assert mine.reasons() == {
        "c1": "described-fake, description: the model refused: 'I would rather not.'",
    }


def test_answers_in_a_code_fence_and_levels_in_capitals_are_understood(mine):
    mine.config(relevancy_prompt="sound-relevancy")
    mine.server.faults = {
        "wash pan": [content('```json\n{"description": "water\\n runs"}\n```'), content({"relevancy": "High"})]
    }
    mine.run()
    (row,) = mine.table("descriptions").filter(caption_id="c1").to_dicts()
    assert (row["description"], row["level"]) == ("water runs", "high")


def test_an_unknown_level_is_no_level(mine):
    mine.config(relevancy_prompt="sound-relevancy")
    mine.server.faults = {"wash pan": [None, *[content({"relevancy": "very high"})] * 2]}
    mine.run()
    assert mine.reasons() == {"c1": "described-fake, relevancy: 'very high' is none of low, moderate, high"}
    (row,) = mine.table("descriptions").filter(caption_id="c1").to_dicts()
    assert row["level"] is None and row["description"] == description_of("wash pan")


def test_retry_after_holds_for_all_requests(mine):
    mine.config(endpoint={"concurrency": 1, "backoff_s": 0.001})
    mine.server.faults = {"wash pan": [(429, {"Retry-After": "0.5"}, ERROR)]}
    started = time.monotonic()
    mine.run()
    assert time.monotonic() - started >= 0.5
    mine.add("mine", ["pour tea"])
    in_a_second = {"Retry-After": lambda: formatdate(time.time() + 1.5, usegmt=True)}  # dates have whole seconds
    mine.server.faults = {"pour tea": [(429, in_a_second, ERROR)]}
    started = time.monotonic()
    mine.run()
    assert time.monotonic() - started >= 0.4


DATES = {"date": "Wed, 21 Oct 2015 07:28:00 GMT", "retry-after": "Wed, 21 Oct 2015 07:28:07 GMT"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (DATES, 7),  # by the endpoint's clock, which may be years from ours
        ({"retry-after": DATES["retry-after"]}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({}, None),
    ],
)
def test_the_pause_asked_for_is_understood(headers, seconds):
    assert asked_pause(headers) == seconds


def test_a_pause_that_is_too_long_ends_the_run_and_keeps_what_came(mine):
    mine.config(endpoint={"concurrency": 1, "longest_wait_s": 5})
    mine.server.faults = {"open drawer": [(429, {"Retry-After": "3600"}, ERROR)]}
    with pytest.raises(EndpointLost, match=r"gives no answers: status 429, sorry\. What it has answered is kept"):
        mine.run()
    mine.server.faults = {}
    assert sorted(mine.run()) == ["open drawer", "stir soup"]


@pytest.mark.parametrize("count", [float("inf"), 1e30, -5000, 1 << 80, "many", None])
def test_counts_that_are_none_are_estimated(mine, count):
    usage = {"prompt_tokens": count, "completion_tokens": 3}
    answer = {"choices": [content({"description": "water runs"})], "usage": usage}
    mine.server.faults = {"wash pan": [(200, {}, answer)]}
    assert len(mine.run()) == 4
    (row,) = mine.table("answers").filter(text="wash pan").to_dicts()
    assert 300 < row["input_tokens"] < 1000 and row["output_tokens"] == 3


def test_an_error_with_half_a_character_is_listed(mine):
    mine.config(endpoint={"attempts": 1})
    mine.server.faults = {"wash pan": [(500, {}, {"error": {"message": "\ud83d \x1b[31m"}})]}
    mine.run()
    assert mine.reasons() == {"c1": "described-fake, description: status 500, \ufffd \ufffd[31m"}


def test_one_edited_caption_and_an_endpoint_that_is_down_is_no_success(mine):
    mine.run()
    mine.add("mine", [*CAPTIONS[:3], "stir the soup"])
    mine.config(endpoint={"attempts": 2})
    mine.server.faults = {"stir the soup": [(503, {}, ERROR)] * 2}
    with pytest.raises(EndpointLost, match="gives no answers: status 503, sorry"):
        mine.run()
    assert mine.run() == ["stir the soup"] and mine.reasons() == {}


def test_a_first_caption_that_is_rejected_does_not_stand_in_the_way_of_others(mine):
    mine.server.faults = {"cut onion": [(400, {}, ERROR)] * 2}
    mine.run()
    assert mine.reasons() == {"c0": "described-fake, description: status 400, sorry"}
    assert ["response_format" in one for one in mine.server.requests] == [True, False, True, True, True]


def test_what_is_wrong_with_every_request_ends_the_run(mine):
    mine.server.faults = {one: [(400, {}, ERROR)] * 2 for one in CAPTIONS}
    with pytest.raises(UserError, match="rejects what it is asked: status 400, sorry"):
        mine.run()
    assert len(mine.server.requests) == 6  # three captions, each with a schema and without


def test_a_caption_that_never_works_is_listed_and_others_go_on(mine):
    mine.config(endpoint={"attempts": 2, "timeout_s": 1})
    mine.server.faults = {"wash pan": ["hang"] * 9}
    mine.run()
    assert mine.reasons() == {"c1": "described-fake, description: no answer within 1 s"}
    mine.server.faults = {}
    assert mine.run() == ["wash pan"]


def test_an_endpoint_that_dies_ends_the_run(mine):
    mine.config(endpoint={"attempts": 1, "concurrency": 2})
    mine.add("mine", [f"caption {i}" for i in range(40)])
    mine.server.faults = {f"caption {i}": [(500, {}, ERROR)] for i in range(10, 40)}
    with pytest.raises(EndpointLost):
        mine.run()
    assert len(mine.server.requests) < 20
    mine.server.faults = {}
    assert len(mine.run()) == 30


def test_nobody_listens(mine):
    mine.config(endpoint={"base_url": "http://127.0.0.1:9/v1", "attempts": 2})
    with pytest.raises(
        EndpointLost, match=r"http://127.0.0.1:9/v1 \(model 'fake-1'\) gives no answers: the connection"
    ):
        mine.run()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_the_endpoint_rejects_costs_one_request(mine, status):
    mine.server.faults = {"cut onion": [(status, {}, {"error": {"message": "not this"}})]}
    with pytest.raises(UserError, match=f"rejects what it is asked: status {status}, not this"):
        mine.run()
    assert len(mine.server.requests) == 1


def test_a_spent_account_is_not_waited_for(mine):
    error = {"error": {"message": "pay first", "code": "insufficient_quota"}}
    mine.server.faults = {"cut onion": [(429, {}, error)]}
    with pytest.raises(UserError, match="pay first"):
        mine.run()
    assert len(mine.server.requests) == 1


def test_a_caption_that_a_filter_refuses_is_listed(mine):
    error = {"error": {"message": "not nice", "code": "content_filter"}}
    mine.server.faults = {"cut onion": [(400, {}, error)]}
    mine.run()
    assert "content filter refuses the caption" in mine.reasons()["c0"]
    assert len(mine.texts()) == 3


def test_an_endpoint_without_schemas_is_asked_without(mine):
    mine.server.refuses_schema = True
    mine.run()
    with_schema = ["response_format" in one for one in mine.server.requests]
    assert with_schema == [True, False, False, False, False]
    assert len(mine.texts()) == 4


def test_answers_are_constrained_by_a_schema(mine):
    mine.config(relevancy_prompt="sound-relevancy", decoding={"temperature": 0, "max_tokens": 7})
    mine.run()
    one, *_, other = mine.server.requests
    assert one["response_format"]["json_schema"]["schema"]["required"] == ["description"]
    schema = other["response_format"]["json_schema"]
    assert schema["strict"] and schema["schema"]["properties"]["relevancy"]["enum"] == ["low", "moderate", "high"]
    assert (one["temperature"], one["max_tokens"], one["model"]) == (0, 7, "fake-1")


def test_as_many_requests_as_allowed_are_under_way(mine):
    mine.add("mine", [f"caption {i}" for i in range(30)])
    mine.config(endpoint={"concurrency": 5})
    mine.server.pause_s = 0.03
    mine.run()
    assert 3 <= mine.server.most_at_once <= 5


def test_a_full_disk_ends_the_run_in_one_sentence(mine):
    Path(".hearonce").mkdir()
    Path(".hearonce/answers").write_text("in the way")
    with pytest.raises(WriteError, match="was not written: a file stands where a folder is needed"):
        mine.run()
