"""The encoder `laion-clap` without its weights: YAML, identity, features, tokenizer, and no network."""

import json
import socket
import subprocess
import sys
from itertools import chain
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError
from parity.fill import sine_mix
from pydantic import ValidationError

from cache.errors import UserError
from pipeline.checkpoints import text_models as clap_tokenizer
from pipeline.checkpoints.weights import CheckpointError
from pipeline.networks import clap as clap_audio
from pipeline.networks import laion_clap, laion_clap_package
from pipeline.networks.log_mel import MelScale
from stages.embed.encoder import AudioInput, seeded_draw
from stages.embed.encoders.laion_clap import ENCODER, Config
from stages.embed.registry import load_encoder

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs" / "encoders"
OPTIONS = yaml.safe_load((CONFIGS / "laion-clap.yaml").read_text())
LENGTH = 480_000


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "some.pt"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def text_folder(tmp_path):
    folder = tmp_path / "roberta"
    folder.mkdir()
    words = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "ab"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "roberta", **laion_clap.ROBERTA_BASE}))
    return folder


def encoder(**options):
    return ENCODER(Config(**{**OPTIONS, **options}))


def test_the_yaml_states_every_option_with_its_default():
    assert set(OPTIONS) == set(Config.model_fields)
    defaults = {name: field.default for name, field in Config.model_fields.items() if not field.is_required()}
    assert {name: OPTIONS[name] for name in defaults} == defaults


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("laion-clap*.yaml")))
def test_every_yaml_is_a_checkpoint_of_its_kind(name):
    config = load_encoder(name).config
    file = config.checkpoint
    assert config.loader == ("published" if file.endswith(".pt") else "transformers")
    if config.loader == "published":
        assert config.fusion == ("fusion" in file)
        assert config.amodel == ("HTSAT-base" if "music" in file else "HTSAT-tiny")
        assert config.quantise_int16 == (name == "laion-clap-mcq" or not config.fusion)  # as its loader of EgoMCQ
        assert config.max_tokens == (512 if config.fusion else 77)


@pytest.mark.parametrize("option", [{"amodel": "HTSAT-base"}, {"fusion": False}, {"text_model": "mine"}])
def test_what_a_folder_of_transformers_says_itself_may_not_be_given(option):
    with pytest.raises(ValidationError, match=f"takes {next(iter(option))} from the checkpoint's folder"):
        Config(family="laion-clap", loader="transformers", checkpoint="laion/clap-htsat-fused", **option)


def test_what_it_takes_and_gives():
    assert encoder().dim == 512
    assert encoder().clip_input == AudioInput(48_000)


