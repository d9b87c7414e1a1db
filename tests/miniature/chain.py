"""`PYTHONPATH=tests python -m miniature.chain`: the five tables of A Sound Approach in miniature, by `dvc repro`.

In a temporary folder: a clone of the working tree, the three corpora in the published formats, checkpoints of the real
architectures with known weights; then what the documentation says, and a check that it is so. Exit code 1 if it is not.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clone import Clone, working_tree

from miniature.build import PLACES, build
from miniature.checkpoints import write_checkpoints

EXPERIMENTS = {
    "epic-mir": [
        "epic-mir-wavcaps-audiocaps-gpt",
        "epic-mir-wavcaps-clotho-visual",
        "epic-mir-wavcaps-clotho-gpt",
        "epic-mir-wavcaps-clotho-gpt-dual",
        "epic-mir-laion-clap-visual",
        "epic-mir-laion-clap-gpt",
        "epic-mir-egovlp",
        "epic-mir-egovlp-wavcaps-clotho-gpt",
    ],
    "epic-sounds": [
        "epic-sounds-wavcaps-audiocaps-gpt",
        "epic-sounds-wavcaps-clotho-gpt",
        "epic-sounds-wavcaps-clotho-seed1-gpt",
        "epic-sounds-laion-clap-visual",
        "epic-sounds-laion-clap-gpt",
    ],
    "ego-mcq": [
        "ego-mcq-wavcaps-audiocaps-gpt",
        "ego-mcq-wavcaps-clotho-visual",
        "ego-mcq-wavcaps-clotho-gpt",
        "ego-mcq-laion-clap-gpt",
        "ego-mcq-egovlp",
        "ego-mcq-egovlp-wavcaps-clotho-gpt",
    ],
}
LEVELS = ("low", "moderate", "high")
SWITCHED = "epic-mir-wavcaps-clotho-visual"
EMPTY = "corpora: {}\nembeddings: {}\nsubsets: {}\n"


class Failure(Exception):
    """What is not as it should be."""


def main() -> int:
    """Builds, runs and checks; a summary goes to stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2, help="that EgoVLP looks at; 16 and 4 as published are slow")
    parser.add_argument("--keep", action="store_true", help="do not delete the folder")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hearonce-miniature-"))
    started = time.monotonic()
    try:
        run_chain(folder, options.frames)
    except (Failure, AssertionError) as reason:
        print(f"FAILED: {reason}")
        return 1
    finally:
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    print(f"All as it should be, in {time.monotonic() - started:.0f} s.")
    return 0


def run_chain(folder: Path, frames: int) -> None:
    """Runs everything below a folder.

    Raises:
        Failure: something is not as it should be.
        AssertionError: a command has failed; the message is its output.
    """
    with said("corpora, clone and checkpoints"):
        build(folder / "corpora")
        clone = working_tree(folder / "hearonce")
        clone.write("params.yaml", EMPTY)
        write_checkpoints(clone.root / "checkpoints")
        for published in (16, 4):
            name = f"configs/encoders/egovlp-{published}f.yaml"
            replace(clone, name, f"num_frames: {published}", f"num_frames: {frames}")
    with said("hearonce add, hearonce check"):
        for corpus in EXPERIMENTS:
            output = adopt(clone, folder, corpus)
            require("checkpoints fetch" not in output, f"checkpoints are said to be missing:\n{output}")
        clone.run("hearonce", "check")
    with said("first dvc repro"):
        clone.repro()
    for line in re.findall(r"^embed_\w+ .*: .* computed.*", clone.output, flags=re.M):
        print(" " * 10 + re.sub(r" wanted.*?(, \d+ computed), .* (total .*? s).*", r"\1, \2", line))
    check_numbers(clone)
    check_embedded_once(clone)
    with said("second dvc repro"):
        clone.repro()
    require_ran(clone, set())
    with said(f"{SWITCHED} from visual to gpt"):
        replace(clone, f"configs/experiments/epic-mir/{SWITCHED}.yaml", "captions: visual", "captions: gpt")
        clone.repro()
    require_ran(clone, {f"score@{SWITCHED}", *(f"score_subset@epic-mir-{one}" for one in LEVELS), "report"})
    wanted = clone.metrics(SWITCHED.replace("visual", "gpt"))
    require(clone.metrics(SWITCHED) == wanted, f"{SWITCHED} does not score as its twin on descriptions")
    with said("a subset more"):
        clone.write("configs/subsets/epic-mir/short.yaml", "where: duration_s < 4\n")
        adopt(clone, folder, "epic-mir")
        clone.repro()
    require_ran(clone, {"score_subset@epic-mir-short", "report"})
    print("\n".join(line for line in clone.output.splitlines() if re.match("Running|> |score|report", line)))


