"""A run killed twenty times ends in the same artifact bytes as one never killed, and repeats next to nothing."""

from __future__ import annotations

import random
import time

import numpy as np
from faults.counting import ROUNDS, counts
from faults.killing import in_child, kill_at_random
from faults.material import FINGERPRINT, everything

from cache.artifact import write_artifact
from cache.keys import caption_key
from cache.row_store import RowStore, RowWriter
from cache.rows import RowFormat
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.local import LocalRunner
from pipeline.runner.rows import Row
from pipeline.runner.run import compute_missing

N, BATCH, COMMIT = 240, 4, 8
FORMAT = RowFormat(64, "float16")


class Tower:
    """Projects a text's letters by fixed random numbers; tells which rows it has encoded."""

    def __init__(self, say) -> None:
        self._say = say
        self._weights = np.random.default_rng(0).standard_normal((256, FORMAT.dim), np.float32)

    def prepare(self, item: str, key: bytes) -> np.ndarray:
        return np.bincount(np.frombuffer(item.encode(), np.uint8), minlength=256).astype(np.float32)

    def encode(self, items) -> np.ndarray:
        time.sleep(0.002)
        for _ in items:
            self._say(1)
        return np.stack([item @ self._weights for item in items])


def run(root, say) -> None:
    """An embedding stage: what is missing into the store, then the artifact."""
    RowWriter.__init__.__kwdefaults__["rows"] = COMMIT  # this is a child; commits come within its short life
    rows = [Row(f"c{i}", caption_key(f"text {i}"), f"file {i // 10}", "") for i in range(N)]
    store = RowStore.ensure(root / "rows", "captions", FINGERPRINT, FORMAT)
    compute_missing(
        rows,
        store,
        LocalRunner(
            lambda group: ((row, f"text {row.id}") for row in group),
            lambda: (Tower(say), {"device": "cpu"}),
            batch_size=BATCH,
            workers=2,
        ),
        problems=Problems("embed"),
        summary=Summary("test"),
    )
    description = {"modality": "captions", "encoder": "letters", "fingerprint": FINGERPRINT}
    write_artifact(root / "captions.zarr", [row.id for row in rows], [row.key for row in rows], store, description)


def test_twenty_kills_change_no_byte(tmp_path):
    never = in_child(lambda say: run(tmp_path / "never", say))
    expected = everything(tmp_path / "never/captions.zarr")
    assert len(never.said) == N
    for attempt in range(ROUNDS):
        dice = random.Random(20 + attempt)
        root = tmp_path / f"killed{attempt}"
        kills, encoded = 0, 0
        while kills < 20:
            ended = kill_at_random(lambda say, root=root: run(root, say), never.seconds / 4, dice)
            encoded += len(ended.said)
            if not ended.killed:  # it was done before the blow: begin anew, the kills count together
                assert everything(root / "captions.zarr") == expected
                root, encoded = tmp_path / f"killed{attempt}-{kills}", 0
                continue
            kills += 1
        encoded += len(in_child(lambda say, root=root: run(root, say)).said)
        assert everything(root / "captions.zarr") == expected
        assert N <= encoded <= N + 20 * (COMMIT + BATCH)
        counts["kills of an embedding run that ended in the same bytes"] += kills
        counts["rows encoded again after those kills"] += encoded - N
