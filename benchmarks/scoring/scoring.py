"""All metrics of AudioEpicMIR and AudioEgoMCQ at their real size, beside the reference's functions.

Each way runs in a process of its own, so that its peak of memory (inputs and libraries included) is its own. Both
get the same made-up embeddings; retrieval is scored over all clips and three subsets, as the reference's four runs do:
mAP, nDCG, R@k, MedR and MeanR of both directions, and mAP and nDCG per class (a class is a sentence, as there).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import material
import numpy as np


def main() -> None:
    """Runs every part in a child process and prints two tables."""
    options = _options()
    if options.part:
        print(json.dumps(PARTS[options.part](options)))
        return
    ours, others = _child(options, "retrieval"), None
    if options.reference:
        others = _child(options, "reference-retrieval")
    lines = [_line(f"retrieval, {part}", ours, others, part) for part in ("similarity", "metrics", "both")]
    answers = _child(options, "questions")
    reference_answers = _child(options, "reference-questions") if options.reference else None
    lines.append(_line("multiple choice, similarity", answers, None, "similarity"))
    lines.append(_line("multiple choice, accuracy", answers, reference_answers, "metrics"))
    lines += [_line(name, one, None, "metrics") for name, one in _further(options).items()]
    print(f"{options.clips:,} clips × {options.sentences:,} sentences + 3 subsets; {options.questions:,} questions\n")
    print("| what | ours, s | reference, s | ratio | ours, peak MiB | reference, peak MiB |")
    print("|---|---|---|---|---|---|")
    for line in lines:
        print("| " + " | ".join(line) + " |")
    for name, mine, theirs in (("retrieval", ours, others), ("multiple choice", answers, reference_answers)):
        if theirs:
            print(f"\n{name}: largest difference of a value {_difference(mine['values'], theirs['values']):.2g}")


def _further(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    return {
        "all of it with dual softmax": _child(options, "dual-softmax"),
        "all of it with CSLS": _child(options, "csls"),
        "all of it with QB-Norm": _child(options, "qb-norm"),
        f"{options.resamples:,} bootstrap resamples, 12 metrics": _child(options, "bootstrap"),
        "paired test, 10,000 permutations": _child(options, "test"),
    }


def _ours(options: argparse.Namespace, transform: str = "none") -> dict[str, Any]:
    from stages.score.multi_instance import build, score

    one = material.retrieval(options.clips, options.sentences, options.dim)
    product = "dot" if transform == "dual-softmax" else "cosine"
    prepare, task = _timed(
        options.repeats, lambda: build([one.clips], [one.captions], one.indexes, one.relevancy, product=product)
    )

    classes = np.array([f"sentence {column}" for column in _columns(one)])

    parts = {"all": (task, classes.tolist())}  # cut before the clock starts, as for the reference
    for level in range(3):
        clips = one.levels == level
        parts[f"subset {level}"] = task.subset(clips), classes[clips].tolist()

    def metrics() -> dict[str, Any]:
        values = {}
        for name, (part, labels) in parts.items():
            scores = score(part, transform)
            scores.by_class(labels)
            values[name] = scores.values()
        return values

    seconds, values = _timed(options.repeats, metrics)
    return _result(prepare, seconds, values)


def _reference(options: argparse.Namespace) -> dict[str, Any]:
    from reference import Reference

    theirs = Reference(options.reference)
    one = material.retrieval(options.clips, options.sentences, options.dim)
    prepare, sims = _timed(1, lambda: theirs.similarity(one.captions, one.clips))
    values = {}
    column_of_clip, seconds = _columns(one), 0.0
    for name, clips in [
        ("all", np.arange(len(one.clips))),
        *((f"subset {level}", np.flatnonzero(one.levels == level)) for level in range(3)),
    ]:
        columns, indexes = np.unique(column_of_clip[clips], return_index=True)
        part, relevancy = sims[np.ix_(clips, clips)], one.relevancy[np.ix_(clips, columns)]
        classes = {f"sentence {column}": (column_of_clip[clips] == column).tolist() for column in columns}
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            values[name] = theirs.scores(part, indexes, relevancy, classes)
        seconds += time.perf_counter() - started
    return _result(prepare, seconds, values)


def _columns(one: material.Retrieval) -> np.ndarray:
    """The column of each clip's own sentence."""
    rows = {one.captions[clip].tobytes(): column for column, clip in enumerate(one.indexes)}
    return np.array([rows[row.tobytes()] for row in one.captions])


