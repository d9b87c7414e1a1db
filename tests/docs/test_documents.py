"""What README and docs tell a user to type, and where they send a reader, is there."""

import importlib.util
import re
import shlex
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
import typer

from pipeline.checkpoints.catalogue import find, load_catalogue
from stages.command_line import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "params.yaml")
)
MESSAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("stages", "pipeline", "cache", "configs")
    for suffix in ("py", "yaml")
    for path in (ROOT / folder).rglob(f"*.{suffix}")
    if "hearonce " in path.read_text()
)
TYPED = re.compile(r"^(?:\$ |- )?(?:uv run )?hearonce (.*)$")
TRACKED = re.compile(r"(?:stages|pipeline|cache|configs|docs|tests|benchmarks)/[\w./*{},-]*")
OF_A_USER = re.compile(r"configs/\w+/(mine|kitchen|bad|my)\b|my_model|my-model")


def commands(path):
    """Arguments of each `hearonce ...` in backticks or, in a document, in a block of code."""
    for line in code(path):
        if found := TYPED.match(line.strip()):
            try:
                yield shlex.split(found[1], comments=True)
            except ValueError:  # an apostrophe in what a command printed
                yield found[1].split()


def code(path):
    """Lines of the blocks that are typed, and what stands in backticks."""
    text = (ROOT / path).read_text()
    return [*typed(text), *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))]


def typed(text):
    """Lines of the blocks for a console."""
    blocks = re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, flags=re.S)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@cache
def command_line():
    return typer.main.get_command(app)


def check(arguments):
    """The command exists, and so do its options and what it names."""
    command, words = command_line(), list(arguments)
    while hasattr(command, "get_command") and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        found = command.get_command(None, words[0])
        assert found is not None, f"no command {words[0]!r} in {arguments}"
        command, words = found, words[1:]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for option in (word.strip("[]…").split("=")[0] for word in words):
        assert not option.startswith("--") or option in options, f"no option {option} in {arguments}"
    if command.name == "fetch":
        catalogue = load_catalogue()
        named = takewhile(lambda word: not word.startswith("-"), words)
        for name in (one for one in named if not re.search(r"[{…<]|^NAME$", one)):
            find(name, catalogue)
    if "--encoder" in words:
        assert Path(f"configs/encoders/{words[words.index('--encoder') + 1]}.yaml").is_file()


@pytest.mark.parametrize("path", [*DOCUMENTS, *MESSAGES])
def test_commands_exist(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for arguments in commands(path):
        if arguments[0] not in ("hdf5",):  # the first words of a file, docs/cache.md
            check([part for word in arguments for part in word.split("|")[:1]])


def test_a_command_that_is_not_there_is_found():
    for wrong in (["cache", "lst"], ["results", "--corpos", "demo"], ["checkpoints", "fetch", "resnet15"]):
        with pytest.raises(Exception, match=r"no command 'lst'|no option --corpos|No checkpoint 'resnet15'"):
            check(wrong)


@pytest.mark.parametrize("path", [one for one in DOCUMENTS if one != "CHANGELOG.md"])
def test_what_a_document_names_exists(path):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    for line in code(path):
        if TRACKED.fullmatch(line) and not OF_A_USER.search(line):
            for one in alternatives(re.sub(r"\b[A-Z]{3,}\b", "*", line)):
                assert any(ROOT.glob(one.rstrip("/"))), one
        if made := re.match(r"(?:\$ )?make ([a-z-]+)", line):
            assert made[1] in targets, line
        if run := re.search(r"python (?:-m )?(benchmarks[\w./]*)", line):
            name = run[1]
            assert (ROOT / name).is_file() if "/" in name else importlib.util.find_spec(name), line


@pytest.mark.parametrize("path", DOCUMENTS)
def test_what_is_typed_works_without_an_active_environment(path):
    for line in typed((ROOT / path).read_text()):
        assert not re.match(r"(\$ )?(hearonce|dvc|python) ", line), line


@pytest.mark.parametrize("path", [one for one in DOCUMENTS if one.endswith(".md")])
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", (ROOT / path).read_text()):
        name, _, anchor = target.partition("#")
        file = (ROOT / path).parent / name if name else ROOT / path
        assert file.exists(), target
        if anchor:
            assert anchor in {heading(line) for line in file.read_text().splitlines() if line.startswith("#")}, target


def heading(line):
    """The anchor that a heading has on a page of GitHub."""
    return re.sub(r"[^\w -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")


def alternatives(name):
    """`a/{b,c}.yaml` -> `a/b.yaml`, `a/c.yaml`."""
    found = re.search(r"\{([^}]*)\}", name)
    return [name.replace(found[0], one) for one in found[1].split(",")] if found else [name]
