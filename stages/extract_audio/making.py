"""Sound tracks out of media: by threads of this process, or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from cache.errors import OutOfFiles, UserError, is_out_of_files
from pipeline.audio_store import AudioStore
from pipeline.cluster.running import Cluster
from pipeline.cluster.worker import threads_here
from pipeline.in_threads import each_in_threads
from pipeline.media.audio import AudioFile
from pipeline.media.errors import MediaError
from pipeline.media_place import Source
from pipeline.row_making import NotMade
from pipeline.stopwatch import Stopwatch
from pipeline.summary import Summary

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
    """Extracts sound tracks into the store; yields each medium when it is done, in any order.

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
    summary.making.cluster = cluster.name
    tasks = _tasks(media)
    answers = cluster.run(
        extract_task,
        lambda: next(tasks, None),
        packed=lambda task: Task(task, store, workers),
        split=lambda task: [[medium] for medium in task],
    )
    for task, done in answers:
        if isinstance(done, NotMade):
            yield from ((medium, str(done)) for medium in task)
            continue
        results, seconds = done
        summary.stopwatch.add(seconds)
        yield from zip(task, results, strict=True)


def _tasks(media: Sequence[Medium]) -> Iterator[list[Medium]]:
    """Divides media into tasks of about equal length, the longest media first, so that all workers end together."""
    task: list[Medium] = []
    for medium in sorted(media, key=lambda medium: -medium.duration_s):
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


def extract_task(task: Task) -> tuple[list[Extracted], dict[str, float]]:
    """Runs in a worker: what became of each medium, and where the time went."""
    stopwatch = Stopwatch()
    found = dict(_in_threads(task.media, task.store, task.workers or threads_here(), stopwatch))
    return [found[medium] for medium in task.media], stopwatch.seconds


def _in_threads(
    media: Sequence[Medium], store: AudioStore, workers: int | None, stopwatch: Stopwatch
) -> Generator[tuple[Medium, Extracted], None, None]:
    def extract(medium: Medium) -> Extracted:
        try:
            with stopwatch.timed("decode"):
                return store.ensure(medium.digest, medium.source)
        except MediaError as error:
            return str(error)
        except UserError:  # the disk is full
            raise
        except OSError as error:
            if is_out_of_files(error):
                raise OutOfFiles from error
            return error.strerror or str(error)

    with each_in_threads(extract, media, workers) as results:
        yield from zip(media, results, strict=True)
