"""A run of an embedding stage in a process of its own, for tests that send it signals.

`python interrupted_run.py embed` prints the number of each row that it has encoded, and decodes without end for the
later ones; `... stubborn` has reading threads that cannot be stopped.
"""

import os
import time
from pathlib import Path

import av
import numpy as np
import soundfile

from cache.keys import caption_key
from cache.row_store import RowStore
from cache.rows import RowFormat
from pipeline.console.app import run, subcommands
from pipeline.media.decoding import decoded
from pipeline.monitor.log import logged
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.local import LocalRunner
from pipeline.runner.rows import Row, WantedRows
from pipeline.runner.run import compute_missing

N, QUICK, BATCH = 64, 24, 4
FINGERPRINT, FORMAT = "ab" * 16, RowFormat(8)
ROWS = [Row(f"row{i}", caption_key(str(i)), f"file{i}", f"{i}.wav") for i in range(N)]
RATE = 48_000
LONG = Path("long.wav")


def silent_wav(path: Path, seconds: int) -> None:
    """A WAV file of zeros that takes no room on the disk, and as long to decode as any other."""
    soundfile.write(path, np.zeros((1, 2), np.int16), RATE, subtype="PCM_16")
    nbytes = seconds * RATE * 4
    with path.open("r+b") as file:
        file.seek(4)
        file.write((36 + nbytes).to_bytes(4, "little"))
        file.seek(40)
        file.write(nbytes.to_bytes(4, "little"))
        file.truncate(44 + nbytes)


class Tower:
    def prepare(self, item, key):
        return item

    def encode(self, items):
        print("\n".join(str(one) for one in items), flush=True)
        return np.array([np.full(8, one) for one in items], np.float32)


def read(group):
    """The first rows come quickly, the others after a decoding without end."""
    for row in group:
        number = int(row.id.removeprefix("row"))
        while number >= QUICK and LONG.exists():
            with av.open(str(LONG)) as container:
                for _ in decoded(container, container.streams.audio[0]):
                    pass
        yield row, number


def sleep(group):
    os.write(1, b"asleep\n")  # whole, from several threads
    time.sleep(60)
    return read(group)


def make(how):
    store = RowStore.ensure(".hearonce/rows", "captions", FINGERPRINT, FORMAT)
    summary, problems = Summary("embed test"), Problems("embed")
    maker = LocalRunner(sleep if how == "stubborn" else read, lambda: (Tower(), {}), batch_size=BATCH, workers=2)
    compute_missing(WantedRows.of(ROWS), store, maker, problems=problems, summary=summary)
    print(summary.line())


@logged
def embed() -> None:
    """Rows that can be stopped."""
    make("embed")


@logged
def stubborn() -> None:
    """Rows that cannot."""
    make("stubborn")


if __name__ == "__main__":
    run(subcommands("Test.", {name: f"__main__:{name}" for name in ("embed", "stubborn")}))
