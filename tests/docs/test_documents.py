"""What README and docs tell a user to type or to write, and where they send a reader, exists."""

import ast
import importlib.util
import re
import shlex
import textwrap
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML

from pipeline.checkpoints.catalogue import find, load_catalogue
from pipeline.config.experiments import ExperimentConfig, Table, experiments_of
from pipeline.config.params import Params
from stages.command_line import app
from stages.describe.config import DescriptionConfig
from stages.train.config import TrainingConfig

ROOT = Path(__file__).parents[2]
CODE = ("stages", "pipeline", "cache", "hearonce", "configs")
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md", ROOT / "params.yaml")
)
CURRENT = [path for path in DOCUMENTS if path != "CHANGELOG.md"]
"""Without the changelog, which may name what is gone."""
MESSAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in CODE
    for suffix in ("py", "yaml")
    for path in (ROOT / folder).rglob(f"*.{suffix}")
    if "hearonce " in path.read_text()
)
TYPED = re.compile(r"^(?:\$ |- )?(?:uv run )?hearonce (.*)$")
TRACKED = re.compile(r"(?:stages|pipeline|cache|hearonce|configs|docs|tests|benchmarks)/[\w./*{},-]*")
OF_A_USER = re.compile(
    r"configs/[\w/]+/(mine|kitchen|bad|my|llama|fake|animals|laion-clap-bf16)\b|my_model|my-model|mine-"
)
MODULE = re.compile(r"(?<![\w.])(?:stages|pipeline|cache|hearonce|benchmarks)(?:\.\w+)+")
OF_DVC = {"cache.type", "cache.dir"}
VARIABLE = re.compile(r"HEARONCE_[A-Z_]*[A-Z]")
INTERNAL = {"HEARONCE_WORKER_THREADS", "HEARONCE_FAULT_ROUNDS"}
"""Set by hearonce for its own worker processes; read by the tests."""


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
    return [*typed(text), *in_backticks(text, broken=path.endswith(".md"))]


def in_backticks(text, broken=True):
    """What stands in backticks outside of blocks; in a document, a command may be broken over two lines."""
    pattern = r"`([^`]+)`" if broken else r"`([^`\n]+)`"
    return [" ".join(found.split()) for found in re.findall(pattern, re.sub(r"```.*?```", "", text, flags=re.S))]


def typed(text):
    """Lines of the blocks for a console."""
    found = re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, flags=re.S)
    return [line.strip() for block in found for line in block.replace("\\\n", " ").splitlines()]


def blocks(kind):
    """(document, block) of all blocks of code of one language."""
    return [
        pytest.param(path, textwrap.dedent(block), id=f"{path}-{block.strip().splitlines()[0]}")
        for path in CURRENT
        for block in re.findall(rf"```{kind}\n(.*?)```", (ROOT / path).read_text(), flags=re.S)
    ]


@cache
def command_line():
    return typer.main.get_command(app)


def check(arguments):
    """The command exists, and so do its options and what it names.

    Returns:
        The words that name the command.
    """
    command, words, named = command_line(), list(arguments), []
    while hasattr(command, "get_command") and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        found = command.get_command(None, words[0])
        assert found is not None, f"no command {words[0]!r} in {arguments}"
        command, words, named = found, words[1:], [*named, words[0]]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for option in (word.strip("[]…").split("=")[0] for word in words):
        assert not option.startswith("--") or option in options, f"no option {option} in {arguments}"
    if command.name == "fetch":
        catalogue = load_catalogue()
        names = takewhile(lambda word: not word.startswith("-"), words)
        for name in (name for name in names if not re.search(r"[{…<]|^NAME$", name)):
            find(name, catalogue)
    if "--encoder" in words:
        assert Path(f"configs/encoders/{words[words.index('--encoder') + 1].partition('@')[0]}.yaml").is_file()
    return named


