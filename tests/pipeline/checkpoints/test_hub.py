"""The Hugging Face hub through the real huggingface_hub, which talks to a hub of ours."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

DATA = random.Random(4).randbytes(1_000_000)
ROOT = "/some/tower/resolve/main"


@pytest.fixture
def hub(site, catalogue, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", site.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    files = {"config.json": b"{}", "vocab.json": b'{"a": 1}', "pytorch_model.bin": DATA}
    for name, content in files.items():
        site.files[f"{ROOT}/{name}"] = content
        site.headers[f"{ROOT}/{name}"] = {"X-Repo-Commit": "c" * 40}
    for name in ("model.safetensors", "merges.txt"):
        site.headers[f"{ROOT}/{name}"] = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "c" * 40}
    tower = {"folder": "tower", "files": ["config.json", "vocab.json"]}
    catalogue(tower={**tower, "weights": ["model.safetensors|pytorch_model.bin"], "places": [{"hub": "some/tower"}]})
    return site


def test_tokenizer_files_and_on_demand_weights(hub, checkpoints):
    assert checkpoints("fetch", "tower")[0] == 0
    folder = Path("checkpoints/tower")
    assert sorted(one.name for one in folder.iterdir()) == ["config.json", "vocab.json"]
    assert (folder / "vocab.json").read_bytes() == b'{"a": 1}'
    assert checkpoints("fetch", "tower", "--weights")[0] == 0
    assert (folder / "pytorch_model.bin").read_bytes() == DATA
    assert sorted(one.name for one in folder.iterdir()) == ["config.json", "pytorch_model.bin", "vocab.json"]
    assert "3 checked, all as recorded" in checkpoints("verify", "tower")[1]


def test_what_a_hub_lacks_or_forbids_is_one_sentence(hub, checkpoints):
    del hub.files[f"{ROOT}/vocab.json"]
    hub.headers[f"{ROOT}/vocab.json"] = {"X-Error-Code": "EntryNotFound"}
    code, _, err = checkpoints("fetch", "tower")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "has no file vocab.json" in err
    assert [one.name for one in Path("checkpoints/tower").iterdir()] == ["config.json"]
    assert "download vocab.json from https://huggingface.co/some/tower/tree/main into checkpoints/tower/" in err


def test_offline_nobody_is_asked_but_the_hub_cache_serves(hub, checkpoints, monkeypatch, tmp_path):
    from huggingface_hub import constants, hf_hub_download

    for name in ("config.json", "vocab.json"):
        hf_hub_download("some/tower", name, endpoint=hub.url, cache_dir=tmp_path / "hub")
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert checkpoints("fetch", "tower")[0] == 0
    assert Path("checkpoints/tower/vocab.json").read_bytes() == b'{"a": 1}'
    code, _, err = checkpoints("fetch", "tower", "--weights")
    assert code == 2
    assert "HF_HUB_OFFLINE" in err
    assert not hub.asked
