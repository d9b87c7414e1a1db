"""Any history of a store reads as a plain dictionary would."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from cache_samples import FORMATS, any_format, assert_rows, batch, files, keys, open_store
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cache.upkeep.compaction import compact, gc
from cache.upkeep.repair import repair, verify

numbers = st.lists(st.integers(0, 25), unique=True, max_size=8)


class History(RuleBasedStateMachine):
    """The numbers of the rows that must be there; two views of one store, of which one may be out of date."""

    @initialize(row_format=st.one_of(st.sampled_from(FORMATS), any_format))
    def begin(self, row_format):
        self.folder = tempfile.TemporaryDirectory()
        self.format = row_format
        self.store = open_store(self.folder.name, row_format)
        self.other = open_store(self.folder.name, row_format)
        self.rows: dict[int, None] = {}

    @rule(chosen=numbers)
    def append(self, chosen):
        self.store.append(*batch(self.format, *chosen))
        self.rows.update(dict.fromkeys(chosen))

    @rule(parts=st.lists(numbers, max_size=4), limit=st.integers(1, 9))
    def write_in_batches(self, parts, limit):
        seen: set[int] = set()
        with self.other.writer(rows=limit) as writer:
            for part in parts:
                new = [n for n in part if n not in seen]
                seen.update(new)
                writer.add(*batch(self.format, *new))
        self.rows.update(dict.fromkeys(seen))

    @rule(size=st.sampled_from([1, 1000, 1 << 30]))
    def compact(self, size):
        plan = compact(self.store, segment_bytes=size, dry_run=True)
        assert compact(self.store, segment_bytes=size) == plan

    @rule(kept=numbers)
    def gc(self, kept):
        plan = gc(self.other, keys(*kept), dry_run=True)
        assert gc(self.other, keys(*kept)) == plan
        self.rows = {n: None for n in self.rows if n in kept}

    @rule()
    def reopen(self):
        self.other = open_store(self.folder.name, self.format)

    @rule(data=st.data())
    def damage_and_repair(self, data):
        stored = files(Path(self.store.path))
        file = data.draw(st.sampled_from(stored))
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
        if file.name == "store.json" and len(stored) == 1:
            file.unlink()
        else:
            assert verify(self.store.path)
            repair(self.store.path)
            assert verify(self.store.path) == []
        self.store = open_store(self.folder.name, self.format)
        missing = set(self.store.missing(keys(*range(26))))
        self.rows = {n: None for n in self.rows if keys(n)[0] not in missing}

    @invariant()
    def all_rows_are_there(self):
        if not hasattr(self, "rows"):
            return
        for view in (self.store, self.other):
            view.refresh()
            present = sorted(self.rows)
            assert view.missing(keys(*range(26))) == keys(*(n for n in range(26) if n not in self.rows))
            assert len(view) == len(self.rows)
            assert_rows(view, *reversed(present))

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