def all_commands(group, words=()):
    """(words, command) of each command that `--help` lists, those of groups too."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if not command.hidden:
            yield (*words, name), command
            if hasattr(command, "list_commands"):
                yield from all_commands(command, (*words, name))


@pytest.mark.parametrize("path", [*DOCUMENTS, *MESSAGES])
def test_commands_exist(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for arguments in commands(path):
        check([part for word in arguments for part in word.split("|")[:1]])


@pytest.mark.parametrize("path", CURRENT)
def test_no_document_names_a_former_command(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    current = {words for words, _ in all_commands(command_line())}
    for arguments in commands(path):
        named = tuple(check(arguments))
        assert not named or named in current, f"{named} is not in `hearonce --help`"


def test_a_command_that_is_not_there_is_found():
    for wrong in (["cache", "lst"], ["results", "--corpos", "demo"], ["checkpoints", "fetch", "resnet15"]):
        with pytest.raises(Exception, match=r"no command 'lst'|no option --corpos|No checkpoint 'resnet15'"):
            check(wrong)


def test_each_command_and_option_has_its_place_in_the_documents():
    """Commands by name; options by name, but for those that explain themselves in `--help`."""
    text = "\n".join((ROOT / path).read_text() for path in CURRENT)
    for words, _ in all_commands(command_line()):
        # `cache`, and the table of its commands in docs/cache.md
        assert re.search(rf"\b{' '.join(words)}\b", text) or re.search(rf"^\| `{words[-1]}[ `]", text, re.M), words


@pytest.mark.parametrize("path", CURRENT)
def test_options_belong_to_a_command(path):
    known = {
        option
        for _, command in all_commands(command_line())
        for parameter in command.params
        for option in parameter.opts
    }
    of_others = {"--force", "--help", "--json", "--media", "--annotations"}  # DVC's, click's and those of lazy groups
    for text in in_backticks((ROOT / path).read_text()):
        if re.fullmatch(r"--[a-z][a-z-]*( [A-Z'].*)?", text) and not text.startswith(
            ("--reference", "--trunk", "--full")
        ):
            assert text.split()[0] in known | of_others, text


@pytest.mark.parametrize("path", CURRENT)
def test_what_a_document_names_exists(path):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    for line in code(path):
        if TRACKED.fullmatch(line) and not OF_A_USER.search(line):
            for name in alternatives(re.sub(r"\b[A-Z]{3,}\b", "*", line)):
                assert any(ROOT.glob(name.rstrip("/"))), name
        if made := re.match(r"(?:\$ )?make ([a-z-]+)", line):
            assert made[1] in targets, line
        if run := re.search(r"python (?:-m )?(benchmarks[\w./]*)", line):
            name = run[1]
            assert (ROOT / name).is_file() if "/" in name else importlib.util.find_spec(name), line


@pytest.mark.parametrize("path", CURRENT)
def test_modules_and_their_names_exist(path):
    for name in {found for line in code(path) for found in MODULE.findall(line)} - OF_DVC:
        assert defined(name), name


def defined(name):
    """Whether a dotted name is a module of the project, or defined in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:length])
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if file.is_file() or base.is_dir():
            rest = parts[length:]
            return not rest or (file.is_file() and re.search(rf"\b{rest[0]}\b", file.read_text()) is not None)
    return False


@pytest.mark.parametrize("folder", CODE)
def test_documents_that_the_code_names_exist(folder):
    for path in sorted(path for suffix in ("py", "yaml") for path in (ROOT / folder).rglob(f"*.{suffix}")):
        for name in re.findall(r"\bdocs/[\w-]+\.md", path.read_text()):
            assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)}: {name}"


def test_variables_are_those_of_the_code():
    sources = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    read = {name for path in sources for name in VARIABLE.findall(path.read_text())} - INTERNAL
    documented = {name for path in CURRENT for name in VARIABLE.findall((ROOT / path).read_text())} - INTERNAL
    assert documented == read
    assert read <= set(VARIABLE.findall((ROOT / "docs/operations.md").read_text()))


def test_encoders_are_those_of_the_configs():
    text = (ROOT / "docs/encoders.md").read_text()
    for path in (ROOT / "configs/encoders").rglob("*.yaml"):
        name = path.stem
        endings = [name, *(f"-{name.split('-', n)[-1]}" for n in range(1, name.count("-") + 1))]
        assert any(f"`{ending}`" in text for ending in endings), name


