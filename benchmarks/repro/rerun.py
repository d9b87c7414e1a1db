"""One new clip in a project of five small corpora, and nothing new: `dvc repro` to the report, beside DVC's own time.

208 clips (the demo's media divided among the corpora, and again with other bytes), 15 experiments: by audio, by frames
and by both. Also the towers that the new clip and its caption need are loaded in fresh processes.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import shutil
import tempfile
from pathlib import Path

from benchmarks.repro.project import REPOSITORY, repro, run, trivial, working_tree, write_params

DEMO = REPOSITORY / "configs/corpora/demo"
CORPORA = {"first": 42, "second": 42, "third": 42, "fourth": 41, "fifth": 41}
ENCODERS = {"yamnet-minilm": "data/audio/{}.parquet", "efficientnet-minilm": "data/tables/{}/media.parquet"}
EXPERIMENTS = """\
rows:
  - encoders: {audio: yamnet-minilm, visual: efficientnet-minilm}
  - encoders:
      both: [yamnet-minilm, efficientnet-minilm]
    weights: [1.0, 1.0]
"""
LOADING = """\
import time
begun = time.monotonic()
from stages.embed.command import open_source
source = open_source({corpus!r}, {encoder!r})
imported = time.monotonic()
for embeddings in source.embeddings:
    source.load(embeddings, None, False)()
print(imported - begun, time.monotonic() - imported)
"""


def main() -> None:
    """Prints seconds of every `dvc repro` and of its stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="Where the project is made; it stays there.")
    parser.add_argument("--repeats", type=int, default=3, help="New clips, one after the other.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rerun") as temporary:
        folder = options.folder or Path(temporary)
        root = folder / "project"
        if not root.is_dir():
            make(root)
            first = repro(root)
            print(f"first run: {first.seconds:.1f} s, {len(first.ran)} stages")
            repro(root)
        n_before = len(list((root / "media/third").glob("new*")))
        seconds = []
        for i in range(n_before, n_before + options.repeats):
            add_clip(root, "third", f"new{i}")
            rerun = repro(root)
            seconds.append(rerun.seconds)
            used, n_ran = f"{rerun.seconds:.2f} s, {rerun.processors:.2f} s of processors", len(rerun.ran)
            print(f"one new clip: {used}, {n_ran} of {rerun.n_stages} stages ran")
            for name, part in rerun.parts:
                print(f"  {part:6.2f} s  {name}")
        nothing = min(repro(root).seconds for _ in range(3))
        shutil.rmtree(folder / "trivial", ignore_errors=True)
        changed, idle = trivial(folder / "trivial", len(rerun.ran), rerun.n_stages - len(rerun.ran))
        loads = {encoder: load(root, "third", encoder) for encoder in ENCODERS}
        for encoder, (imports, towers) in loads.items():
            print(f"{encoder}: imports {imports:.2f} s, both towers {towers:.2f} s")
        own = changed + sum(imports + towers for imports, towers in loads.values())
        print(f"DVC for as many trivial stages {changed:.2f} s; with the loads {own:.2f} s")
        print(f"one new clip: {min(seconds):.2f} s ({min(seconds) - own:+.2f} s)")
        print(f"nothing new: {nothing:.2f} s; DVC for as many trivial stages {idle:.2f} s ({nothing / idle:.2f})")


def make(root: Path) -> None:
    """The project, before its first `dvc repro`."""
    working_tree(root)
    with (DEMO / "captions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    numbered = itertools.cycle(enumerate(lines))
    params: dict[str, dict[str, str]] = {"corpora": {}, "embeddings": {}, "subsets": {}}
    n_made = 0
    for corpus, n in CORPORA.items():
        media = root / "media" / corpus
        media.mkdir(parents=True)
        for name in ("experiments", "subsets"):
            (root / "configs" / name / corpus).mkdir()
        with (root / f"{corpus}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "caption"])
            for _, line in itertools.islice(numbered, n):
                copy_with_other_bytes(DEMO / "media" / line["file"], media / line["file"], n_made)
                writer.writerow([line["file"], line["caption"]])
                n_made += 1
        (root / f"configs/corpora/{corpus}.yaml").write_text("window_s: null\n")
        (root / f"configs/experiments/{corpus}/{corpus}.yaml").write_text(EXPERIMENTS)
        (root / f"configs/subsets/{corpus}/all.yaml").write_text("clips: all\n")
        params["corpora"][corpus] = f"{{media: media/{corpus}, annotations: {corpus}.csv}}"
        params["subsets"][f"{corpus}-all"] = f"{{corpus: {corpus}, subset: all}}"
        for encoder, reads in ENCODERS.items():
            params["embeddings"][f"{corpus}-{encoder}"] = (
                f"{{corpus: {corpus}, encoder: {encoder}, config: configs/encoders/{encoder}.yaml, "
                f"reads: {reads.format(corpus)}}}"
            )
    write_params(root, params)


def add_clip(root: Path, corpus: str, name: str) -> None:
    """One more medium with a caption that no other has."""
    copy_with_other_bytes(DEMO / "media/explosion.mp4", root / f"media/{corpus}/{name}.mp4", hash(name) % 2**31)
    with (root / f"{corpus}.csv").open("a") as file:
        file.write(f"{name}.mp4,Something explodes as {name}.\n")


def copy_with_other_bytes(source: Path, target: Path, number: int) -> None:
    """Copies an MP4 file and appends an empty box that holds a number: same media, other digest."""
    target.write_bytes(source.read_bytes() + (12).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big"))


def load(root: Path, corpus: str, encoder: str) -> tuple[float, float]:
    """Seconds of imports and of loading both towers, in a fresh process; the faster of two."""
    code = LOADING.format(corpus=corpus, encoder=encoder)
    found = [tuple(map(float, run(root, "python", "-c", code).split()[-2:])) for _ in range(2)]
    imports, towers = min(found, key=sum)
    return imports, towers


if __name__ == "__main__":
    main()
