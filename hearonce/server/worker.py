"""Media work of the server in processes of their own, which are killed at a limit and take nothing with them.

`python -m hearonce.server.worker` reads jobs as lines of JSON, makes one file for each and answers with a line of JSON:
`{}`, or `{"error": "sentence"}`. It starts without torch in 0.4 s. What was uploaded gets a process for itself; clips
of the served corpora share two that stay.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from cache.errors import UserError

MOST_SECONDS = 90.0
SPARE_S = 5
"""After which more a process ends itself, should the server that was to kill it be dead."""
MOST_CPU_S = 180
"""Of all threads of a process, for one job."""
MOST_MEMORY = 6 << 30
"""Of addresses; decoders and Polars reserve far more than they use."""
MOST_BYTES = 1 << 30
"""Of a file that is made."""
MOST_JOBS = 500
"""Of a process, which is then replaced."""
STAYING = 2

GIVEN_UP = "It took too much memory, or its decoder failed; it was given up."


class Worker:
    """One process, started by its first job and again after it has been killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs = 0

    def run(self, job: Mapping[str, Any], seconds: float = MOST_SECONDS) -> dict[str, Any]:
        """Does a job.

        Args:
            job: `what` is to be done, and its arguments.
            seconds: after which the process is killed.

        Raises:
            UserError: it cannot be done; the sentence says why.
        """
        if self._process is None or self._process.poll() is not None or self._jobs >= MOST_JOBS:
            self.close()
            command = [sys.executable, "-P", "-m", "hearonce.server.worker"]  # -P: nothing from the working directory
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._jobs = 0
        self._jobs += 1
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({**job, "seconds": seconds}).encode() + b"\n")
            self._process.stdin.flush()
            line = _line(self._process.stdout, seconds)
            answer: dict[str, Any] = json.loads(line)
        except TimeoutError:
            self.close()
            raise UserError(f"It took longer than {seconds:.0f} s and was given up.") from None
        except (OSError, ValueError):
            self.close()
            raise UserError(GIVEN_UP) from None
        if "error" in answer:
            raise UserError(answer["error"])
        return answer

    def close(self) -> None:
        """Ends the process."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was not yet written
                    stream.close()
        self._process = None


class Workers:
    """The processes of a server; asked by many threads."""

    def __init__(self) -> None:
        self._free = [Worker() for _ in range(STAYING)]
        self._turn = threading.Semaphore(STAYING)
        self._alone = threading.Semaphore(STAYING)

    def run(self, job: Mapping[str, Any], seconds: float = MOST_SECONDS) -> dict[str, Any]:
        """Does a job on media of a served corpus, see `Worker.run`."""
        with self._turn:
            worker = self._free.pop()
            try:
                return worker.run(job, seconds)
            finally:
                self._free.append(worker)

    def run_alone(self, job: Mapping[str, Any], seconds: float = MOST_SECONDS) -> dict[str, Any]:
        """Does a job on what a stranger has sent, in a process for itself."""
        with self._alone:
            worker = Worker()
            try:
                return worker.run(job, seconds)
            finally:
                worker.close()

    def close(self) -> None:
        """Ends all processes."""
        for worker in self._free:
            worker.close()


def _line(stream: IO[bytes], seconds: float) -> bytes:
    """A line of a pipe, read past its buffer, which nothing else has read from."""
    until, parts = time.monotonic() + seconds, b""
    while not parts.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or not select.select([stream], [], [], left)[0]:
            raise TimeoutError
        part = os.read(stream.fileno(), 1 << 16)
        if not part:
            raise OSError("the process has ended")
        parts += part
    return parts


def main() -> None:
    """Does the jobs of the standard input."""
    for kind, most in (
        (resource.RLIMIT_AS, MOST_MEMORY),
        (resource.RLIMIT_FSIZE, MOST_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin.buffer:
        job = json.loads(line)
        _bound(job["seconds"])
        try:
            answer = _do(job)
        except MemoryError:
            answer = {"error": "It needs more memory than one request may take."}
        except Exception as error:
            from pipeline.monitor.problems import problem_of

            answer = {"error": f"{problem_of(error)}."}
        signal.alarm(0)
        print(json.dumps(answer), file=answers, flush=True)


def _bound(seconds: float) -> None:
    """Has the kernel end this process if its job takes too long: a decoder that hangs runs no Python."""
    signal.alarm(int(seconds) + SPARE_S)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + MOST_CPU_S, hard))


def _do(job: Mapping[str, Any]) -> dict[str, Any]:
    if job["what"] == "upload":
        from hearonce.server.uploads import normalise

        return normalise(Path(job["source"]), Path(job["out"]))
    from hearonce.server.previews import MAKERS, Media

    MAKERS[job["what"]](Media.of(job["media"]), Path(job["out"]))
    return {}


if __name__ == "__main__":
    main()
