"""Opens a row store in a new process and asks which of a million keys it lacks: seconds, and memory per key."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from measure import arguments, embeddings, folder, keys, show

from cache.row_store import RowStore
from cache.rows import RowFormat
from cache.upkeep.compaction import compact

CHILD = """
import json, resource, sys, time, tracemalloc
import numpy as np
from cache.keys import unpack_keys as unpack
from cache.row_store import RowStore
path, packed, as_list, traced = sys.argv[1], np.load(sys.argv[2]), sys.argv[3] == "list", sys.argv[4] == "traced"
wanted = unpack(packed) if as_list else packed
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if traced: tracemalloc.start()
started = time.perf_counter()
store = RowStore.open(path)
absent = store.missing(wanted)
seconds = time.perf_counter() - started
held, top = tracemalloc.get_traced_memory() if traced else (0, 0)
print(json.dumps([seconds, held, top, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak, len(absent)]))
"""
options = arguments(__doc__)
with folder(options) as root:
    packed = keys(options.rows)
    store = RowStore.ensure(root, "clips", "0" * 32, RowFormat(4, "float16"))
    with store.writer() as writer:
        for start in range(0, options.rows, 1 << 14):
            values = embeddings(min(1 << 14, options.rows - start), 4)
            writer.add(packed[start : start + (1 << 14)], values)
    import numpy as np

    np.save(root / "keys.npy", packed)
    lines = []
    for state in ("as written", "compacted"):
        if state == "compacted":
            compact(store)
        segments = len(store.segments.names())
        for kind in ("array", "list"):
            found: dict[str, list[list[float]]] = {"timed": [], "traced": []}
            for how, results in found.items():
                for _ in range(options.repeats):
                    command = [sys.executable, "-c", CHILD, store.path, str(root / "keys.npy"), kind, how]
                    results.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
                    assert results[-1][-1] == 0, "keys went missing"
            seconds = statistics.median(one[0] for one in found["timed"])
            held, top = (statistics.median(one[i] for one in found["traced"]) / options.rows for i in (1, 2))
            resident = statistics.median(one[3] for one in found["timed"]) * 1024 / options.rows
            lines.append([state, segments, kind, f"{seconds:.2f}", f"{held:.0f}", f"{top:.0f}", f"{resident:.0f}"])
    show(
        f"Opening a store of {options.rows:,} rows and missing() of all their keys",
        ["store", "segments", "keys given as", "seconds", "bytes a key, kept", "at most", "growth of the process"],
        lines,
    )
