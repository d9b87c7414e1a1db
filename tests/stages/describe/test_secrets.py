"""The key goes to the endpoint in one header and nowhere else."""

import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from language_server import SECRET, content

from cache.errors import UserError

ECHO = {"error": {"message": f"the key {SECRET} is wrong"}}


def files_with_the_secret(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in SECRET)


@pytest.mark.parametrize(
    "fault", [(401, {}, ECHO), (400, {}, ECHO), (500, {}, ECHO), (429, {}, ECHO), (200, {}, ECHO), "hang", "cut off"]
)
def test_an_endpoint_that_echoes_the_key_does_not_spread_it(corpora, capsys, caplog, fault):
    caplog.set_level(logging.DEBUG)
    captions = ["cut onion", "wash pan", "open drawer"]
    corpora.add("mine", captions)
    corpora.config(endpoint={"attempts": 2, "timeout_s": 0.2})
    corpora.server.faults = {one: [fault] * 9 for one in captions}
    with pytest.raises(UserError) as raised:
        corpora.run()
    told = "".join(traceback.format_exception(raised.value))
    link: BaseException | None = raised.value
    while link is not None:
        assert SECRET not in repr(link) and SECRET not in repr(vars(link))
        link = link.__cause__ or link.__context__
    captured = capsys.readouterr()
    assert SECRET not in told + captured.out + captured.err + caplog.text
    assert {headers["authorization"] for headers in corpora.server.headers} == {f"Bearer {SECRET}"}
    assert files_with_the_secret(Path()) == []


def test_a_model_that_repeats_the_key_is_kept_without_it(corpora, capsys):
    corpora.add("mine", ["cut onion", "wash pan"])
    corpora.server.faults = {"cut onion": [content({"description": f"it says {SECRET}"})]}
    corpora.run()
    assert corpora.texts()["described-fake:c0"] == "it says [key]"
    assert files_with_the_secret(Path()) == []
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "fault",
    [
        content(f"no JSON {SECRET}"),
        content(f'{{"description": "it says {ESCAPED}"}}'),
        {**content({"description": "water runs"}), "finish_reason": SECRET},
        (500, {}, {"error": {"message": ESCAPED}}),
        (200, {}, {"choices": ESCAPED}),
    ],
)
def test_the_key_is_hidden_however_it_is_spelt_and_wherever_it_stands(corpora, capsys, fault):
    corpora.add("mine", ["cut onion", "wash pan"])
    corpora.config(endpoint={"attempts": 1})
    corpora.server.faults = {"wash pan": [fault] * 2}
    corpora.run()
    said = "".join(capsys.readouterr()) + str(corpora.texts()) + str(corpora.reasons())
    assert SECRET not in said and ESCAPED not in said.replace("\\\\", "\\")
    assert files_with_the_secret(Path()) == []


def test_the_command_says_nothing_of_the_key_even_when_debugging(corpora):
    corpora.add("mine", ["cut onion"])
    corpora.server.faults = {"cut onion": [(500, {}, ECHO), (429, {}, ECHO)]}
    code = "from stages.command_line import main; import sys; sys.argv = ['hearonce', 'describe', 'mine']; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OPENAI_LOG": "debug", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert "1 computed" in done.stdout and "wash" not in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert len(corpora.server.requests) == 3
    assert files_with_the_secret(Path()) == []


def test_a_missing_key_names_its_variable(corpora, monkeypatch):
    corpora.add("mine", ["cut onion"])
    monkeypatch.setenv("FAKE_KEY", " ")
    with pytest.raises(UserError, match="set the environment variable FAKE_KEY"):
        corpora.run()
    corpora.config(endpoint={"key_variable": None})
    assert corpora.run() == ["cut onion"]
    assert SECRET not in str(corpora.server.headers)


@pytest.mark.parametrize("key", [f"{SECRET}\n{SECRET}", f"{SECRET} {SECRET}", f"{SECRET}\u2026"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(corpora, monkeypatch, key):
    corpora.add("mine", ["cut onion"])
    monkeypatch.setenv("FAKE_KEY", key)
    with pytest.raises(UserError, match="FAKE_KEY holds more than a key") as raised:
        corpora.run()
    assert SECRET not in "".join(traceback.format_exception(raised.value)) and corpora.server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{SECRET}@127.0.0.1:9/v1",
        f"http://127.0.0.1:9/v1?token={SECRET}",
        f"http://127.0.0.1:{SECRET}/v1",
        f"http://[{SECRET}/v1",
        f"ftp://{SECRET}/v1",
    ],
)
def test_an_address_of_the_environment_that_is_none_is_not_repeated(corpora, monkeypatch, url):
    corpora.add("mine", ["cut onion"])
    corpora.config(endpoint={"base_url": None})
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(UserError, match="OPENAI_BASE_URL must be an address like") as raised:
        corpora.run()
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("proxy", [f"foo://me:{SECRET}@h", f"http://me@h:{SECRET}", f"http://me:{SECRET}@127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_one_sentence_without_its_password(corpora, monkeypatch, proxy):
    corpora.add("mine", ["cut onion"])
    corpora.config(endpoint={"base_url": "http://example.invalid/v1", "attempts": 1})
    for variable in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(variable, proxy)
    with pytest.raises(UserError, match=r"http://example\.invalid/v1") as raised:
        corpora.run()
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": {"base_url": f"http://me:{SECRET}@127.0.0.1/v1"}},
        {"endpoint": {"base_url": f"http://127.0.0.1/v1?key={SECRET}"}},
        {"endpoint": {"base_url": f"http://127.0.0.1:{SECRET}/v1"}},
        {"endpoint": {"api_key": SECRET}},
        {"endpoint": {"key_variable": SECRET}},
        {"decoding": {"api_key": SECRET}},
    ],
)
def test_a_key_in_the_config_is_refused_and_not_repeated(corpora, changes):
    corpora.add("mine", ["cut onion"])
    corpora.config(**changes)
    with pytest.raises(UserError) as raised:
        corpora.run()
    assert SECRET not in str(raised.value)
