"""A project to run stages in: the real configs over an empty store, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):  # else every process of the tests compiles torch anew
    sys.dont_write_bytecode = False
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from miniature.build import build

from stages.command_line import main

REPOSITORY = Path(__file__).parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """`pytest -m slow` runs what takes minutes; without `-m` it is left out."""
    config.addinivalue_line("markers", "slow: takes minutes; runs with `-m slow` only")
    if not config.option.markexpr:
        config.option.markexpr = "not slow"


@pytest.fixture(scope="session")
def filled_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the modules of `filled` write checkpoints, once for all tests."""
    folder = tmp_path_factory.mktemp("filled")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `configs/` (without the demo's media) and a `params.yaml` without corpora; the current one."""
    root = tmp_path / "project"
    shutil.copytree(REPOSITORY / "configs", root / "configs", ignore=shutil.ignore_patterns("media"))
    (root / "params.yaml").write_text("corpora: {}\nembeddings: {}\nsubsets: {}\n")
    monkeypatch.chdir(root)
    for variable in ("STORE", "STAGING", "STAGING_GB", "STRICT", "WORKERS", "DEVICE", "SCORE_MEMORY"):
        monkeypatch.delenv(f"HEARONCE_{variable}", raising=False)
    return root


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature corpora of `tests/miniature/`; copy what a test changes."""
    folder = tmp_path_factory.mktemp("miniature")
    build(folder)
    return folder


@pytest.fixture
def hearonce(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line with these arguments: exit code, output, errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hearonce", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return call
