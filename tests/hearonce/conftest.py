"""The demo, embedded by one encoder and scored, in a folder of its own."""

import shutil
from pathlib import Path

import pytest
from clone import REPOSITORY

COMMANDS = (
    ("ingest", "demo"),
    ("extract-audio", "demo"),
    ("embed", "demo", "yamnet-minilm", "--device", "cpu"),
    ("score", "demo"),
)


@pytest.fixture
def demo(project, hearonce) -> Path:
    shutil.copytree(REPOSITORY / "configs/corpora/demo", project / "configs/corpora/demo", dirs_exist_ok=True)
    shutil.copy(REPOSITORY / "params.yaml", project)
    for command in COMMANDS:
        code, out, err = hearonce(*command)
        assert code == 0, (command, out, err)
    return project
