"""What holds for every encoder: each module of `filled` is taken through the machinery that the stages use."""

import json
import subprocess
import sys
from dataclasses import fields, is_dataclass
from importlib import import_module
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from media_samples import corner_frame, tone, write_media

from cache.digests import DigestMemory
from cache.errors import UserError
from cache.keys import caption_key
from cache.location import Store
from cache.row_store import RowStore
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.config.corpus import AudioSettings
from pipeline.media.audio_store import AudioStore
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.runner.local import LocalRunner
from pipeline.runner.rows import Row
from pipeline.runner.run import compute_missing
from stages.embed.clips import Clip, Span
from stages.embed.encoder import AudioInput
from stages.embed.inputs import clip_reader
from stages.embed.towers import LoadedTower, load_tower

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
SEVERAL = {"pe_av": ("pe_av@audio", "pe_av@video")}
"""Families whose encoders have a tower of their own for each modality."""
FILLED = sorted(one.stem for one in (ROOT / "tests" / "filled").glob("*.py") if "def encoder(" in one.read_text())
FAMILIES = [name for family in FILLED for name in SEVERAL.get(family, (family,))]
TEXTS = ["a dog barks", "", "Ein Hund bellt – 犬が吠える!", "people " * 25, "the sound of water running from a tap"]
DURATION_S = 2.0
SOUNDS = {
    "48 kHz, 16 bits, mono": ("a.wav", 48_000, 1, "pcm_s16le"),
    "48 kHz, 16 bits, stereo": ("b.wav", 48_000, 2, "pcm_s16le"),
    "48 kHz, 16 bits, 5.1": ("c.flac", 48_000, 6, "flac"),
    "44.1 kHz, float": ("d.wav", 44_100, 2, "pcm_f32le"),
    "96 kHz, 24 bits": ("e.wav", 96_000, 1, "pcm_s24le"),
    "8 kHz, 16 bits": ("f.wav", 8_000, 1, "pcm_s16le"),
    "192 kHz, 32 bits": ("g.wav", 192_000, 2, "pcm_s32le"),
    "AAC in a video": ("h.mp4", 48_000, 2, "aac"),
}


class OneModality:
    """One modality of an encoder with several, as an encoder with one tower of clips and one of captions."""

    towers = ("clips", "captions")

    def __init__(self, whole, modality):
        self.whole, self.modality, self.config, self.dim = whole, modality, whole.config, whole.dim
        self.clip_input = whole.inputs[modality]

    def _tower(self, name):
        return self.modality if name == "clips" else f"text-{self.modality}"

    def identity(self, name):
        return self.whole.identity(self._tower(name))

    def load_tower(self, name, device):
        return self.whole.load_tower(self._tower(name), device)

    def row_format(self, name):
        return self.whole.row_format(self._tower(name))

    def clip_identity(self):
        return self.identity("clips")

    def caption_identity(self):
        return self.identity("captions")

    def load_clip_tower(self, device):
        return self.load_tower("clips", device)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """A module of `filled`, and which modality of its encoder."""
    name, _, modality = request.param.partition("@")
    return import_module(f"filled.{name}"), modality


@pytest.fixture(scope="module")
def encoder(family, filled_folder):
    module, modality = family
    made = module.encoder(filled_folder, **getattr(module, "CHEAP", {}))
    return OneModality(made, modality) if modality else made


def _with(encoder, **options):
    """The encoder with other options."""
    if isinstance(encoder, OneModality):
        return OneModality(_with(encoder.whole, **options), encoder.modality)
    return type(encoder)(encoder.config.model_copy(update=options))


@pytest.fixture(scope="module")
def listens(encoder):
    if "clips" not in encoder.towers:
        pytest.skip("has no tower for clips")
    return isinstance(encoder.clip_input, AudioInput)


@pytest.fixture(scope="module")
def tower(encoder, listens):
    """The clip tower as the encoder loads it."""
    return encoder.load_clip_tower(CPU)


