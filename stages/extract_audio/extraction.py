"""Audio tracks out of media: by threads of this process, or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cache.location import LocalLocation
from pipeline.media.audio import AudioFile
from pipeline.media.audio_store import AudioStore
from pipeline.media.location import Source
from pipeline.media.members import Packed
from pipeline.monitor.disk_space import Need
from pipeline.monitor.problems import problem_of
from pipeline.monitor.run_metrics import comparable, runs
from pipeline.monitor.summary import Stopwatch, Summary
from pipeline.monitor.threads import each_in_threads
from pipeline.runner.dask.cluster import Cluster
from pipeline.runner.dask.worker import threads_per_task
from pipeline.runner.plan import Plan
from pipeline.runner.run import NotComputed

TASK_S = 600.0
"""A task of a cluster has media of so many seconds together, or one that is longer."""
MOST_MEDIA = 64


@dataclass(frozen=True)
class Medium:
    """A medium to extract.

    Attributes:
        source: the file.
        digest: of its bytes.
        duration_s: about how long it is.
    """

    source: Source
    digest: str
    duration_s: float


Extracted = AudioFile | str
"""What is in the store now, or why there is nothing."""


def extracted(
    media: Sequence[Medium], store: AudioStore, workers: int | None, cluster: Cluster | None, summary: Summary
) -> Generator[tuple[Medium, Extracted], None, None]:
    """Extracts audio tracks into the store; yields each medium when it is done, in any order.

    Args:
        media: of distinct digests.
        store: that all workers write into.
        workers: threads of a process; its processors by default.
        cluster: whose workers extract; this process by default.
        summary: is told the time of decoding.
    """
    if cluster is None:
        yield from _in_threads(media, store, workers, summary.stopwatch)

        return
    summary.stats.cluster = cluster.name
    tasks = _tasks(media)
    answers = cluster.run(
        extract_task,
        lambda: next(tasks, None),
        packed=lambda task: Task(task, store, workers),
        split=lambda task: [[medium] for medium in task],
    )
    for task, done in answers:
        if isinstance(done, NotComputed):
            yield from ((medium, str(done)) for medium in task)
            continue
        results, seconds, differing = done
        store.differing |= differing
        summary.stopwatch.add(seconds)
        yield from zip(task, results, strict=True)


def _tasks(media: Sequence[Medium]) -> Iterator[list[Medium]]:
    """Divides media into tasks of about equal length, the longest media first, so that all workers end together.

    Members of shards stay in their order, so that a worker needs few shards.
    """
    task: list[Medium] = []
    for medium in sorted(media, key=lambda one: 0.0 if isinstance(one.source, Packed) else -one.duration_s):
        if task and (sum(one.duration_s for one in task) + medium.duration_s > TASK_S or len(task) == MOST_MEDIA):
            yield task
            task = []
        task = [*task, medium]
    if task:
        yield task


@dataclass(frozen=True)
class Task:
    """What a worker is sent.

    Attributes:
        media: to extract.
        store: to write into.
        workers: threads; the worker's share of its machine by default.
    """

    media: list[Medium]
    store: AudioStore
    workers: int | None


def extract_task(task: Task) -> tuple[list[Extracted], dict[str, float], set[str]]:
    """Runs in a worker: what became of each medium, where the time went, and `AudioStore.differing`."""
    stopwatch = Stopwatch()
    found = dict(_in_threads(task.media, task.store, task.workers or threads_per_task(), stopwatch))
    return [found[medium] for medium in task.media], stopwatch.seconds, task.store.differing


def _in_threads(
    media: Sequence[Medium], store: AudioStore, workers: int | None, stopwatch: Stopwatch
) -> Generator[tuple[Medium, Extracted], None, None]:
    def extract(medium: Medium) -> Extracted:
        try:
            with stopwatch.timed("decode"):
                return store.repaired(medium.digest, medium.source)
        except Exception as error:  # one medium must not stop the others
            return problem_of(error)

    with each_in_threads(extract, media, workers) as results:
        yield from zip(media, results, strict=True)


SAMPLE_RATE = 48_000
CHANNELS = {"keep": 2, "mono": 1}
COMPRESSED = 0.6
"""What is assumed of audio as long as none has been extracted; FLAC makes speech smaller, noise hardly."""


def planned(summary: Summary, lengths: Mapping[str, float], store: AudioStore) -> Plan:
    """What a run would do.

    Args:
        summary: with what is wanted and found.
        lengths: seconds of the media to extract, by their digest.
        store: where they go.
    """
    earlier = comparable(runs(LocalLocation(store.folder)), "", "")
    seconds = sum(lengths.values())
    per_s = SAMPLE_RATE * CHANNELS[store.settings.channels] * store.settings.bits / 8 * COMPRESSED
    if heard := sum(run.amount for run in earlier):
        per_s = sum(run.nbytes for run in earlier) / heard
    return Plan(
        summary.label,
        summary.wanted,
        summary.found or 0,
        len(lengths),
        "this machine",
        unit="media",
        media=len(lengths),
        seconds=seconds,
        runs=earlier,
        by_seconds=True,
        needs=[Need("audio", store.folder, int(seconds * per_s))],
    )
