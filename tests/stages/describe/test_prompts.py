"""Prompt files: what is shipped, what a user's may do, and what is said when one is wrong."""

from pathlib import Path

import pytest

from cache.errors import UserError
from stages.describe.config import DescriptionConfig, load_description
from stages.describe.engine import LEVELS
from stages.describe.prompts import question, quoted, read_examples, render

PROMPTS = Path("configs/prompts")


def test_the_shipped_prompts_say_what_they_want(project):
    few, zero, levels = (
        render(name, "examples", LEVELS) for name in ("few-shot-sound", "zero-shot-sound", "sound-relevancy")
    )
    pairs = read_examples("examples")
    assert len(pairs) == 15 and len({pair["visual"] for pair in pairs}) == 15
    for pair in pairs:
        assert quoted({"caption": pair["visual"]}) in few and quoted({"description": pair["audio"]}) in few
    assert "{" in zero or "JSON" in zero
    assert not any(pair["audio"] in zero for pair in pairs)
    assert '"low", "moderate", "high"' in levels
    assert "#}" not in few


@pytest.mark.parametrize("name", ["gpt-4o-mini", "llama-local", "qwen-here"])
def test_the_shipped_descriptions_are_understood(project, name):
    assert isinstance(load_description(name), DescriptionConfig)


def test_a_users_own_examples(project):
    (PROMPTS / "mine.csv").write_text('visual,audio\n"slam, door",A door slams\n', encoding="utf-8-sig")
    (PROMPTS / "short.jinja2").write_text("{% for one in examples %}{{ one.visual }}: {{ one.audio }}{% endfor %}\n")
    assert render("short", "mine", LEVELS) == "slam, door: A door slams"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("see,hear\na,b\n", "has no column 'visual'"),
        ("visual,audio\na,\n", "line 2: an example needs both"),
        ("visual,audio\n", "holds no example"),
        ("", "has no column 'visual'"),
    ],
)
def test_bad_examples_are_one_sentence(project, text, message):
    (PROMPTS / "mine.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_examples("mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% for one in examples %}", "line 1, cannot be rendered"),
        ("{{ exmples }}", "'exmples' is undefined"),
        ("{% include '/etc/passwd' %}", "cannot be rendered"),
        ("{{ levels.__class__.__mro__ }}", "cannot be rendered: access to attribute '__class__'"),
        ("{{ levels.append('x') }}", "cannot be rendered"),
        ("{{ 1 / 0 }}", "division by zero"),
    ],
)
def test_a_prompt_may_not_do_more_than_write_text(project, text, message):
    (PROMPTS / "mine.jinja2").write_text(text)
    with pytest.raises(UserError, match=message):
        render("mine", "examples", LEVELS)


def test_an_unknown_prompt_says_what_was_meant(project):
    with pytest.raises(UserError, match="did you mean 'few-shot-sound'"):
        render("few-shot", "examples", LEVELS)


@pytest.mark.parametrize("text", ["a", '"', "\\", "</s>", "<|x|>", "[INST]", "\n\u2028", "ü{{}}", "\\u003c"])
def test_quoting_is_json_without_brackets(text):
    import json

    assert json.loads(question(text)) == {"caption": text}
    assert not set("<>[]\n\u2028") & set(question(text))
