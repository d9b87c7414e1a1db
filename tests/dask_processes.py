"""A real scheduler and real workers, each a process of its own, as an administrator starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from waiting import end_with_parent, wait_until

REPOSITORY = Path(__file__).parent.parent
WITHOUT_HEARONCE = {"options": ("-S",), "path": (sysconfig.get_path("purelib"),)}
"""No site: what is installed by a `.pth` file, as hearonce is for developers, cannot be imported."""


class Processes:
    """Starts processes that end with the block.

    Attributes:
        folder: for the scheduler's file, logs and scratch.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all: list[subprocess.Popen] = []

    def start(
        self,
        module: str,
        *arguments: object,
        options: tuple[str, ...] = (),
        path: tuple[str | Path, ...] = (REPOSITORY, REPOSITORY / "tests"),
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen:
        """Runs `python -m MODULE ARGUMENTS` with this PYTHONPATH."""
        log = (self.folder / "log").open("a")
        process = subprocess.Popen(
            [sys.executable, *options, "-m", module, *map(str, arguments)],
            env={**os.environ, **(environment or {}), "PYTHONPATH": os.pathsep.join(map(str, path))},
            cwd=self.folder,
            stdout=log,
            stderr=log,
            preexec_fn=end_with_parent,
        )
        self._all.append(process)
        return process

    def scheduler(self, name: str = "scheduler.json", *more: object, **how: object) -> tuple[subprocess.Popen, Path]:
        """A scheduler that listens when this returns, and its file."""
        file = self.folder / name
        arguments = ["--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", file]
        arguments += ["--idle-timeout", "3600s"]
        process = self.start("distributed.cli.dask_scheduler", *arguments, *more, **how)
        wait_until(file.is_file, process, step_s=0.05)
        return process, file

    def worker(self, scheduler_file: Path, *arguments: object, **how: object) -> subprocess.Popen:
        """A worker of one thread without a nanny, which is on its way when this returns."""
        arguments = ("--no-nanny", "--nthreads", 1, "--no-dashboard", "--local-directory", self.folder, *arguments)
        arguments += ("--death-timeout", "600")
        return self.start("distributed.cli.dask_worker", "--scheduler-file", scheduler_file, *arguments, **how)

    def end(self) -> None:
        for process in self._all:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
        for process in self._all:
            process.wait()


@contextmanager
def processes_in(folder: Path) -> Iterator[Processes]:
    processes = Processes(folder)
    try:
        yield processes
    finally:
        processes.end()
