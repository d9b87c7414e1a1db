"""The demo, embedded by one encoder and scored, in a folder of its own; and a server of it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clone import REPOSITORY

from stages.command_line import main

COMMANDS = (
    ("ingest", "demo"),
    ("extract-audio", "demo"),
    ("embed", "demo", "yamnet-minilm", "--device", "cpu"),
    ("score", "demo"),
    ("map", "demo", "yamnet-minilm"),
    ("embed", "demo", "efficientnet-minilm", "--device", "cpu"),
)


@pytest.fixture(scope="session")
def made_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; copy it to change it. Frames are embedded, too, but not scored."""
    root = tmp_path_factory.mktemp("demo") / "project"
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    shutil.copy(REPOSITORY / "params.yaml", root)
    before, arguments = Path.cwd(), sys.argv
    os.chdir(root)
    try:
        for command in COMMANDS:
            sys.argv = ["hearonce", *command]
            with pytest.raises(SystemExit) as left:
                main()
            assert not left.value.code, command
    finally:
        os.chdir(before)
        sys.argv = arguments
    return root


@pytest.fixture
def demo(made_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(made_demo, root)
    shutil.rmtree(root / "data/embeddings/demo/efficientnet-minilm")
    monkeypatch.chdir(root)
    return root


class Server:
    """A running `hearonce serve`.

    Attributes:
        root: of its project.
        address: with a slash at the end.
        process: of the server.
    """

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self._log = root.with_name("server.log")
        command = [sys.executable, "-c", "from stages.command_line import main; main()", "serve", "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HEARONCE_DEVICE": "cpu"}
        with self._log.open("w") as log:
            self.process = subprocess.Popen([*command, *options], cwd=root, env=environment, stdout=log, stderr=log)
        while "Search page: " not in self._log.read_text():
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.05)
        self.address = self._log.read_text().split()[2].partition("?")[0]

    def close(self) -> str:
        """Ends it; gives what it has printed since."""
        self.process.terminate()
        self.process.wait(timeout=30)
        return self._log.read_text()


@pytest.fixture(scope="session")
def serve() -> type[Server]:
    """Starts a server of a project, which the caller closes."""
    return Server


@pytest.fixture(scope="module")
def server(made_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(made_demo, root)
    running = Server(root)
    yield running
    output = running.close()
    assert "Traceback" not in output, output[-3000:]
