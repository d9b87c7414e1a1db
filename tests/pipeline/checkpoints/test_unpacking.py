"""Archives from outside: what is taken of them, what is refused, and that nothing of a refused one is left."""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.checkpoints.archives import Limits, extract
from pipeline.checkpoints.unpack import is_archive, unpack, unpacked

PACKERS = {".tar": bytes, ".tar.gz": gzip.compress, ".tar.xz": lzma.compress, ".tar.bz2": bz2.compress}
DATA = b"weights" * 1000


def member(name, kind=tarfile.REGTYPE, link="", data=b""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, len(data)
    return made, data


def tar(*members, form=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for header, data in members:
            archive.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def zipped(*members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data, mode in members:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, method
            archive.writestr(info, data)
    return buffer.getvalue()


def refused(folder, name, data, says, limits=None):
    """Unpacks an archive beside a file and asserts that it is refused in a sentence and that all is as it was."""
    base = folder / "checkpoints"
    base.mkdir(exist_ok=True)
    (folder / "secret").write_bytes(b"mine")
    (base / name).write_bytes(data)
    with pytest.raises(UserError, match=says) as caught:
        unpack(base / name, limits or Limits())
    assert "\n" not in str(caught.value)
    assert str(base / name) in str(caught.value)
    assert (folder / "secret").read_bytes() == b"mine"
    assert sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*")) == sorted(
        ["secret", "checkpoints", f"checkpoints/{name}"]
    )


def chain(steps=16):
    """The attack of CVE-2025-4138: links that resolve to paths beyond PATH_MAX, where a check gives up."""
    part, members, path = "d" * 247, [], ""
    for letter in "abcdefghijklmnop"[:steps]:
        members += [member(f"{path}{part}", tarfile.DIRTYPE), member(f"{path}{letter}", tarfile.SYMTYPE, part)]
        path += f"{part}/"
    long = "/".join("abcdefghijklmnop"[:steps]) + "/" + "l" * 254
    members.append(member(long, tarfile.SYMTYPE, "../" * steps))
    members.append(member("escape", tarfile.SYMTYPE, f"{long}/../../"))
    members.append(member("escape/secret", data=b"overwritten"))
    return members


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_files_and_folders_are_unpacked(tmp_path, suffix, form):
    long = "/".join(["n" * 60] * 3) + "/x"
    made = tar(
        member("./", tarfile.DIRTYPE), member("./release/a.pth", data=DATA), member("release", tarfile.DIRTYPE),
        member("release/empty"), member(long, data=b"deep"), member("größe.txt", data=b"u"), form=form,
    )  # fmt: skip
    path = tmp_path / f"release{suffix}"
    path.write_bytes(PACKERS[suffix](made))
    assert is_archive(path)
    folder = unpack(path)
    assert folder == unpacked(path) == tmp_path / "release"
    assert (folder / "release/a.pth").read_bytes() == DATA
    assert (folder / "release/empty").read_bytes() == b""
    assert (folder / long).read_bytes() == b"deep"
    assert (folder / "größe.txt").read_bytes() == b"u"
    assert stat.S_IMODE((folder / "release/a.pth").stat().st_mode) & 0o7000 == 0


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_zip_archives_are_unpacked(tmp_path, method):
    path = tmp_path / "release.zip"
    path.write_bytes(zipped(("a/", b"", 0o40755), ("a/b.pth", DATA, 0o104755), ("c", b"1", 0), method=method))
    folder = unpack(path)
    assert (folder / "a/b.pth").read_bytes() == DATA
    assert (folder / "c").read_bytes() == b"1"
    assert (folder / "a/b.pth").stat().st_mode & 0o6111 == 0  # neither set-uid nor executable: it is data


@pytest.mark.parametrize("packer", PACKERS.values())
def test_a_tar_archive_whose_name_is_wrong_about_its_compression_is_unpacked(tmp_path, packer):
    """The README of AVLnet's authors says `tar -xvf`, which goes by the bytes."""
    for name in ("a.tar.gz", "b.tar"):
        (tmp_path / name).write_bytes(packer(tar(member("data/w.pth", data=DATA))))
        assert (unpack(tmp_path / name) / "w.pth").read_bytes() == DATA


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2"])
def test_a_compressed_file_is_unpacked_and_bounded(tmp_path, suffix):
    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}[suffix]
    path = tmp_path / f"vectors.bin{suffix}"
    path.write_bytes(pack(DATA) + pack(DATA))  # joined streams are one file
    assert unpack(path).read_bytes() == DATA * 2
    (tmp_path / "more").mkdir()
    refused(tmp_path / "more", f"big.bin{suffix}", pack(DATA), "more than 1e-06 GB", Limits(total_gb=1e-6))
    refused(tmp_path / "more", f"big.bin{suffix}", pack(os.urandom(500_000))[:-300], "is damaged")


HOSTILE = {
    "symlink": ([member("a", tarfile.SYMTYPE, "/etc/passwd")], "is a link"),
    "symlink inside": ([member("b"), member("a", tarfile.SYMTYPE, "b")], "is a link"),
    "hard link": ([member("b"), member("a", tarfile.LNKTYPE, "b")], "is a link"),
    "hard link outside": ([member("a", tarfile.LNKTYPE, "../secret")], "is a link"),
    "FIFO": ([member("a", tarfile.FIFOTYPE)], "neither a file nor a folder"),
    "device": ([member("a", tarfile.CHRTYPE)], "neither a file nor a folder"),
    "block device": ([member("a", tarfile.BLKTYPE)], "neither a file nor a folder"),
    "link chain": (chain(), "is a link"),
    "dots": ([member("../../secret", data=b"x")], "tries to write outside"),
    "dots within": ([member("a/../../secret", data=b"x")], "tries to write outside"),
    "absolute": ([member("/tmp/hearonce-absolute", data=b"x")], "tries to write outside"),
    "backslashes": ([member("..\\secret", data=b"x")], "backslash"),
    "twice": ([member("a", data=b"x"), member("./a", data=b"y")], "is in it twice"),
    "file over folder": ([member("a/b", data=b"x"), member("a", data=b"y")], "is in it twice"),
    "folder over file": ([member("a", data=b"x"), member("a/b", data=b"y")], "a file and a folder"),
    "long name": ([member("n" * 256, data=b"x")], "a name over 255 bytes"),
    "long path": ([member("/".join(["n" * 200] * 6), data=b"x")], "a path of 1205 bytes"),
    "deep": ([member("d/" * 150 + "x", data=b"x")], "deeper than 100 folders"),
}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_plain_file_below_the_folder_is_refused(tmp_path, suffix, case):
    members, says = HOSTILE[case]
    refused(tmp_path, f"release{suffix}", PACKERS[suffix](tar(member("fine", data=DATA), *members)), says)
    assert not Path("/tmp/hearonce-absolute").exists()


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("a", b"/etc/passwd", 0o120777)], "is a link"),
        ([("a", b"", 0o010644)], "neither a file nor a folder"),
        ([("../../secret", b"x", 0)], "tries to write outside"),
        ([("/tmp/hearonce-absolute", b"x", 0)], "tries to write outside"),
        ([("..\\secret", b"x", 0)], "backslash"),
        ([("a/b", b"x", 0), ("a//b", b"y", 0)], "is in it twice"),
        ([("a", b"x", 0), ("a/b", b"y", 0)], "a file and a folder"),
        ([("n" * 256, b"x", 0)], "a name over 255 bytes"),
        ([("d/" * 450 + "x", b"x", 0)], "deeper than"),
    ],
)
def test_the_same_holds_for_zip(tmp_path, members, says):
    refused(tmp_path, "release.zip", zipped(("fine", DATA, 0), *members), says)
    assert not Path("/tmp/hearonce-absolute").exists()


