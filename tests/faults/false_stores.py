"""Stores and files whose checksums fit and whose claims are false: what somebody sends who means no good."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from faults.material import FINGERPRINT, POOLED, RAGGED, fill, key
from google_crc32c import value as crc32c

from cache.artifact import write_artifact
from cache.formats.hdf5 import _user_block
from cache.json_documents import canonical_json
from cache.rows import RowFormat
from cache.upkeep.exchange import export

DESCRIPTION = {"modality": "captions", "encoder": "small", "fingerprint": FINGERPRINT}
ROWS = 40
HUGE = (1 << 50, 1 << 33, 1 << 62, 10**30)
Make = Callable[[Path], object]


class NothingToChange(Exception):
    """A claim that is true."""


def resealed(data: bytes) -> bytes:
    """The bytes with the checksum that they should have."""
    slot = b'"hearonce_crc32c": "'
    at = data.find(slot)
    if at < 0:
        return data
    at += len(slot)
    blank = data[:at] + b"00000000" + data[at + 8 :]
    return blank.replace(slot + b"00000000", slot + b"%08x" % crc32c(blank))


def dumped(document: Any) -> bytes:
    return resealed(json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")


def descriptions() -> Iterator[tuple[str, Callable[[dict[str, Any]], None]]]:
    """(what is false, what makes it so) in the description of a group, file or segment."""
    wrong: dict[str, tuple[Any, ...]] = {
        "rows": (*HUGE, -1, "5", 3.5, None, True, [40], ROWS + 1, ROWS - 1),
        "schema": ("2", 99, None, -1, [], 10**400),
        "format": (None, [], "x", {}, {"dim": 512}),
        "provenance": ("x", 5, [1]),
    }
    for name, values in wrong.items():
        for value in values:
            yield f"{name} = {str(value)[:30]!r}", lambda found, n=name, v=value: found.__setitem__(n, v)
    inner: dict[str, tuple[Any, ...]] = {
        "dim": (0, -1, 1 << 40, 1 << 62, "x", 1.5, None, True, 511, 1 << 20),
        "dtype": ("float64", "object", ["float32"], None, "O", "float16"),
        "ragged": ("yes", 1, None, [], True),
        "side": (
            [],
            {"a b": "int32"},
            {"x": "complex64"},
            {"../../x": "int32"},
            None,
            {"x": ["int32"]},
            {"x": "int32"},
        ),
    }
    for name, values in inner.items():
        for value in values:
            change = lambda found, n=name, v=value: found["format"].__setitem__(n, v)  # noqa: E731
            yield f"format.{name} = {str(value)[:30]!r}", change


def texts(good: bytes) -> Iterator[tuple[str, bytes]]:
    """(what is false, the bytes) of a JSON document as a text."""
    opening = good.index(b"{") + 1
    insert = lambda more: resealed(good[:opening] + more + b"," + good[opening:])  # noqa: E731
    yield "50,000 levels", insert(b'"a": ' + b"[" * 50_000 + b"]" * 50_000)
    yield "50,000 levels of objects", insert(b'"a": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000)
    yield "unclosed levels", insert(b'"a": ' + b"[" * 50_000)
    yield "a number of 5,000 digits", insert(b'"a": ' + b"9" * 5000)
    yield "NaN", insert(b'"a": NaN')
    yield "-Infinity", insert(b'"a": -Infinity')
    yield "a name twice", insert(b'"a": 1, "a": 2')
    yield "a text of 8 MB with a control character", insert(b'"a": "' + b"x" * (8 << 20) + b'\n"')
    yield "no UTF-8", insert(b'"a": "\xff\xfe"')
    yield "a list", resealed(b"[" + good.strip() + b"]")
    yield "nothing", b""
    yield "a word", b"zarr"


def arrays_of(document: dict[str, Any]) -> dict[str, Any]:
    return document["consolidated_metadata"]["metadata"]


def metadata() -> Iterator[tuple[str, Callable[[dict[str, Any]], None]]]:
    """(what is false, what makes it so) in the metadata of a Zarr group."""

    def grow(document: dict[str, Any], rows: int) -> None:
        document["attributes"]["hearonce"]["rows"] = rows
        for array in arrays_of(document).values():
            array["shape"][0] = rows

    def widen(document: dict[str, Any], dim: int) -> None:
        document["attributes"]["hearonce"]["format"]["dim"] = dim
        values = arrays_of(document)["values"]
        for shape in (
            values["shape"],
            values["chunk_grid"]["configuration"]["chunk_shape"],
            inner(values)["chunk_shape"],
        ):
            shape[1] = dim

    def inner(array: dict[str, Any]) -> dict[str, Any]:
        return array["codecs"][0]["configuration"]

    def cut(document: dict[str, Any], name: str, chunk: Any, shard: Any) -> None:
        array = arrays_of(document)[name]
        inner(array)["chunk_shape"][0] = chunk
        array["chunk_grid"]["configuration"]["chunk_shape"][0] = shard

    for rows in (*HUGE[:3], 1 << 21, ROWS + 1):
        yield f"{rows} rows everywhere", lambda one, n=rows: grow(one, n)
    for dim in (1 << 19, 1 << 21, 1 << 60):
        yield f"rows of {dim} everywhere", lambda one, n=dim: widen(one, n)
    for chunk, shard in (
        (1, 1 << 40),
        (1 << 40, 1 << 40),
        (0, 0),
        (-1, -1),
        (3, 10),
        (4096.0, 262144.0),
        ("1", "1"),
        (1, 1),
    ):
        for name in ("keys", "values"):
            yield f"{name} in chunks of {chunk} of {shard}", lambda one, n=name, a=chunk, b=shard: cut(one, n, a, b)
    changes: dict[str, tuple[Any, ...]] = {
        "shape": ([], [-1, 512], [ROWS], [ROWS, 512, 1], None, [ROWS, float(512)], [ROWS, 511]),
        "data_type": ("complex128", "object", "float64", {"name": "numpy.void"}, "V4", None, "float16"),
        "codecs": ([], [{"name": "gzip"}], [{"name": "sharding_indexed"}], None, [{"name": "x", "configuration": {}}]),
        "chunk_grid": (
            None,
            {"name": "rectangular"},
            {"name": "regular", "configuration": {"chunk_shape": [1 << 60, 512]}},
        ),
        "node_type": ("group",),
        "zarr_format": (2,),
    }
    for name, values in changes.items():
        for value in values:
            yield (
                f"values: {name} = {str(value)[:40]}",
                lambda one, n=name, v=value: arrays_of(one)["values"].__setitem__(n, v),
            )
    yield "no array", lambda one: arrays_of(one).clear()
    yield "no values", lambda one: arrays_of(one).pop("values")
    yield "arrays that are none", lambda one: arrays_of(one).update(keys=5, values="x")
    yield "no metadata", lambda one: one.__setitem__("consolidated_metadata", 5)
    yield "metadata that are a list", lambda one: one["consolidated_metadata"].__setitem__("metadata", [1])


def entries(name: str) -> Iterator[tuple[str, Make]]:
    """(what is false, what makes it so) where a file of a folder should stand."""

    def instead(folder: Path, make: Callable[[Path], None]) -> None:
        (folder / name).unlink()
        make(folder / name)

    def bound(path: Path) -> None:
        where = os.getcwd()
        os.chdir(path.parent)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
        os.chdir(where)

    yield f"{name} is a FIFO", lambda folder: instead(folder, os.mkfifo)
    yield f"{name} is a socket", lambda folder: instead(folder, bound)
    yield f"{name} is a folder", lambda folder: instead(folder, os.mkdir)
    yield f"{name} leads to /dev/zero", lambda folder: instead(folder, lambda one: one.symlink_to("/dev/zero"))
    yield f"{name} leads to itself", lambda folder: instead(folder, lambda one: one.symlink_to(one.name))
    yield f"{name} leads out", lambda folder: outside(folder / name)


def outside(path: Path) -> None:
    """Moves a file or folder out, and leaves a link."""
    folder = next(one for one in path.parents if one.name == "false")
    away = folder.parent / f"elsewhere-{os.urandom(4).hex()}"
    path.rename(away)
    path.symlink_to(away.resolve())


def shards(ragged: bool) -> Iterator[tuple[str, Make]]:
    """(what is false, what makes it so) in shards and strings, with checksums that fit."""

    def index(folder: Path, entry: int, value: int) -> None:
        path = folder / "keys/c.0.0"
        data = bytearray(path.read_bytes())
        n = 1 << 6 if len(data) > 65_000 else 1
        at = len(data) - 4 - 16 * n + 8 * entry
        data[at : at + 8] = value.to_bytes(8, "little")
        data[-4:] = crc32c(bytes(data[-4 - 16 * n : -4])).to_bytes(4, "little")
        path.write_bytes(data)

    def numbers(folder: Path, file: str, change: Callable[[np.ndarray], None], kind: str) -> None:
        path = folder / file
        data = bytearray(path.read_bytes())
        document = json.loads((path.parent / "zarr.json").read_bytes())
        shape = document["codecs"][0]["configuration"]["chunk_shape"]
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        chunk = np.frombuffer(bytes(data[:size]), kind).copy()
        change(chunk)
        data[:size] = chunk.tobytes()
        data[size : size + 4] = crc32c(chunk.tobytes()).to_bytes(4, "little")
        path.write_bytes(data)

    def strings(folder: Path, at: int, word: bytes) -> None:
        data = bytearray((folder / "ids/c.0").read_bytes())
        data[at : at + len(word)] = word
        data[-4:] = crc32c(bytes(data[:-4])).to_bytes(4, "little")
        (folder / "ids/c.0").write_bytes(data)

    for entry, value in ((0, 1 << 40), (0, (1 << 64) - 1), (1, 1 << 50), (1, 0)):
        yield f"index entry {entry} = {value}", lambda one, e=entry, v=value: index(one, e, v)
    yield "an id of 4 GB", lambda one: strings(one, 4, b"\xff\xff\xff\xff")
    yield "an id that is no UTF-8", lambda one: strings(one, 8, b"\xff")
    nan = lambda values: values.__setitem__(3, np.nan)  # noqa: E731
    yield "a value that is no number", lambda one: numbers(one, "values/c.0.0", nan, "<f2" if ragged else "<f4")
    if ragged:
        for value in (-1, 1 << 62, 1 << 40, 0):
            change = lambda offsets, v=value: offsets.__setitem__(ROWS // 2, v)  # noqa: E731
            yield f"an offset = {value}", lambda one, c=change: numbers(one, "offsets/c.0", c, "<i8")
        last = lambda offsets: offsets.__setitem__(ROWS, 1 << 40)  # noqa: E731
        yield "rows that end far beyond", lambda one: numbers(one, "offsets/c.0", last, "<i8")


def zarr_variants(ragged: bool) -> Iterator[tuple[str, Make]]:
    """(what is false, what makes it so) of a folder of ours."""

    def document(change: Callable[[dict[str, Any]], None]) -> Make:
        def make(folder: Path) -> None:
            found = json.loads((folder / "zarr.json").read_bytes())
            before = copy.deepcopy(found)
            change(found)
            if dumped(found) == dumped(before):
                raise NothingToChange
            (folder / "zarr.json").write_bytes(dumped(found))
            consolidated = found.get("consolidated_metadata")
            arrays = consolidated.get("metadata") if isinstance(consolidated, dict) else None
            for name, array in arrays.items() if isinstance(arrays, dict) else ():
                if isinstance(array, dict) and (folder / name).is_dir():
                    (folder / name / "zarr.json").write_bytes(canonical_json(array))

        return make

    for what, change in descriptions():
        yield what, document(lambda one, c=change: c(one["attributes"]["hearonce"]))
    for what, change in metadata():
        yield what, document(change)
    yield from (
        (f"zarr.json: {what}", lambda folder, d=data: (folder / "zarr.json").write_bytes(d))
        for what, data in texts(b'{\n "attributes": {"hearonce": {"hearonce_crc32c": "00000000"}}}\n')
    )
    yield from shards(ragged)
    for name in ("zarr.json", "keys/c.0.0", "values/c.0.0"):
        yield from entries(name)
    yield "values lead out", lambda folder: outside(folder / "values")


def foreign(folder: Path, source: Path) -> None:
    """The artifact as zarr-python would write it."""
    original = zarr.open_group(source, mode="r")
    packed = zarr.create_group(folder, attributes=dict(original.attrs))
    for name in original:
        array = original[name]
        made = packed.create_array(
            name, shape=array.shape, dtype=str if name == "ids" else array.dtype, chunks=(16, *array.shape[1:])
        )
        made[...] = array[...]


def foreign_variants() -> Iterator[tuple[str, Make]]:
    """(what is false, what makes it so) of a folder that another program wrote."""

    def array(name: str, change: Callable[[dict[str, Any]], None]) -> Make:
        def make(folder: Path) -> None:
            path = folder / name / "zarr.json"
            found = json.loads(path.read_bytes())
            change(found)
            path.write_bytes(json.dumps(found).encode())

        return make

    for rows in (1 << 50, 1 << 33, ROWS + 1):
        yield f"keys of {rows} rows", array("keys", lambda one, n=rows: one["shape"].__setitem__(0, n))
        yield f"ids of {rows} rows", array("ids", lambda one, n=rows: one["shape"].__setitem__(0, n))
    for chunk in (1 << 50, 0, -1, "x", 1 << 30):
        change = lambda one, n=chunk: one["chunk_grid"]["configuration"]["chunk_shape"].__setitem__(0, n)  # noqa: E731
        yield f"values in chunks of {chunk}", array("values", change)
    for name, value in (
        ("data_type", "object"),
        ("data_type", "float64"),
        ("codecs", [{"name": "pickle"}]),
        ("codecs", [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 1}}]),
        ("chunk_grid", {"name": "rectangular", "configuration": {}}),
        ("chunk_key_encoding", {"name": "suffix"}),
        ("storage_transformers", [{"name": "x"}]),
        ("node_type", "group"),
        ("zarr_format", 7),
        ("shape", [[1]]),
    ):
        yield f"values: {name} = {value}", array("values", lambda one, n=name, v=value: one.__setitem__(n, v))
    yield "values: 50,000 levels", lambda one: (one / "values/zarr.json").write_bytes(b"[" * 50_000)
    yield (
        "a chunk that would unpack to 8 GB",
        lambda one: (one / "values/c/0/0").write_bytes(
            b"\x28\xb5\x2f\xfd\xe0" + (8 << 30).to_bytes(8, "little") + bytes(20)
        ),
    )
    yield "a chunk that is lost", lambda one: (one / "values/c/1/0").unlink()
    yield "a chunk of other bytes", lambda one: (one / "values/c/1/0").write_bytes(b"?" * 50)
    yield from ((f"foreign {what}", make) for what, make in entries("values/c/0/0"))


def hdf5_variants() -> Iterator[tuple[str, Make]]:
    """(what is false, what makes it so) of an HDF5 file, its user block made to fit."""

    def changed(change: Callable[[Any], None]) -> Make:
        def make(path: Path) -> None:
            with h5py.File(path, "r+") as file:
                change(file)
            block = _user_block(path)
            with open(path, "r+b") as file:
                file.write(block.ljust(512, b"\0"))

        return make

    def described(change: Callable[[dict[str, Any]], None]) -> Make:
        def write(file: Any) -> None:
            found = json.loads(bytes(file.attrs["hearonce"]))
            change(found)
            file.attrs["hearonce"] = np.bytes_(dumped(found))

        return changed(write)

    def instead(name: str, make: Callable[[Any, str, Any], object]) -> Make:
        def write(file: Any) -> None:
            data = file[name][...]
            del file[name]
            make(file, name, data)

        return changed(write)

    for what, change in descriptions():
        yield what, described(change)
    for what, data in texts(b'{\n "hearonce_crc32c": "00000000"}\n'):
        if data and len(data) < 60_000:
            yield f"text: {what}", changed(lambda file, d=data: file.attrs.__setitem__("hearonce", np.bytes_(d)))
    attribute = lambda value: changed(lambda file: file.attrs.__setitem__("hearonce", value))  # noqa: E731
    yield "text of any length", attribute("{}")
    yield "texts", attribute(np.zeros((3, 3), "S5"))
    yield "numbers", attribute(np.zeros(3))
    for name in ("keys", "values", "ids"):
        other: dict[str, Callable[[Any, str, Any], object]] = {
            "an external link": lambda file, n, _: file.__setitem__(n, h5py.ExternalLink("/etc/passwd", "/x")),
            "a soft link": lambda file, n, data: (
                (file.create_dataset("other", data=data), file.__setitem__(n, h5py.SoftLink("/other")))
            ),
            "a soft link to itself": lambda file, n, _: file.__setitem__(n, h5py.SoftLink(f"/{n}")),
            "external": lambda file, n, data: file.create_dataset(
                n, data.shape, data.dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
            ),
            "virtual": _virtual,
            "a group": lambda file, n, _: file.create_group(n),
            "a type": lambda file, n, data: file.__setitem__(n, data.dtype),
            "of references": lambda file, n, data: file.create_dataset(n, data.shape, h5py.ref_dtype),
            "of any length": lambda file, n, data: file.create_dataset(n, (ROWS,), h5py.vlen_dtype(np.float32)),
            "of texts of any length": lambda file, n, data: file.create_dataset(n, (ROWS,), h5py.string_dtype()),
            "compound": lambda file, n, data: file.create_dataset(n, (ROWS,), [("a", "f4"), ("b", "i4")]),
            "packed": lambda file, n, data: file.create_dataset(n, data=data, compression="gzip", chunks=True),
            "shuffled": lambda file, n, data: file.create_dataset(n, data=data, shuffle=True, chunks=True),
            "packed by lzf": lambda file, n, data: file.create_dataset(n, data=data, compression="lzf", chunks=True),
            "longer": lambda file, n, data: file.create_dataset(n, (ROWS + 1, *data.shape[1:]), data.dtype),
            "of 2^50 rows": lambda file, n, data: file.create_dataset(
                n, (1 << 50, *data.shape[1:]), data.dtype, chunks=(64, *data.shape[1:])
            ),
            "without dimensions": lambda file, n, data: file.create_dataset(n, (), data.dtype),
            "empty": lambda file, n, data: file.create_dataset(n, data=h5py.Empty(data.dtype)),
            "complex": lambda file, n, data: file.create_dataset(n, data.shape, "c8"),
        }
        for what, make in other.items():
            yield f"{name} is {what}", instead(name, make)
    yield (
        "values are big-endian",
        instead("values", lambda file, n, data: file.create_dataset(n, data=data.astype(">f4"))),
    )
    yield "values hold NaN", changed(lambda file: file["values"].__setitem__((3, 5), np.nan))
    yield "ids of 70,000 bytes", instead("ids", lambda file, n, _: file.create_dataset(n, (ROWS,), "S70000"))

    def all_longer(rows: int) -> Make:
        def write(file: Any) -> None:
            found = json.loads(bytes(file.attrs["hearonce"]))
            found["rows"] = rows
            file.attrs["hearonce"] = np.bytes_(dumped(found))
            for name in ("keys", "values", "ids"):
                old = file[name]
                shape, kind = (rows, *old.shape[1:]), old.dtype
                del file[name]
                file.create_dataset(name, shape, kind, chunks=(64, *shape[1:]), fletcher32=True)

        return changed(write)

    for rows in (1 << 50, 3_000_000):
        yield f"{rows} rows of no bytes", all_longer(rows)


def _virtual(file: Any, name: str, data: Any) -> None:
    layout = h5py.VirtualLayout(data.shape, data.dtype)
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", data.shape)
    file.create_virtual_dataset(name, layout)


def packed_variants() -> Iterator[tuple[str, str, Make]]:
    """(suffix, what is false, what makes it so) of npz, safetensors and Parquet."""

    def member(path: Path, name: str, data: bytes, compressed: bool = False) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {one: archive.read(one) for one in archive.namelist()}
        members[name] = data
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
            for one, content in members.items():
                archive.writestr(one, content)

    def npy(shape: str, kind: str = "<f4", more: bytes = b"") -> bytes:
        header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
        header += " " * (-(len(header) + 11) % 64) + "\n"
        return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + more

    for shape in ("(1125899906842624, 512)", "(-1, 512)", "(40, 511)", "()", "(40,)"):
        yield ".npz", f"values {shape}", lambda path, s=shape: member(path, "values.npy", npy(s))
    yield ".npz", "values of objects", lambda path: member(path, "values.npy", npy("(40, 512)", "|O", b"cos\nsystem\n"))
    yield (
        ".npz",
        "values that would unpack to 300 MB",
        lambda path: member(path, "values.npy", npy("(146484, 512)", "<f4", bytes(300 << 20)), True),
    )
    yield ".npz", "values that are no array", lambda path: member(path, "values.npy", b"hello")
    yield ".npz", "no keys", lambda path: member(path, "keys.npy", npy("(0, 16)", "|u1"))

    def header(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        data = path.read_bytes()
        n = int.from_bytes(data[:8], "little")
        found = json.loads(data[8 : 8 + n])
        changed = change(found)
        text = changed if isinstance(changed, bytes) else json.dumps(found).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + n :])

    for offsets in ([0, 1 << 50], [-5, 10], [10, 5], ["a", "b"], [0], None):
        change = lambda one, o=offsets: one["values"].__setitem__("data_offsets", o)  # noqa: E731
        yield ".safetensors", f"values at {offsets}", lambda path, c=change: header(path, c)
    for shape in ([1 << 50, 512], [ROWS, -512], [ROWS], "x"):
        change = lambda one, s=shape: one["values"].__setitem__("shape", s)  # noqa: E731
        yield ".safetensors", f"values {shape}", lambda path, c=change: header(path, c)
    yield ".safetensors", "50,000 levels", lambda path: header(path, lambda _: b"[" * 50_000)
    yield (
        ".safetensors",
        "a header of 2^60 bytes",
        lambda path: path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}"),
    )
    for suffix in (".npz", ".safetensors", ".parquet"):
        yield suffix, "a FIFO", lambda path: (path.unlink(), os.mkfifo(path))
        yield suffix, "a folder", lambda path: (path.unlink(), path.mkdir())
        yield suffix, "other bytes", lambda path: path.write_bytes(random.Random(1).randbytes(5000))


def build(folder: Path) -> Iterator[tuple[str, Path, bool]]:
    """(what is false, path, whether it is a store to merge) for all of them; each is made when it is asked for."""
    folder.mkdir()
    formats: dict[str, RowFormat] = {"pooled": POOLED, "ragged": RAGGED}
    for name, row_format in formats.items():
        store = fill(folder / name, row_format, range(ROWS))
        ids, keys = [f"row {i}" for i in range(ROWS)], [key(i) for i in range(ROWS)]
        for suffix in (".zarr", ".h5"):
            write_artifact(folder / f"{name}{suffix}", ids, keys, store, DESCRIPTION)
    from cache.artifact import open_artifact

    foreign(folder / "foreign.zarr", folder / "pooled.zarr")
    for suffix in (".npz", ".safetensors", ".parquet"):
        export(open_artifact(folder / "pooled.zarr"), folder / f"pooled{suffix}")

    def made(what: str, source: str, make: Make, inner: str = "") -> Path:
        path = folder / "false" / source
        shutil.rmtree(folder / "false", ignore_errors=True)
        (folder / "false").mkdir()
        (shutil.copytree if (folder / source).is_dir() else shutil.copy)(folder / source, path)
        target = next(path.glob(inner)) if inner else path
        make(target)
        return path

    for name in formats:
        for what, make in zarr_variants(name == "ragged"):
            try:
                yield f"{name} Zarr, {what}", made(what, f"{name}.zarr", make), False
            except NothingToChange:
                continue
    for what, make in zarr_variants(False):
        if "id" in what.split() or "ids" in what:
            continue  # segments have none
        try:
            yield f"segment, {what}", made(what, "pooled", make, "*/segments/*.zarr"), True
        except (FileNotFoundError, NothingToChange):
            continue
    for what, change in descriptions():
        if what.startswith(("rows", "provenance")):
            continue

        def store_json(path: Path, c: Any = change) -> None:
            found = json.loads(path.read_bytes())
            c(found)
            path.write_bytes(dumped(found))

        yield f"store.json, {what}", made(what, "pooled", store_json, "*/store.json"), True
    for what, make in foreign_variants():
        yield f"foreign Zarr, {what}", made(what, "foreign.zarr", make), False
    for what, make in hdf5_variants():
        yield f"HDF5, {what}", made(what, "pooled.h5", make), False
    for suffix, what, make in packed_variants():
        yield f"{suffix}, {what}", made(what, f"pooled{suffix}", make), False
