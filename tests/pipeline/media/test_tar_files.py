import gzip
import io
import tarfile

import pytest

from pipeline.media.containers import MediaError
from pipeline.media.tar_files import entries, is_shard, open_tar


def add(tar, name, data=b"data", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "00000.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(3):
            add(tar, f"{number}.wav", bytes([number]) * (700 * number + 1))
    return path


def read(path):
    """The entries, their bytes, and why the shard could not be read to its end."""
    found, why = [], ""
    with open_tar(path) as file:
        try:
            for entry in entries(file):
                file.seek(entry.offset)
                found.append((entry.name, file.read(entry.size), entry.fault))
        except MediaError as error:
            why = str(error)
    return found, why


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_are_those_that_tarfile_reads(tmp_path, form):
    path = tmp_path / "x.tar"
    names = ["a.wav", "./b.wav", "folder/c.wav", "long/" * 40 + "d.wav", "größe.wav", "e" * 150 + ".wav"]
    with tarfile.open(path, "w", format=form) as tar:
        for number, name in enumerate(names):
            add(tar, name, bytes([number]) * (number * 513 + 1))
        folder = tarfile.TarInfo("empty")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    found, why = read(path)
    assert why == ""
    with tarfile.open(path) as tar:
        wanted = [(one.name.removeprefix("./"), tar.extractfile(one).read(), "") for one in tar if one.isreg()]
    assert found == wanted
    assert len(found) == len(names)


def test_wherever_a_shard_is_cut_the_members_before_are_whole_and_the_cut_is_said(shard, tmp_path):
    data, (whole, why) = shard.read_bytes(), read(shard)
    assert why == "" and len(whole) == 3
    ends = []
    with tarfile.open(shard) as tar:
        ends = [one.offset_data + one.size for one in tar]
    last = ends[-1] + -ends[-1] % 512 + 512  # one block of zeros ends it
    cut = tmp_path / "cut.tar"
    for length in [*range(1, last, 97), *ends, *(end - 1 for end in ends), last - 1]:
        cut.write_bytes(data[:length])
        found, why = read(cut)
        assert found == whole[: sum(end <= length for end in ends)], length
        assert "cut short" in why or "no tar file" in why or found == [], (length, why)
        assert why, length
    cut.write_bytes(data[:last])
    assert read(cut) == (whole, "")


def test_a_damaged_header_ends_a_shard(shard):
    data = bytearray(shard.read_bytes())
    with tarfile.open(shard) as tar:
        second = tar.getmembers()[1].offset
    data[second + 150] ^= 1
    shard.write_bytes(data)
    found, why = read(shard)
    assert [name for name, _, _ in found] == ["0.wav"]
    assert why == (
        f"is cut short or damaged at byte {second} after 0.wav (damaged header): the members before it are used"
    )


def test_what_is_no_tar_file_is_refused(tmp_path, shard):
    for name, data, reason in [
        ("empty", b"", "is empty"),
        ("text", b"no tar" * 1000, "is no tar file"),
        ("packed", gzip.compress(shard.read_bytes()), "is compressed by gzip.* unpack it once \\(gunzip\\)"),
    ]:
        (tmp_path / name).write_bytes(data)
        with open_tar(tmp_path / name) as file, pytest.raises(MediaError, match=reason):
            list(entries(file))


def test_links_devices_and_unsafe_names_are_faults_of_their_members(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "good.wav")
        add(tar, "link.wav", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "hard.wav", b"", type=tarfile.LNKTYPE, linkname="good.wav")
        add(tar, "pipe.wav", b"", type=tarfile.FIFOTYPE)
        add(tar, "../up.wav")
        add(tar, "/abs.wav")
        add(tar, "line\nbreak.wav")
        add(tar, "empty.wav", b"")
        add(tar, "last.wav")
    found, why = read(path)
    assert why == ""
    faults = {name: fault for name, _, fault in found}
    assert faults == {
        "good.wav": "",
        "link.wav": "is a link to /etc/passwd, not a file: put the file itself into the shard",
        "hard.wav": "is a link to good.wav, not a file: put the file itself into the shard",
        "pipe.wav": "is a device or pipe, not a file",
        "../up.wav": "has an unsafe name, absolute or with `..`: rename it",
        "/abs.wav": "has an unsafe name, absolute or with `..`: rename it",
        "line\nbreak.wav": "has an unsafe name, with characters that cannot be shown: rename it",
        "empty.wav": "is empty (0 bytes)",
        "last.wav": "",
    }


def test_names_of_shards():
    assert all(map(is_shard, ["a.tar", "a.TAR", "a.tar.gz", "a.tgz", "a.tar.zst"]))
    assert not any(map(is_shard, ["a.gz", "a.wav", "tar", "a.tar.txt"]))
