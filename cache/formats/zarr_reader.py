"""Reads an array of shard files: whole, in slices or by row numbers, each chunk checked on every read.

zarr-python spends 50 to 100 us on each inner chunk. Because our shards are regular (`zarr_array`), a run of chunks
is one read, and picking rows out of it one numpy call; what is left is a CRC-32C of about 2 us a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
from google_crc32c import value as crc32c

from cache.errors import Damage, DamageError, FalseClaim, is_damage, unreadable
from cache.formats.zarr_array import ArraySpec
from cache.location import Blob, LocalLocation, Location

Visit = Callable[[int, np.ndarray], None]
"""Gets rows as they are read: the number of the first, and the rows."""

_BELIEVED_BYTES = 64 << 20  # memory is taken for more only once the files are known to hold it
_LOCAL_BYTES = 2 << 20  # at a time: stays in the processor's cache between reading, checking and copying
_REMOTE_BYTES = 32 << 20  # at a time: a request costs more than its bytes
LARGE = 16 << 20  # bytes of an array that is read again: compiled conversion is then worth its start
_THREADS = 2  # one reads while the other checks; more only wait for the interpreter, which a checksum holds


class ShardedArray:
    """One array on the disk.

    Args:
        location: the array's folder.
        spec: what it is.
        name: of the array, for messages.
        lenient: read chunks even where the shard's index is damaged (to repair; plain zarr would refuse).
    """

    def __init__(self, location: Location, spec: ArraySpec, name: str, lenient: bool = False) -> None:
        self.spec = spec
        self.shape, self.dtype = spec.shape, spec.dtype
        self._location = location
        self._name = name
        self._checked: set[int] = set()
        self._maps: dict[int, np.ndarray] = {}
        self._mapped_checked: dict[int, np.ndarray] = {}
        self._lenient = lenient
        budget = _LOCAL_BYTES if isinstance(location, LocalLocation) else _REMOTE_BYTES
        self._slots = max(1, budget // spec.stride)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop.

        Raises:
            DamageError: a chunk does not match its checksum, or a file is cut short.
            FileNotFoundError: a shard is gone.
        """
        stop = len(self) if stop is None else stop
        if stop <= start or not self.spec.row_bytes:
            return np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        shards = range(start // self.spec.shard_rows, (stop - 1) // self.spec.shard_rows + 1)
        self._check_files(shards, stop - start)
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        if len(shards) == 1:
            self._read_shard(shards[0], start, stop, out)
            return out
        with ThreadPoolExecutor(min(_THREADS, len(shards)), "read-shard") as pool:
            for future in [pool.submit(self._read_shard, shard, start, stop, out) for shard in shards]:
                future.result()
        return out

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows by number, in the order asked for; raises as `read` does."""
        rows = np.asarray(rows, np.int64)
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            return self.read(int(rows[0]), int(rows[-1]) + 1)
        order = np.argsort(rows, kind="stable")
        numbers = rows[order]
        self._check_files(np.unique(numbers // self.spec.shard_rows).tolist(), len(rows))
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        cuts = np.searchsorted(numbers, np.arange(1, self.spec.n_shards) * self.spec.shard_rows)
        for shard, (first, last) in enumerate(zip([0, *cuts], [*cuts, len(rows)], strict=True)):
            if first < last:
                self._take_from(shard, numbers[first:last], order[first:last], out)
        return out

    def read_float32(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows start to stop of a float array as float32, converted straight out of the mapped files.

        Each chunk is checked when it is first read, and not again: for galleries that are searched many times.

        Args:
            start: the first row.
            stop: the row behind the last one.
            out: float32 (stop - start, ...) to be filled, as fresh memory costs as much as the conversion.

        Raises:
            DamageError: a chunk does not match its checksum, or a file is cut short.
            FileNotFoundError: a shard is gone.
        """
        spec = self.spec
        if out is None:
            out = np.empty((stop - start, *self.shape[1:]), np.float32)
        while start < stop:
            shard, row = divmod(start, spec.shard_rows)
            first, skip = divmod(row, spec.chunk_rows)
            end = min(stop - start + row, spec.shard_rows)
            last = -(-end // spec.chunk_rows)
            framed = self._mapped(shard)[first:last]
            if len(new := np.flatnonzero(~self._mapped_checked[shard][first:last])):
                if (bad := new[_mismatches(framed[new])]).size:
                    c = first + int(bad[0])
                    raise DamageError([self._damage(shard, c, c + 1, "does not match its checksum")])
                self._mapped_checked[shard][first:last] = True
            strides = (spec.stride, spec.row_bytes, self.dtype.itemsize)
            rows: np.ndarray = np.ndarray(
                (last - first, spec.chunk_rows, *self.shape[1:]), self.dtype, framed, 0, strides
            )
            n, target = end - row, out[len(out) - (stop - start) :]
            head = min(n, spec.chunk_rows - skip) if skip else 0  # of a chunk that begins before them
            whole, tail = divmod(n - head, spec.chunk_rows)
            if head:
                target[:head] = rows[0, skip : skip + head]
                rows = rows[1:]
            between = target[head : n - tail]
            if whole and not len(new) and self.dtype == np.float16 and self.shape[0] * spec.row_bytes >= LARGE:
                from cache.formats.halves import to_float32  # numba takes half a second to import

                chunks = framed[1 if head else 0 :][:whole]
                to_float32(chunks, spec.chunk_rows * spec.row_bytes, between.reshape(whole, -1))
            else:
                between.reshape(whole, spec.chunk_rows, *self.shape[1:])[...] = rows[:whole]
            if tail:
                target[n - tail : n] = rows[whole, :tail]
            start += n
        return out

    def _mapped(self, shard: int) -> np.ndarray:
        """The framed chunks of a shard, uint8 (chunks, stride), mapped into memory once."""
        if shard not in self._maps:
            assert isinstance(self._location, LocalLocation)
            with self._open(shard):  # checks length and index
                path = self._location.path / self.spec.shard_name(shard)
                n = self.spec.n_chunks(shard)
                mapped = np.memmap(path, np.uint8, "r", shape=(n * self.spec.stride,)).reshape(n, self.spec.stride)
            self._mapped_checked[shard] = np.zeros(n, bool)
            self._maps[shard] = mapped
        return self._maps[shard]

    def damages(self, visit: Visit | None = None) -> list[Damage]:
        """Reads everything and lists what does not match its checksum, neighbouring chunks joined.

        Args:
            visit: gets the rows that do.
        """
        found: list[Damage] = []
        for shard in range(self.spec.n_shards):
            found += self._shard_damages(shard, visit)
        return found

    def _check_files(self, shards: Sequence[int], rows: int) -> None:
        """Opens shards that have not been opened yet: much memory is only taken for rows whose files are there."""
        if rows * self.spec.row_bytes > _BELIEVED_BYTES and not self._lenient:
            for shard in shards:
                if shard not in self._checked:
                    with self._open(shard):
                        pass

    def _read_shard(self, shard: int, start: int, stop: int, out: np.ndarray) -> None:
        spec = self.spec
        base = shard * spec.shard_rows
        first = (max(start, base) - base) // spec.chunk_rows
        last = -(-(min(stop, base + spec.shard_rows) - base) // spec.chunk_rows)
        flat = _as_items(out, spec.row_bytes)
        with self._open(shard) as blob:
            for chunk in range(first, last, self._slots):
                n = min(self._slots, last - chunk)
                framed = self._chunks(blob, shard, np.arange(chunk, chunk + n))
                row = base + chunk * spec.chunk_rows
                here = slice(max(start, row), min(stop, row + n * spec.chunk_rows))
                if here.start == row and here.stop == row + n * spec.chunk_rows:
                    target = flat[row - start : here.stop - start].reshape(n, spec.chunk_rows)
                    target[...] = _items(framed, spec)
                else:
                    whole = _items(framed, spec).reshape(-1)
                    flat[here.start - start : here.stop - start] = whole[here.start - row : here.stop - row]

    def _take_from(self, shard: int, numbers: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        spec = self.spec
        within = numbers - shard * spec.shard_rows
        chunks, slot = np.unique(within // spec.chunk_rows, return_inverse=True)
        flat = _as_items(out, spec.row_bytes)
        cuts = np.searchsorted(slot, np.arange(0, len(chunks) + self._slots, self._slots))
        with self._open(shard) as blob:
            for i, chunk in enumerate(range(0, len(chunks), self._slots)):
                framed = self._chunks(blob, shard, chunks[chunk : chunk + self._slots])
                here = slice(cuts[i], cuts[i + 1])
                flat[places[here]] = _items(framed, spec)[slot[here] - chunk, within[here] % spec.chunk_rows]

    def _chunks(self, blob: Blob, shard: int, chunks: np.ndarray) -> np.ndarray:
        """Reads and checks chunks: uint8 (n, stride)."""
        framed = np.empty((len(chunks), self.spec.stride), np.uint8)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(chunks) != 1) + 1, [len(chunks)]]).tolist()
        pieces = [(int(chunks[a]) * self.spec.stride, framed[a:b]) for a, b in pairwise(starts)]
        try:
            blob.fill(pieces)
        except EOFError:
            raise DamageError([self._damage(shard, int(chunks[0]), int(chunks[-1]) + 1, "is cut short")]) from None
        except OSError as error:
            if not is_damage(error):
                raise unreadable(self._file(shard), error) from None
            reason = f"cannot be read ({error.strerror or error})"
            raise DamageError([self._damage(shard, int(chunks[0]), int(chunks[-1]) + 1, reason)]) from None
        bad = np.flatnonzero(_mismatches(framed))
        if len(bad):
            raise DamageError(
                [self._damage(shard, int(c), int(c) + 1, "does not match its checksum") for c in chunks[bad]]
            )
        return framed

    @contextmanager
    def _open(self, shard: int) -> Iterator[Blob]:
        blob = self._blob(shard)
        try:
            if shard not in self._checked and not self._lenient:
                reason = self._index_reason(blob, shard)
                if reason:
                    raise DamageError([self._damage(shard, 0, self.spec.n_chunks(shard), reason)])
                self._checked.add(shard)
            yield blob
        finally:
            blob.close()

    def _blob(self, shard: int) -> Blob:
        try:
            return self._location.blob(self.spec.shard_name(shard))
        except FalseClaim as error:
            reason = error.damages[0].reason
            raise FalseClaim([self._damage(shard, 0, self.spec.n_chunks(shard), reason)]) from None

    def _index_reason(self, blob: Blob, shard: int) -> str | None:
        if blob.size != self.spec.shard_bytes(shard):
            return f"has {blob.size} bytes instead of {self.spec.shard_bytes(shard)}"
        expected = self.spec.index(shard).reshape(-1).view(np.uint8)
        found = np.empty(len(expected) + 4, np.uint8)
        blob.fill([(blob.size - len(found), found)])
        if not np.array_equal(found[:-4], expected) or crc32c(expected) != int(found[-4:].view("<u4")[0]):
            return "has an index that does not match its checksum"
        return None

    def _shard_damages(self, shard: int, visit: Visit | None) -> list[Damage]:
        n = self.spec.n_chunks(shard)
        try:
            blob = self._blob(shard)
        except FileNotFoundError:
            return [self._damage(shard, 0, n, "is missing")]
        except FalseClaim as error:
            return list(error.damages)
        found: list[Damage] = []
        try:
            reason = self._index_reason(blob, shard)
            readable = min(n, blob.size // self.spec.stride)
            bad = np.ones(n, bool)
            for chunk in range(0, readable, self._slots):
                stop = min(readable, chunk + self._slots)
                framed = np.empty((stop - chunk, self.spec.stride), np.uint8)
                blob.fill([(chunk * self.spec.stride, framed)])
                bad[chunk:stop] = _mismatches(framed)
                if visit is not None:
                    self._show(visit, shard, framed, chunk, bad[chunk:stop])
            edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8)))
            for a, b in edges.reshape(-1, 2).tolist():
                why = "does not match its checksum" if b <= readable else "is cut short"
                found.append(self._damage(shard, a, b, why))
            if reason and not found:
                found.append(Damage(self._file(shard), None, reason))
        except OSError as error:
            if not is_damage(error):
                raise unreadable(self._file(shard), error) from None
            found.append(self._damage(shard, 0, n, f"cannot be read ({error.strerror or error})"))
        finally:
            blob.close()
        return found

    def _show(self, visit: Visit, shard: int, framed: np.ndarray, first: int, bad: np.ndarray) -> None:
        start = shard * self.spec.shard_rows + first * self.spec.chunk_rows
        rows = np.ascontiguousarray(_items(framed, self.spec)).view(self.dtype).reshape(-1, *self.shape[1:])
        if not bad.any():
            visit(start, rows[: len(self) - start])
            return
        for chunk in np.flatnonzero(~bad).tolist():
            at = chunk * self.spec.chunk_rows
            visit(start + at, rows[at : min(at + self.spec.chunk_rows, len(self) - start)])

    def _file(self, shard: int) -> str:
        return f"{self._name}/{self.spec.shard_name(shard)}"

    def _damage(self, shard: int, first: int, last: int, reason: str) -> Damage:
        base = shard * self.spec.shard_rows
        rows = (base + first * self.spec.chunk_rows, min(len(self), base + last * self.spec.chunk_rows))
        return Damage(self._file(shard), rows, reason)


def _mismatches(framed: np.ndarray) -> np.ndarray:
    """Which chunks, uint8 (n, stride), do not match the CRC-32C behind them."""
    sums = np.ascontiguousarray(framed[:, -4:]).view("<u4").ravel().tolist()
    return np.array([crc32c(chunk) != wanted for chunk, wanted in zip(framed[:, :-4], sums, strict=True)], bool)


def _items(framed: np.ndarray, spec: ArraySpec) -> np.ndarray:
    """Chunks as rows of opaque bytes: (n, chunk_rows)."""
    kind = np.dtype(f"V{spec.row_bytes}")
    return np.ndarray((len(framed), spec.chunk_rows), kind, framed, 0, (spec.stride, spec.row_bytes))


def _as_items(out: np.ndarray, row_bytes: int) -> np.ndarray:
    return out.reshape(len(out), -1).view(np.dtype(f"V{row_bytes}")).reshape(len(out))