@pytest.fixture(scope="module")
def clip_tower(tower):
    """The clip tower as runs use it."""
    return LoadedTower(tower, CPU, "fp32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="module")
def read(folder, encoder):
    """Reads a stretch of media files as the stage does: path -> sound or frames."""
    store = Store(folder / "store")
    memory = DigestMemory(store.digests)

    def read_one(path, start_s=0.0, stop_s=DURATION_S):
        span = Span(path, memory.digest(path), start_s, stop_s, round(start_s * 25), max(round(stop_s * 25) - 1, 1))
        reader = clip_reader(encoder.clip_input, [Clip("one", (span,), path.name)], AudioStore(store, AudioSettings()))
        ((_, item),) = reader.read(reader.rows)
        assert not isinstance(item, Exception), item
        return item

    yield read_one
    memory.close()


def chord(sample_rate, channels=1):
    """Tones that 8 kHz can carry, the same in every channel."""
    mono = tone(DURATION_S, sample_rate, 330) / 2 + tone(DURATION_S, sample_rate, 1700) / 4
    return np.repeat(mono, channels, axis=1)


def video(path, frames=None, **options):
    """Two seconds of coloured corners."""
    return path if path.is_file() else write_media(path, frames=frames or [corner_frame()] * 50, **options)


@pytest.fixture(scope="module")
def items(folder, read, encoder, listens, family):
    """Clips short and long, silent and loud: what their reader hands to `prepare`."""
    if not listens:
        film = video(folder / "plain.mp4")
        still = video(folder / "black.mp4", [np.zeros((48, 64, 3), np.uint8)] * 50)
        return {"film": read(film), "short": read(film, 1.0, 1.05), "still": read(still)}
    rate = encoder.clip_input.sample_rate
    generator = np.random.default_rng(0)
    loud = 0.1 * generator.standard_normal(12 * rate).astype(np.float32)
    return {
        "tones": chord(rate)[:, 0],
        "short": loud[: round(0.05 * rate)],
        "silent": np.zeros(3 * rate, np.float32),
        "longer": loud,
        "ten minutes": np.tile(loud, 50)[: getattr(family[0], "MOST_SAMPLES", None)],
    }


def embed(tower, row_format, items, folder, batch_size, workers):
    """Rows of items by name, through the run of a stage."""
    rows = [Row(name, caption_key(name), name, name) for name in items]
    store = RowStore.ensure(folder, "clips", "ab" * 16, row_format)
    problems = Problems("embed")
    compute_missing(
        rows,
        store,
        LocalRunner(
            lambda group: ((row, items[row.id]) for row in group),
            lambda: (tower, {}),
            batch_size=batch_size,
            workers=workers,
        ),
        problems=problems,
        summary=Summary("contract"),
    )
    assert not problems.found
    return dict(zip(items, store.read([row.key for row in rows]), strict=True))


def same_rows_in_any_company(tower, row_format, items, folder):
    together = embed(tower, row_format, items, folder / "together", len(items), 2)
    alone = embed(tower, row_format, dict(reversed(list(items.items())[:2])), folder / "alone", 1, 1)
    tolerance = 1e-3 if row_format.dtype == "float16" else 1e-5
    for name, row in alone.items():
        np.testing.assert_allclose(row, together[name], rtol=0, atol=tolerance, err_msg=name)
    rows = list(together.values())
    assert all(row.dtype == row_format.dtype and row.shape[-1] == row_format.dim for row in rows)
    if not row_format.ragged:
        assert np.linalg.norm(np.stack(rows), axis=1).min() > 1e-3
    return rows


def test_a_clip_has_the_same_row_in_any_company_and_order(clip_tower, encoder, items, tmp_path):
    rows = same_rows_in_any_company(clip_tower, encoder.row_format("clips"), items, tmp_path)
    for one, other in combinations(rows, 2):  # clips differ, and so do their rows
        if one.ndim == 1:
            one, other = one.astype(np.float64), other.astype(np.float64)  # 1e-6 apart is near float32's rounding
            assert one @ other < (1 - 1e-7) * np.linalg.norm(one) * np.linalg.norm(other)
        else:
            assert one.shape != other.shape or not np.allclose(one, other)


def test_a_caption_has_the_same_row_in_any_company_and_order(encoder, tmp_path):
    if "captions" not in encoder.towers:
        pytest.skip("has no tower for captions")
    tower = load_tower(encoder, "captions", CPU)
    items = {text or "empty": text for text in TEXTS}
    same_rows_in_any_company(tower, encoder.row_format("captions"), items, tmp_path)


def test_sound_of_any_rate_width_and_channels_is_the_same_sound(folder, read, listens, encoder):
    if not listens:
        pytest.skip("looks at pictures")
    rate = encoder.clip_input.sample_rate
    expected = chord(rate)[:, 0]
    for kind, (name, file_rate, channels, codec) in SOUNDS.items():
        path = folder / name
        if not path.is_file():
            pictures = {"frames": [corner_frame()] * 50} if path.suffix == ".mp4" else {}
            write_media(path, samples=chord(file_rate, channels), sample_rate=file_rate, audio_codec=codec, **pictures)
        item = read(path)
        assert item.dtype == np.float32 and item.shape == expected.shape, kind
        middle = slice(rate // 10, -rate // 10)
        assert np.corrcoef(item[middle], expected[middle])[0, 1] > 0.999, kind
        assert np.abs(item[middle] - expected[middle]).max() < (0.05 if codec == "aac" else 2e-3), kind


def test_a_rotated_video_and_one_of_variable_rate_show_the_same(folder, read, listens, items):
    if listens:
        pytest.skip("listens to sound")
    turned = video(folder / "turned.mp4", [np.ascontiguousarray(np.rot90(corner_frame(), -1))] * 50, rotation=90)
    times = np.sort(np.random.default_rng(0).choice(np.arange(1, 200), 49, replace=False)) / 100
    uneven = video(folder / "uneven.mp4", frame_times_s=[0.0, *times])
    for path in (turned, uneven):
        frames = read(path)
        assert len(frames) == len(items["film"])
        for frame, plain in zip(frames, items["film"], strict=True):
            assert frame.shape == plain.shape
            assert np.abs(frame.astype(int) - plain).mean() < 8, path.name


def same(one, other):
    """Whether two prepared items are equal, whatever they are made of."""
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray | torch.Tensor):
        return one.shape == other.shape and bool((one == other).all())
    return one == other


def test_draws_come_from_the_row_key_and_the_seed_and_for_long_clips_only(encoder, clip_tower, items):
    key, another = bytes(16), bytes(range(16))
    prepared = {name: clip_tower.prepare(item, key) for name, item in items.items()}
    seeded = "seed" in type(encoder.config).model_fields
    for name, item in items.items():
        drawn = seeded and name in ("longer", "ten minutes")
        assert same(prepared[name], clip_tower.prepare(item, key)), name
        assert same(prepared[name], clip_tower.prepare(item, another)) != drawn, name
    if not seeded:
        return
    reseeded = _with(encoder, seed=encoder.config.seed + 1)
    assert reseeded.clip_identity() != encoder.clip_identity()
    if "captions" in encoder.towers:
        assert reseeded.caption_identity() == encoder.caption_identity()
    other = load_tower(reseeded, "clips", CPU)
    for name, item in items.items():
        assert same(prepared[name], other.prepare(item, key)) != (name in ("longer", "ten minutes")), name


def test_the_fingerprint_has_all_files_and_the_precision_and_needs_no_torch(encoder, tmp_path):
    code = (
        "import json, sys; from importlib import import_module; from stages.embed.towers import identity_of\n"
        "from pipeline.checkpoints.fingerprints import fingerprint_of\n"
        "from cache.location import Store; from pathlib import Path\n"
        "module = import_module('stages.embed.encoders.' + sys.argv[1]); config = json.loads(sys.argv[2])\n"
        "def print_of(modality, precision):\n"
        "    encoder = module.ENCODER(module.Config(**{**config, 'precision': precision}))\n"
        "    return fingerprint_of(identity_of(encoder, modality), Store(Path(sys.argv[3])))[0]\n"
        "made = [print_of(m, p) for m in module.ENCODER.towers for p in ('fp32', 'tf32', 'bf16', 'fp16')]\n"
        "loaded = {'torch', 'transformers', 'timm', 'tokenizers', 'torchaudio'} & set(sys.modules)\n"
        "print(json.dumps([sorted(loaded), made]))"
    )
    encoder = getattr(encoder, "whole", encoder)
    module = type(encoder).__module__.rsplit(".", 1)[1]
    arguments = [module, encoder.config.model_dump_json(exclude_unset=True), str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded, made = json.loads(done.stdout)
    assert loaded == []
    assert len(set(made)) == 4 * len(encoder.towers)
    for modality, fingerprint in zip(encoder.towers, made[::4], strict=True):
        said = encoder.identity(modality)
        assert isinstance(said["version"], int)
        assert fingerprint_of(said, Store(tmp_path))[0] == fingerprint  # fp32 is the precision that goes without saying


def test_a_checkpoint_cut_short_or_of_another_network_is_refused_in_one_sentence(encoder, tmp_path):
    checkpoint = Path(str(getattr(encoder.config, "checkpoint", "")))
    if not checkpoint.is_file() or checkpoint.suffix == ".bin":
        pytest.skip("has no PyTorch checkpoint of its own")
    other, cut = tmp_path / "other.pt", tmp_path / "cut.pt"
    torch.save({"state_dict": {"layer.weight": torch.zeros(2, 3)}}, other)
    with checkpoint.open("rb") as whole:
        cut.write_bytes(whole.read(1 << 20))
    for path, words in ((other, "is not a checkpoint of"), (cut, "cut short or damaged")):
        broken = _with(encoder, checkpoint=path)
        for modality in encoder.towers:
            with pytest.raises(UserError, match=words) as caught:
                load_tower(broken, modality, CPU)
            first_line = str(caught.value).splitlines()[0]
            assert str(path) in first_line and len(first_line) < 600


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    ("precision", "least"), [("fp32", 0.99999), ("tf32", 0.9999), ("bf16", 0.999), ("fp16", 0.999)]
)
def test_a_gpu_gives_the_rows_of_the_cpu_in_every_precision(encoder, clip_tower, items, precision, least):
    there = load_tower(_with(encoder, precision=precision), "clips", torch.device("cuda"))
    clips = {name: clip_tower.prepare(item, bytes(16)) for name, item in items.items()}
    rows, others = (np.vstack(list(tower.encode(list(clips.values())))) for tower in (clip_tower, there))
    cosines = (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)
    assert np.nanmin(cosines) >= least, cosines  # silence is all zeros in a spectrogram