def test_members_size_and_ratio_are_bounded(tmp_path):
    many = [(f"f{i}", b"", 0) for i in range(30)]
    refused(tmp_path, "a.zip", zipped(*many), "more than 20 members", Limits(members=20))
    (tmp_path / "checkpoints/a.zip").unlink()
    packed = tar(*(member(name) for name, _, _ in many))
    refused(tmp_path, "a.tar", packed, "more than 20 members", Limits(members=20))
    (tmp_path / "checkpoints/a.tar").unlink()
    zeros = bytes(1 << 20)
    bomb = zlib.compressobj(9, wbits=31)
    header, _ = member("zeros")
    header.size = 150 << 20
    packed = bomb.compress(header.tobuf()) + b"".join(bomb.compress(zeros) for _ in range(150)) + bomb.flush()
    refused(tmp_path, "b.tar.gz", packed, "times its size: if you trust it, raise `limits: {ratio")
    (tmp_path / "checkpoints/b.tar.gz").unlink()
    refused(tmp_path, "c.zip", zipped(("z", bytes(2_000_000), 0)), "more than 0.001 GB", Limits(total_gb=1e-3))


def test_a_directory_of_millions_of_members_costs_no_memory(tmp_path):
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 60_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFE, 0xFFFE, len(directory), 0, 0)
    refused(tmp_path, "a.zip", directory + end, "more than 50000 members", Limits(members=50_000))