def _our_questions(options: argparse.Namespace) -> dict[str, Any]:
    from stages.score.multiple_choice import accuracy, correct, option_similarities

    one = material.questions(options.questions, options.dim)
    each = np.arange(options.questions)
    prepare, sims = _timed(options.repeats, lambda: option_similarities(one.texts, one.clips, each, one.options))
    seconds, values = _timed(options.repeats, lambda: accuracy(correct(sims, one.answers), one.types))
    return _result(prepare, seconds, {"all": {"accuracy": values}})


def _reference_questions(options: argparse.Namespace) -> dict[str, Any]:
    from reference import Reference

    one = material.questions(options.questions, options.dim)
    sims = np.einsum("qd,qod->qo", one.texts, one.clips[one.options])
    theirs = Reference(options.reference)
    seconds, values = _timed(1, lambda: theirs.accuracy(sims, one.answers, one.types))
    return _result(0.0, seconds, {"all": {"accuracy": values}})


def _bootstrap(options: argparse.Namespace) -> dict[str, Any]:
    from stages.score.functional.uncertainty import resampled

    values = np.random.default_rng(0).random((options.clips, 12))
    seconds, _ = _timed(options.repeats, lambda: resampled(values, n_resamples=options.resamples))
    return _result(0.0, seconds, {})


def _test(options: argparse.Namespace) -> dict[str, Any]:
    from stages.score.functional.uncertainty import paired_permutation_test

    first, second = np.random.default_rng(0).random((2, options.clips))
    seconds, _ = _timed(options.repeats, lambda: paired_permutation_test(first, second))
    return _result(0.0, seconds, {})


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "retrieval": _ours,
    "reference-retrieval": _reference,
    "questions": _our_questions,
    "reference-questions": _reference_questions,
    "dual-softmax": lambda options: _ours(options, "dual-softmax"),
    "csls": lambda options: _ours(options, "csls"),
    "qb-norm": lambda options: _ours(options, "qb-norm"),
    "bootstrap": _bootstrap,
    "test": _test,
}


def _timed(repeats: int, work: Callable[[], Any]) -> tuple[float, Any]:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), result


def _result(similarity: float, metrics: float, values: dict[str, Any]) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "similarity": similarity,
        "metrics": metrics,
        "both": similarity + metrics,
        "peak": peak,
        "values": values,
    }


def _child(options: argparse.Namespace, part: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part]
    for name in ("clips", "sentences", "dim", "questions", "resamples", "repeats", "reference"):
        if getattr(options, name) is not None:
            command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"the part {part} failed")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _line(what: str, ours: dict[str, Any], others: dict[str, Any] | None, part: str) -> list[str]:
    mine, peak = ours[part], f"{ours['peak']:,.0f}"
    if others is None:
        return [what, f"{mine:.3f}", "", "", peak, ""]
    return [what, f"{mine:.3f}", f"{others[part]:.2f}", f"{others[part] / mine:.1f}", peak, f"{others['peak']:,.0f}"]


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    return max(
        abs(ours[subset][direction][name] - value)
        for subset, directions in theirs.items()
        for direction, values in directions.items()
        for name, value in values.items()
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, help="a checkout of audio_egovlp; without it ours alone is timed")
    parser.add_argument("--clips", type=int, default=9_668)
    parser.add_argument("--sentences", type=int, default=3_842)
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--questions", type=int, default=39_751)
    parser.add_argument("--resamples", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=3, help="of ours; the reference runs once")
    parser.add_argument("--part", choices=PARTS, help="measure this alone, in this process, and print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
