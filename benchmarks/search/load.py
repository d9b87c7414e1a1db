"""Eight people at one search server: errors, seconds of an answer, and growth of memory, threads and open files.

    python -m benchmarks.search.load --seconds 600

Each asks for texts (most of them new), clips like one of the results, further pages, words and conditions, and takes a
range of a result's file; one client in between leaves in the middle of an answer, another sends half a request. All of
it on the loopback address.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx2
import numpy as np

from benchmarks.search.made_up import CORPUS, REPOSITORY, make_project, texts

USERS = 8
WARM_SHARE = 0.2
"""Of the seconds, after which memory is measured for the first time: towers, galleries and bounded caches are full."""


class Server:
    """`hearonce serve` in a process of its own.

    Args:
        root: of the project.
        device: that encodes.
    """

    def __init__(self, root: Path, device: str = "cpu") -> None:
        self.log = root.parent / "server.log"
        command = [sys.executable, "-c", "from stages.command_line import main; main()", "serve", "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HEARONCE_DEVICE": device}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
        while "Search page: " not in self.log.read_text():
            if self.process.poll() is not None:
                raise SystemExit(self.log.read_text())
            time.sleep(0.05)
        self.address = self.log.read_text().split("Search page: ")[1].split()[0]

    def usage(self) -> dict[str, float]:
        """MiB of private memory, threads and open files."""
        folder = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return {
            "RssAnon MiB": int(status["RssAnon"].split()[0]) / 1024,
            "threads": int(status["Threads"]),
            "open files": len(list((folder / "fd").iterdir())),
        }

    def close(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait(timeout=30)


class Crowd:
    """People who search until a time.

    Attributes:
        seconds: of each answer, by kind of request.
        errors: what was no answer.
    """

    def __init__(self, address: str, corpus: str, until: float) -> None:
        self._address, self._corpus, self._until = address, corpus, until
        self.seconds: dict[str, list[float]] = {}
        self.errors: list[str] = []
        self._lock = threading.Lock()

    def run(self, users: int) -> None:
        """Lets so many search, and two misbehave; returns when their time is over."""
        threads = [threading.Thread(target=self._guarded, args=(self._user, number)) for number in range(users)]
        threads += [threading.Thread(target=self._guarded, args=(one, 0)) for one in (self._leaver, self._dawdler)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _guarded(self, person: object, number: int) -> None:
        try:
            person(number)  # type: ignore[operator]
        except Exception as error:
            with self._lock:
                self.errors.append(f"{type(error).__name__}: {error}")

    def _user(self, number: int) -> None:
        draw, words = random.Random(number), texts(number)
        with httpx2.Client(base_url=self._address, timeout=60, headers={"X-Hearonce": "1"}) as client:
            while time.monotonic() < self._until:
                query = {"corpus": self._corpus, "text": next(words)}
                results = self._search(client, "text", query)
                if not results:
                    continue
                kind = draw.choice(("page", "clip", "words", "where", "media", "again"))
                some = draw.choice(results)["clip_id"]
                if kind == "media":
                    self._media(client, some)
                elif kind == "clip":
                    self._search(client, kind, {"corpus": self._corpus, "clip": some})
                else:
                    more = {"page": {"offset": 48}, "words": {"words": 0.3}, "again": {}}
                    condition = f"duration_s > 1 AND has_audio AND start_s < {draw.randrange(50, 200)}"
                    self._search(client, kind, query | more.get(kind, {"where": condition}))

    def _search(self, client: httpx2.Client, kind: str, query: dict[str, object]) -> list[dict[str, str]]:
        start = time.perf_counter()
        answer = client.post("/api/search", json=query)
        self._note(kind, time.perf_counter() - start, answer)
        return answer.json()["results"] if answer.status_code == 200 else []

    def _media(self, client: httpx2.Client, clip: str) -> None:
        start = time.perf_counter()
        query = urlencode({"corpus": self._corpus, "clip": clip})
        answer = client.get(f"/media?{query}", headers={"Range": "bytes=1000000-1262143"})
        self._note("media", time.perf_counter() - start, answer, 206)

    def _note(self, kind: str, seconds: float, answer: httpx2.Response, expected: int = 200) -> None:
        with self._lock:
            self.seconds.setdefault(kind, []).append(seconds)
            if answer.status_code != expected:
                self.errors.append(f"{kind}: {answer.status_code} {answer.text[:200]}")

    def _leaver(self, number: int) -> None:
        """Asks for whole files and leaves after the first bytes."""
        with httpx2.Client(base_url=self._address, timeout=60, headers={"X-Hearonce": "1"}) as client:
            some = self._search(client, "text", {"corpus": self._corpus, "text": "a dog barks", "limit": 200})
        target = [f"/media?{urlencode({'corpus': self._corpus, 'clip': one['clip_id']})}" for one in some]
        while time.monotonic() < self._until:
            with self._connection() as connection:
                connection.sendall(f"GET {random.choice(target)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                connection.recv(1000)
            time.sleep(0.05)

    def _dawdler(self, number: int) -> None:
        """Begins requests and does not end them."""
        open_ones: list[socket.socket] = []
        while time.monotonic() < self._until:
            open_ones.append(self._connection())
            open_ones[-1].sendall(b"GET /api/corpora HTTP/1.1\r\nHost: local")
            while len(open_ones) > 20:
                open_ones.pop(0).close()
            time.sleep(0.2)
        for connection in open_ones:
            connection.close()

    def _connection(self) -> socket.socket:
        address = urlsplit(self._address)
        return socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=60)


def measure(root: Path, corpus: str, seconds: float, users: int = USERS) -> dict[str, object]:
    """Lets users search for some seconds.

    Returns:
        `seconds` by kind of request, `errors`, and `before`, `after`: usage of the server's process after the first
        share of the time, and at the end.
    """
    server = Server(root)
    try:
        warm = Crowd(server.address, corpus, time.monotonic() + WARM_SHARE * seconds)
        warm.run(users)
        before = server.usage()
        crowd = Crowd(server.address, corpus, time.monotonic() + (1 - WARM_SHARE) * seconds)
        crowd.run(users)
        time.sleep(1)
        after = server.usage()
    finally:
        server.close()
    log = server.log.read_text().partition("Ctrl-C.")[2].strip()
    return {
        "seconds": crowd.seconds,
        "errors": [*warm.errors, *crowd.errors, *([log[-2000:]] if "Traceback" in log else [])],
        "before": before,
        "after": after,
    }


def main() -> None:
    """Prints what was measured; leaves with 1 if there was an error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--clips", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        make_project(root, given.clips)
        found = measure(root, CORPUS, given.seconds, given.users)
    for kind, times in sorted(found["seconds"].items()):  # type: ignore[attr-defined]
        low, most, worst = 1000 * np.percentile(times, [50, 95, 100])
        shown = f"median {low:.1f} ms, 95 % within {most:.1f} ms, longest {worst:.0f} ms"
        print(f"{kind:6} {len(times):7} answers, {shown}")
    for name, value in found["after"].items():  # type: ignore[attr-defined]
        print(f"{name}: {found['before'][name]:.1f} -> {value:.1f}")  # type: ignore[index]
    errors: list[str] = found["errors"]  # type: ignore[assignment]
    print(f"{len(errors)} errors", *errors[:5], sep="\n")
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
