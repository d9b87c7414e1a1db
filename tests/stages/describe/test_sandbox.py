"""Prompts that would take all memory or time end in one sentence instead."""

import sys
import time
from pathlib import Path

import pytest

from cache.errors import UserError
from stages.describe import prompts as sandbox
from stages.describe.prompts import render

HOSTILE = [
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [1] * 10**9 }}",
    "{{ 9**(9**9) }}",
    "{{ 10**5000 }}",
    "{{ 'ab' * 900000 * 900000 }}",
    "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(9) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in range(100000) %}{% set x = range(100000) | list %}{% endfor %}",
    "{{ range(10**9) | join }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a' | indent(10**9, true) }}",
    "{{ '\\t'.expandtabs(10**9) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ ('a' * 100000).replace('', 'b' * 100000) }}",
    "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "{{ ('a' * 100000).join(range(100000) | map('string') | list) }}",
    "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "{% macro again(x) %}{{ again(x) }}{% endmacro %}{{ again(1) }}",
    "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}"
    "{% set ns.x = y %}{% endfor %}{{ ns.x }}",
    "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(x='a') %}"
    "{% for i in range(40) %}{% set ns.x = twice(ns.x) %}{% endfor %}",
    "{{ lipsum(n=10000) }}",
    "{{ 'a' | wordwrap(1, true, 'b' * 1000000 * 1000) }}",
]


@pytest.mark.parametrize("prompt", HOSTILE)
def test_a_prompt_is_bounded(project, monkeypatch, prompt):
    monkeypatch.setattr(sandbox, "MOST_SECONDS", 0.3)
    Path("configs/prompts/mine.jinja2").write_text(prompt)
    began, trace = time.process_time(), sys.gettrace()
    with pytest.raises(UserError, match=r"^configs/prompts/mine\.jinja2") as caught:
        render("mine", "examples", ("low", "high"))
    assert time.process_time() - began < 10 and len(str(caught.value)) < 400 and "\n" not in str(caught.value)
    assert sys.gettrace() is trace


def test_what_prompts_usually_do_is_allowed(project):
    Path("configs/prompts/mine.jinja2").write_text(
        "{% for one in examples %}{{ loop.index }}. {{ one.visual | upper }}: {{ one.audio | quoted }}\n{% endfor %}"
        "{{ levels | join(', ') }} {{ 'ab'.replace('a', 'c') }} {{ '-' * 20 }} {{ 7 % 4 }} {{ 2 ** 8 }} {{ 'a' ~ 1 }}"
        "{{ 'x' | indent(4) }} {{ levels | map('title') | list | length }} {{ levels | batch(1) | list }}"
    )
    said = render("mine", "examples", ("low", "high"))
    assert "1. " in said and "low, high cb -------------------- 3 256 a1x 2 [['low'], ['high']]" in said