def test_a_sparse_file_that_claims_terabytes_is_refused(tmp_path):
    header, _ = member("hole")
    header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole"}
    header.pax_headers["GNU.sparse.realsize"] = str(1 << 42)
    header.size = 512
    refused(tmp_path, "a.tar", tar((header, b"1\n0\n0\n".ljust(512, b"\0"))), "neither a file nor a folder")


def test_no_flipped_bit_of_a_zip_directory_leaves_members_out(tmp_path):
    data = zipped(*((name, DATA[:9], 0) for name in "abc"), method=zipfile.ZIP_STORED)
    for at in range(data.index(b"PK\1\2"), len(data)):
        for bit in range(8):
            path, target = tmp_path / f"{at}-{bit}.zip", tmp_path / f"{at}-{bit}"
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            target.mkdir()
            try:
                extract(path, target, Limits())
            except UserError:
                continue
            assert sorted(one.name for one in target.iterdir()) == ["a", "b", "c"], (at, bit)


def test_a_place_before_the_start_and_no_bytes_at_all_are_damage(tmp_path):
    data = bytearray(zipped(("a", DATA, 0)))
    struct.pack_into("<I", data, data.rindex(b"PK\5\6") + 16, 0x7FFFFFF0)
    refused(tmp_path, "a.zip", bytes(data), "is damaged")
    (tmp_path / "checkpoints/a.zip").unlink()
    refused(tmp_path, "b.zip", zipped(("a", DATA, 0), ("", DATA, 0)), "has no name")
    for name in ("a.pth.gz", "a.pth.bz2", "a.pth.xz"):
        (tmp_path / name).touch()
        with pytest.raises(UserError, match="is damaged"):
            extract(tmp_path / name, tmp_path / "a.pth", Limits())


def test_no_damage_passes_for_a_shorter_archive(tmp_path):
    whole = tar(*(member(f"f{i}", data=DATA) for i in range(3)))
    broken = bytearray(whole)
    broken[7680:7690] = b"\xff" * 10  # the second header: `tarfile` alone takes it for the end
    refused(tmp_path, "a.tar", bytes(broken), "is damaged")
    for stop in (100, 700, 7680, 9000, 3 * 7680):  # also between two members, and before the end mark
        refused(tmp_path, "a.tar", whole[:stop], "is damaged")
    (tmp_path / "checkpoints/a.tar").unlink()
    packed = gzip.compress(whole)
    refused(tmp_path, "b.tar.gz", packed[:-8] + bytes(4) + packed[-4:], "is damaged")  # a false checksum at its end
    (tmp_path / "checkpoints/b.tar.gz").unlink()
    packed = bytearray(zipped(("a", DATA, 0), method=zipfile.ZIP_STORED))
    packed[100] ^= 1
    refused(tmp_path, "c.zip", bytes(packed), "is damaged")
    for name in ("d.zip", "d.tar", "d.tar.xz", "d.tgz"):
        (tmp_path / "checkpoints").rename(tmp_path / "gone")
        for one in sorted((tmp_path / "gone").iterdir()):
            one.unlink()
        (tmp_path / "gone").rmdir()
        refused(tmp_path, name, b"<html>Quota exceeded</html>" * 100, "is damaged")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_headers_that_lie_about_sizes_are_refused(tmp_path, kind):
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = kind, 1 << 40
    refused(tmp_path, "a.tar", huge.tobuf(tarfile.GNU_FORMAT) + bytes(4096), "is damaged")
    negative = tarfile.TarInfo("x")
    negative.size = -1024
    refused(tmp_path, "a.tar", negative.tobuf(tarfile.GNU_FORMAT) + bytes(4096), "is damaged")
    header, _ = member("x")
    header.pax_headers = {"size": "-1024"}
    refused(tmp_path, "a.tar", tar((header, b"")), "is damaged|neither")
    one = tarfile.TarInfo("x")
    one.type, one.size = tarfile.GNUTYPE_LONGNAME, 1
    refused(tmp_path, "a.tar", (one.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 5000, "is damaged")