@pytest.mark.parametrize("path", CURRENT)
def test_stages_are_those_of_dvc(path):
    stages = set(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
    named = re.findall(
        r"repro (?:--force )?([a-z_]+)@|^(?:Running s|S)tage '([a-z_]+)", (ROOT / path).read_text(), re.M
    )
    assert stages.issuperset(name for pair in named for name in pair if name)


def first_cells(document, header):
    """What stands in backticks in the first cells of the tables whose first column has this header."""
    text = (ROOT / document).read_text()
    for table in re.findall(rf"^\| {header} \|.*\n\|[- |]*\n((?:\|.*\n)+)", text, flags=re.M):
        for line in table.splitlines():
            yield from re.findall(r"`([\w@…-]+)`", line.split("|")[1])


def test_experiments_are_those_of_the_configs(monkeypatch):
    monkeypatch.chdir(ROOT)
    corpora = sorted(path.name for path in (ROOT / "configs/experiments").iterdir())
    names = [experiment.name for corpus in corpora for experiment in experiments_of(corpus)]
    for pattern in first_cells("docs/reproduce.md", "experiment"):
        if pattern in ("low", "moderate", "high"):
            continue
        expression = pattern.replace("seedN", r"seed\d").replace("…", ".*")
        expression = re.sub(r"CORPUS|ENCODER", "[a-z0-9-]+", re.sub("SOURCE", "(visual|gpt)", expression))
        assert any(re.fullmatch(expression, name) for name in names), pattern


def test_trainings_are_those_of_the_configs():
    trainings = {path.stem for path in (ROOT / "configs/trainings").rglob("*.yaml")}
    assert set(first_cells("docs/reproduce.md", "training")) == trainings


@pytest.mark.parametrize(("path", "block"), blocks("yaml"))
def test_yaml_is_read(path, block):
    """A block that names its file in the first line has keys and values that this file may have."""
    data = YAML(typ="safe").load(block)
    name = block.splitlines()[0].removeprefix("# ").split()[0] if block.startswith("# ") else ""
    if name == "params.yaml":
        for section, entries in data.items():
            assert section in Params.model_fields, section
            Params.model_validate({"corpora": {}, "embeddings": {}, "subsets": {}, **{section: entries}})
    elif name.startswith("configs/experiments/"):
        corpus = name.split("/")[2]
        if "rows" in data:
            names = {row["name"] for row in Table.model_validate(data).expanded(corpus)}
            assert names.issuperset({*data.get("paper", {}), *data.get("notes", {})})
        else:
            ExperimentConfig.model_validate({"corpus": corpus, **data})
    elif name.startswith("configs/trainings/"):
        TrainingConfig.model_validate(data)
    elif name.startswith("configs/descriptions/"):
        DescriptionConfig.model_validate(data)


@pytest.mark.parametrize(("path", "block"), blocks("python"))
def test_python_imports_what_exists(path, block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module and MODULE.match(f"{node.module}."):
            for alias in node.names:
                assert defined(f"{node.module}.{alias.name}"), f"{node.module}.{alias.name}"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_what_is_typed_works_without_an_active_environment(path):
    for line in typed((ROOT / path).read_text()):
        assert not re.match(r"(\$ )?(hearonce|dvc|python) ", line), line


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.endswith(".md")])
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", (ROOT / path).read_text()):
        name, _, anchor = target.partition("#")
        file = (ROOT / path).parent / name if name else ROOT / path
        assert file.exists(), target
        if anchor:
            assert anchor in {heading(line) for line in file.read_text().splitlines() if line.startswith("#")}, target


def test_the_readme_leads_to_each_document():
    readme = (ROOT / "README.md").read_text()
    for path in CURRENT:
        assert path in ("README.md", "params.yaml") or f"({path})" in readme, path


def heading(line):
    """The anchor that a heading has on a page of GitHub."""
    return re.sub(r"[^\w -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")


def alternatives(name):
    """`a/{b,c}.yaml` -> `a/b.yaml`, `a/c.yaml`."""
    found = re.search(r"\{([^}]*)\}", name)
    return [name.replace(found[0], part) for part in found[1].split(",")] if found else [name]
