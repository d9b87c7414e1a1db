"""What extracting sound will take: time and bytes by the seconds of sound."""

from __future__ import annotations

from collections.abc import Mapping

from cache.places import LocalPlace
from pipeline.audio_store import AudioStore
from pipeline.operations.metrics import comparable, runs
from pipeline.operations.plan import Plan
from pipeline.operations.space import Need
from pipeline.summary import Summary

SAMPLE_RATE = 48_000
CHANNELS = {"keep": 2, "mono": 1}
COMPRESSED = 0.6
"""What is assumed of sound as long as none has been extracted; FLAC makes speech smaller, noise hardly."""


def planned(summary: Summary, lengths: Mapping[str, float], store: AudioStore) -> Plan:
    """What a run would do.

    Args:
        summary: with what is wanted and found.
        lengths: seconds of the media to extract, by their digest.
        store: where they go.
    """
    earlier = comparable(runs(LocalPlace(store.folder)), "", "")
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
        needs=[Need("sound", store.folder, int(seconds * per_s))],
    )
