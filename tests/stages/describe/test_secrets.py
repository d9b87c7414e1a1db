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
    corpora.server.faults = {"wash pan": [content(f"no JSON {SECRET}")] * 9}
    assert files_with_the_secret(Path()) == []
    assert SECRET not in "".join(capsys.readouterr())


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


def test_a_password_in_the_urls_variable_is_not_repeated(corpora, monkeypatch):
    corpora.add("mine", ["a", "b", "c"])
    corpora.config(endpoint={"base_url": None, "attempts": 1})
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{SECRET}2@127.0.0.1:9/v1?token={SECRET}3")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/v1 \(model 'fake-1'\) gives no answers") as raised:
        corpora.run()
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": {"base_url": f"http://me:{SECRET}@127.0.0.1/v1"}},
        {"endpoint": {"base_url": f"http://127.0.0.1/v1?key={SECRET}"}},
        {"endpoint": {"api_key": SECRET}},
        {"decoding": {"api_key": SECRET}},
    ],
)
def test_a_key_in_the_config_is_refused_and_not_repeated(corpora, changes):
    corpora.add("mine", ["cut onion"])
    corpora.config(**changes)
    with pytest.raises(UserError) as raised:
        corpora.run()
    assert SECRET not in str(raised.value)
