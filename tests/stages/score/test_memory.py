"""Scoring holds blocks, not the matrix: measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cache import tables
from cache.artifact import write_blocks
from cache.rows import RowFormat, Rows
from pipeline.config import layout
from stages.score.items import Items, Measure, Pairs, StoredRows
from stages.score.retrieval import Retrieval

N_CLIPS, N_CAPTIONS, DIM = 60_000, 3_000, 32
MATRIX_MIB = N_CLIPS * N_CAPTIONS * 4 / 2**20

CHILD = """
import json, re
def peak():  # of this process alone; getrusage begins with that of the parent
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
import numpy as np
from stages.score.command import score
from stages.score.counts import Counts
from stages.score.items import Pairs
one = Counts(Pairs.of([0], [0]), np.ones(1, np.float32), 1, 1)
for columns in (False, True):  # compiled once on a machine, which takes memory of its own
    one.add(np.ones((1, 1), np.float32), (np.zeros(1, np.int64), np.zeros(1, np.int64)), 0, columns)
before = peak()
score("large", "all")
print(json.dumps({"grown": peak() - before}))
"""


def write(modality, ids, values):
    keys = np.zeros((len(ids), 16), np.uint8)
    keys[:, :8] = np.arange(1, len(ids) + 1).astype("<u8").view(np.uint8).reshape(-1, 8)
    row_format = RowFormat(DIM, "float16")
    rows = [Rows.of(row_format, keys, values)]
    write_blocks(layout.embeddings("large", "net", modality), row_format, ids, len(ids), rows, {"modality": modality})


@pytest.fixture
def large(project):
    generator = np.random.default_rng(0)
    clips, captions = [f"clip{i}" for i in range(N_CLIPS)], [f"caption{i}" for i in range(N_CAPTIONS)]
    of_captions = generator.standard_normal((N_CAPTIONS, DIM))
    own = np.arange(N_CLIPS) % N_CAPTIONS
    write("captions", captions, of_captions.astype(np.float16))
    write("clips", clips, (of_captions[own] + generator.standard_normal((N_CLIPS, DIM))).astype(np.float16))
    rows = pl.DataFrame({"clip_id": clips}).with_columns(
        media_id="clip_id", media_path="clip_id", media_digest=pl.lit(""), start_s=pl.lit(0.0), stop_s=pl.lit(1.0)
    )
    texts = pl.DataFrame({"caption_id": captions, "text": captions}).with_columns(source=pl.lit("given"))
    pairs = pl.DataFrame({"clip_id": clips, "caption_id": [captions[i] for i in own]})
    for name, table, schema in (
        ("clips", rows, tables.CLIPS),
        ("captions", texts, tables.CAPTIONS),
        ("pairs", pairs, tables.PAIRS),
    ):
        tables.write_table(table.select(*schema), schema, layout.table("large", name))
    Path("configs/experiments/large").mkdir()
    Path("configs/experiments/large/large.yaml").write_text("corpus: large\nencoders: [net]\n")


def test_memory_stays_below_the_matrix(large, monkeypatch):
    monkeypatch.setenv("HEARONCE_SCORE_MEMORY", "0.125")
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-800:]
    assert json.loads(done.stdout.splitlines()[-1])["grown"] < 0.4 * MATRIX_MIB


def test_many_clips_of_few_captions_are_read_in_blocks_though_the_matrix_is_small(monkeypatch):
    monkeypatch.setenv("HEARONCE_SCORE_MEMORY", "0.01")
    caption, clips = (Items([[StoredRows(np.ones((n, 512), np.float16))]]) for n in (1, 1_000))
    retrieval = Retrieval(caption, clips, Measure(), Pairs.of(np.zeros(1), np.zeros(1)))
    assert retrieval._sims is None