@pytest.mark.parametrize("options", [{"max_tokens": 513}, {"max_tokens": 2}, {"fuse": True}, {"seed": "x"}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValidationError):
        encoder(**options)


def test_clip_identity(checkpoint):
    base = encoder(checkpoint=checkpoint).clip_identity()
    assert base["checkpoint"] == checkpoint and isinstance(base["version"], int)
    for option in (
        {"seed": 1},
        {"fuse_short": False},
        {"antialias": True},
        {"quantise_int16": True},
        {"fusion": False},
        {"amodel": "HTSAT-base"},
    ):
        assert encoder(checkpoint=checkpoint, **option).clip_identity() != base
    for option in ({"text_model": "other"}, {"max_tokens": 77}):
        assert encoder(checkpoint=checkpoint, **option).clip_identity() == base


def test_options_of_fusion_do_not_count_without_it(checkpoint):
    plain = encoder(checkpoint=checkpoint, fusion=False).clip_identity()
    assert encoder(checkpoint=checkpoint, fusion=False, fuse_short=False, antialias=True).clip_identity() == plain


def test_caption_identity(checkpoint, text_folder):
    options = {"checkpoint": checkpoint, "text_model": str(text_folder)}
    base = encoder(**options).caption_identity()
    assert base["checkpoint"] == checkpoint
    assert base["text"] == {name: text_folder / name for name in ("config.json", "vocab.json", "merges.txt")}
    assert encoder(**options, seed=5, fuse_short=False).caption_identity() == base
    for option in ({"max_tokens": 77}, {"layer_norm_eps": 1e-12}):
        assert encoder(**options, **option).caption_identity() != base


def test_identity_needs_no_torch(checkpoint, text_folder):
    code = (
        "import sys\n"
        "from stages.embed.encoders.laion_clap import ENCODER, Config\n"
        "one = ENCODER(Config(family='laion-clap', checkpoint=sys.argv[1], text_model=sys.argv[2]))\n"
        "one.clip_identity(), one.caption_identity()\n"
        "print(sorted({'torch', 'transformers', 'torchaudio', 'huggingface_hub', 'laion_clap'} & set(sys.modules)))"
    )
    assert run(code, checkpoint, text_folder) == "[]"


def test_the_network_is_not_asked(text_folder, monkeypatch):
    """Neither by the import of the package's networks, nor to make them, nor for the tokenizer of a local folder."""

    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in [name for name in sys.modules if name.split(".")[0] == "clap_module"]:
        monkeypatch.delitem(sys.modules, name)
    model = laion_clap_package.build("HTSAT-tiny", True, laion_clap.text_config(text_folder), text_is_wanted=False)
    assert model.text_branch.config.layer_norm_eps == 1e-5
    assert clap_tokenizer.load_roberta_tokenizer(text_folder)("ab").input_ids == [0, 6, 2]
    assert "laion_clap" not in sys.modules  # whose __init__ asks the hub


def run(code, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_hub_id_without_network_says_what_to_put_where(monkeypatch, checkpoint):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("no connection and not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    says = r"'roberta-base' is neither .*checkpoints fetch roberta-base.*vocab\.json, merges\.txt.*`text_model`"
    made = encoder(checkpoint=checkpoint, text_model="roberta-base")
    for needs_it in (made.caption_identity, lambda: made.load_caption_tower(torch.device("cpu"))):
        with pytest.raises(UserError, match=says):
            needs_it()


@pytest.mark.parametrize("gone", ["vocab.json", "merges.txt", "config.json"])
def test_a_folder_without_text_files_is_refused_for_captions_alone(checkpoint, text_folder, gone):
    (text_folder / gone).unlink()
    made = encoder(checkpoint=checkpoint, text_model=str(text_folder))
    with pytest.raises(UserError, match=f"lacks {gone}: run `hearonce checkpoints fetch roberta-base`"):
        made.caption_identity()
    if gone != "config.json":
        with pytest.raises(CheckpointError, match=f"lacks {gone}"):
            clap_tokenizer.load_roberta_tokenizer(text_folder)
    assert made.clip_identity()["checkpoint"] == checkpoint
    assert (made._shape_of_text() is None) == (gone == "config.json")


def test_damaged_text_files(text_folder):
    (text_folder / "vocab.json").write_text('{"<s>": 0, ')
    with pytest.raises(CheckpointError, match="no usable RoBERTa tokenizer"):
        clap_tokenizer.load_roberta_tokenizer(text_folder)
    for content in ("{", "[]"):
        (text_folder / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.json, which describes the text branch, cannot be read"):
            laion_clap.text_config(text_folder)
    (text_folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="'bert': the text branch is a RoBERTa"):
        laion_clap.text_config(text_folder)


def test_the_epsilon_of_the_text_branch(text_folder):
    assert laion_clap.text_config(text_folder).layer_norm_eps == 1e-5
    assert laion_clap.text_config(text_folder, 1e-12).layer_norm_eps == 1e-12
    assert laion_clap.text_config(None, 1e-12).layer_norm_eps == 1e-12


def test_an_unknown_audio_model():
    with pytest.raises(CheckpointError, match=r"no HTSAT named 'HTSAT-huge'; it has HTSAT-base, HTSAT-large"):
        laion_clap_package.build("HTSAT-huge", True, laion_clap.text_config(None), text_is_wanted=False)


def first(positions):
    return positions[0]


@pytest.mark.parametrize(("samples", "repeats"), [(1, LENGTH), (158_400, 3), (240_000, 2), (300_000, 1), (LENGTH, 1)])
def test_short_clips_are_repeated_whole(samples, repeats):
    waveform = torch.arange(1, samples + 1, dtype=torch.float32)
    padded = clap_audio.repeat_pad(waveform, LENGTH)
    assert len(padded) == LENGTH
    assert torch.equal(padded[: samples * repeats], waveform.repeat(repeats))
    assert not padded[samples * repeats :].any()


def test_an_empty_clip_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        clap_audio.repeat_pad(torch.zeros(0), LENGTH)


@pytest.mark.parametrize("seconds", [10.02, 14, 25, 100])
def test_a_long_clip_gives_four_views(seconds):
    waveform = torch.from_numpy(sine_mix(int(seconds * 48_000), 48_000))
    offered = []

    def last(positions):
        offered.append(list(positions))
        return positions[-1]

    seen = clap_audio.fusion_views(waveform, LENGTH, last, MelScale(), antialias=False)
    mel = clap_audio.log_mel(waveform, MelScale())
    assert seen.longer and seen.mel.shape == (4, 1001, 64)
    assert list(chain(*offered)) == list(range(len(mel) - 1000))
    for view, positions in zip(seen.mel[1:], offered, strict=True):
        assert torch.equal(view, mel[positions[-1] : positions[-1] + 1001])


@pytest.mark.parametrize(("total", "starts"), [(1002, [0, 1, 0]), (1003, [0, 1, 2]), (1004, [0, 2, 3])])
def test_barely_longer_clips_reuse_the_first_chunk(total, starts):
    assert clap_audio.chunk_starts(total, 1001, first) == starts


def test_without_fusion_a_crop_is_drawn():
    long = torch.from_numpy(sine_mix(700_000, 48_000))
    offered = []

    def pick(positions):
        offered.append(positions)
        return positions[1234]

    view = clap_audio.crop_view(long, LENGTH, pick, MelScale())
    assert offered == [range(220_001)] and view.mel.shape == (1, 1001, 64) and not view.longer
    assert torch.equal(view.mel[0], clap_audio.log_mel(long[1234 : 1234 + LENGTH], MelScale()))


@pytest.mark.parametrize("samples", [1_200_000, 2_047 * 480, 2_048 * 480, 4_096 * 480 - 1])
def test_blocks_of_frames_join_without_a_seam(samples, monkeypatch):
    waveform = torch.from_numpy(sine_mix(samples, 48_000))
    joined = clap_audio.log_mel(waveform, MelScale())
    monkeypatch.setattr("pipeline.networks.log_mel.BLOCK_FRAMES", 10**9)
    whole = clap_audio.log_mel(waveform, MelScale())
    assert whole.shape == (samples // 480 + 1, 64)
    torch.testing.assert_close(joined, whole, rtol=0, atol=1e-4)


def test_quantised_samples_are_clipped_and_truncated():
    given = np.array([-2, -1, -0.5, 0, 1.9 / 32767, 0.5, 1, 2], np.float32)
    integers = clap_audio.quantise_int16(given) * 32767
    np.testing.assert_allclose(integers, [-32767, -32767, -16383, 0, 1, 16383, 32767, 32767], atol=1e-2)


def test_draws_follow_key_and_seed_and_never_change():
    def draws(key, seed):
        draw = seeded_draw(key, seed)
        return [draw(range(1000)) for _ in range(3)]

    assert draws(bytes(16), 0) == draws(bytes(16), 0) == [216, 269, 840]
    assert len({tuple(draws(key, seed)) for key in (bytes(16), b"k" * 16) for seed in (-1, 0, 1)}) == 6
