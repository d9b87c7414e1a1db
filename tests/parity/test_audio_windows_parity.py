"""The sound that reaches an encoder, from annotation row to samples, is what audio_egovlp's data sets load.

`audio_windows.*` holds what the original loaders passed to librosa and every 50th sample that came out of them.
"""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
from parity.fill import sine_mix

from pipeline.config.corpus import CorpusConfig
from pipeline.media.audio import extract_audio, read_audio
from pipeline.media.probe import probe
from pipeline.monitor.problems import Problems
from stages.ingest.annotations import AnnotatedClip, Annotations, Span
from stages.ingest.cues import seconds
from stages.ingest.media_files import in_pieces, with_margins
from stages.ingest.tables import Medium, build

GOLDEN = Path(__file__).parent / "golden"
WINDOWS = json.loads((GOLDEN / "audio_windows.json").read_text())
EPIC = [name for name in WINDOWS if name.startswith("epic")]
EGO = [name for name in WINDOWS if name.startswith("egomcq")]
RATES = {"ase": 32000, "clap": 48000}
MARGINS = {"L0R0": (0.0, 0.0), "L1R2": (1.0, 2.0)}


@pytest.fixture(scope="module")
def epic(tmp_path_factory):
    """Per model, the published layout's FLAC of 30 s, as ingest and extract_audio make it their own."""
    folder = tmp_path_factory.mktemp("epic")
    for name, rate in RATES.items():
        soundfile.write(folder / f"{name}.flac", sine_mix(30 * rate, rate, 0), rate, subtype="PCM_16")
        extract_audio(folder / f"{name}.flac", folder / f"{name}-own.flac")
    return folder


@pytest.fixture(scope="module")
def ego(tmp_path_factory):
    """Three pieces of a video of 600 s each, at 8 kHz."""
    folder = tmp_path_factory.mktemp("ego")
    for chunk in range(3):
        samples = np.random.default_rng(chunk).standard_normal(600 * 8000) * 0.05
        soundfile.write(folder / f"{chunk}.flac", samples, 8000)
        extract_audio(folder / f"{chunk}.flac", folder / f"{chunk}-own.flac")
    return folder


def heard(stretches, folder, rate):
    """Samples of a clip's stretches, through the tables."""
    media = {path: Medium("0" * 32, probe(folder / path)) for path in {stretch.media for stretch in stretches}}
    tables = build(Annotations(clips=[AnnotatedClip("clip", stretches)]), media, CorpusConfig(), Problems("ingest"))
    parts = []
    for span in tables.spans.iter_rows(named=True):
        own = folder / span["media_path"].replace(".flac", "-own.flac")
        parts.append(read_audio(own, span["start_s"], span["stop_s"], rate))
    return parts


@pytest.mark.parametrize("name", EPIC)
def test_epic_windows(epic, name):
    golden = WINDOWS[name]
    _, model, margins, _ = name.split("_")
    rate = RATES[model]
    start, stop = (seconds(text) for text in golden["times"])
    if len(golden["times"][0].split(".")[1]) > 3:
        start = golden["load"]["offset"] + MARGINS[margins][0]  # the original reads .1234 s as 1.234 s; we do not
    first, duration = with_margins(start, stop, *MARGINS[margins])
    assert (first, duration) == (golden["load"]["offset"], golden["load"]["duration"])
    (samples,) = heard((Span(Path(f"{model}.flac"), first, duration_s=duration),), epic, rate)
    assert len(samples) == golden["load"]["n"]
    with np.load(GOLDEN / "audio_windows.npz") as arrays:
        expected = arrays[f"{name}_wave_stride50"]
    ours = cropped_or_filled(samples, model, rate, int(name[-1]))
    np.testing.assert_array_equal(ours[::50], expected)


def cropped_or_filled(samples, model, rate, row):
    """What the original loader makes of the samples, with the draws of its generators (see the recipe)."""
    random.seed(123)
    np.random.seed(123)
    longest = 10 * rate
    while random.randint(0, 5) % 5 == row:
        pass
    if len(samples) > longest and model == "ase":
        start = random.randint(0, len(samples) - longest)
        return samples[start : start + longest]
    if len(samples) > longest:
        starts = np.array_split(np.arange(1 + len(samples) // 480 - longest // 480), 3)
        for part in starts:
            np.random.choice(part)
        start = np.random.randint(0, len(samples) - longest + 1)
        return samples[start : start + longest]
    if model == "clap":
        samples = np.tile(samples, longest // len(samples))
    return np.pad(samples, (0, longest - len(samples)))


@pytest.mark.parametrize("name", EGO)
def test_ego_windows_in_one_and_two_pieces(ego, name):
    golden = WINDOWS[name]
    margins = MARGINS[name.split("_")[1]]
    loads = iter(golden["loads"])
    assert any(load["duration"] is None for load in golden["loads"]), "no clip goes on in a second piece"
    for number, (start, stop) in enumerate(golden["clips"]):
        pieces = in_pieces(start, stop, 600.0, *margins)
        stretches = tuple(Span(Path(f"{chunk}.flac"), at, duration_s=length) for chunk, at, length in pieces)
        parts = heard(stretches, ego, 8000)
        assert len(parts) == len(pieces)
        for (chunk, at, length), part in zip(pieces, parts, strict=True):
            load = next(loads)
            assert load["file"].endswith(f"/{chunk}.flac")
            assert (at, length, len(part)) == (
                pytest.approx(load["offset"]),
                pytest.approx(load["duration"]),
                load["n"],
            )
        samples = np.concatenate(parts)
        if len(samples) > 80000:
            random.seed(5)  # the one long clip is the first option, whose crop is the generator's first draw
            at = random.randint(0, len(samples) - 80000)
            samples = samples[at : at + 80000]
        assert np.abs(samples.astype(np.float64)).sum() == pytest.approx(golden["abs_sums"][number], rel=1e-6)