def adopt(clone: Clone, folder: Path, corpus: str) -> str:
    """Runs `hearonce add` on a corpus and returns what it says."""
    media, annotations = (str(folder / "corpora" / one) for one in PLACES[corpus])
    patterns = [part for one in EXPERIMENTS[corpus] for part in ("--experiments", one)]
    return clone.run("hearonce", "add", corpus, "--media", media, "--annotations", annotations, *patterns).stdout


def check_numbers(clone: Clone) -> None:
    """Every row of the five tables has a number, on the whole and on the three levels; prints them."""
    print(f"{'experiment':<40}{'all':>8}" + "".join(f"{one:>10}" for one in LEVELS))
    for corpus in EXPERIMENTS:
        levels = LEVELS if corpus != "epic-sounds" else ()
        metrics = {one: clone.metrics(f"subsets/{corpus}/{one}") for one in levels}
        chosen = re.findall(rf"^  (\S+): {{corpus: {corpus}, encoder: [^}}]*}}$", _scored(clone), flags=re.M)
        require(len(chosen) >= len(EXPERIMENTS[corpus]), f"{corpus} has the experiments {chosen} only")
        for name in chosen:
            numbers = [headline(clone.metrics(name)), *(headline(metrics[one][name]) for one in levels)]
            require(all(0 <= one <= 100 for one in numbers), f"{name} scored {numbers}")
            print(f"{name:<40}{numbers[0]:>8.3f}" + "".join(f"{one:>10.3f}" for one in numbers[1:]))


def headline(metrics: dict) -> float:
    """The mean nDCG, or the accuracy on questions between videos."""
    return metrics["average"]["nDCG"] if "average" in metrics else metrics["inter_video"]["accuracy"]


def check_embedded_once(clone: Clone) -> None:
    """EPIC-Sounds asks for clips of AudioEpicMIR, and two checkpoints are one file: neither embeds anything anew."""
    n_clips = clone.computed("embed", "epic-mir egovlp-16f clips:")
    for encoders in (("wavcaps-audiocaps", "wavcaps-clotho"), ("laion-clap",)):
        computed = sum(
            clone.computed("embed", f"{corpus} {one} clips:")
            for corpus in ("epic-mir", "epic-sounds")
            for one in encoders
        )
        require(computed == n_clips, f"{computed} clips were embedded by {encoders}, there are {n_clips}")


def _scored(clone: Clone) -> str:
    text = (clone.root / "params.yaml").read_text()
    return text[text.index("experiments:") : text.index("subsets:")]


def replace(clone: Clone, path: str, old: str, new: str) -> None:
    """Edits a file of the clone."""
    text = (clone.root / path).read_text()
    require(old in text, f"{path} has no {old!r}")
    clone.write(path, text.replace(old, new))


def require_ran(clone: Clone, stages: set[str]) -> None:
    """Checks which stages the last `dvc repro` ran."""
    require(set(clone.ran) == stages, f"expected {sorted(stages)} to run, but {clone.ran} did:\n{clone.output}")


def require(fulfilled: bool, otherwise: str) -> None:
    """Raises `Failure` unless a condition is fulfilled."""
    if not fulfilled:
        raise Failure(otherwise)


@contextmanager
def said(what: str) -> Iterator[None]:
    """Prints how long a step took."""
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:6.0f} s  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
