"""Every shipped encoder against the catalogue of official files: what lacks is named by the command that fetches it."""

import re
from functools import partial
from pathlib import Path

import httpx
import pytest

from cache.errors import UserError
from pipeline.checkpoints import hub as hub_files
from pipeline.checkpoints.catalogue import load_catalogue
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.checkpoints.official import existing
from pipeline.config.records import read_yaml
from stages.embed.registry import AVLNET, load_encoder

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs" / "encoders"
FAMILY_OF = {
    path.relative_to(CONFIGS).with_suffix("").as_posix(): read_yaml(path)["family"]
    for path in sorted(CONFIGS.rglob("*.yaml"))
}
ENCODERS = [name for name, family in FAMILY_OF.items() if family != AVLNET]
IN_WHEELS = ("yamnet-minilm", "efficientnet-minilm", "yamnet-efficientnet-minilm", "silero-vad")
WITHOUT_WEIGHTS = ("features/avlnet-spectrogram", "audio-level")
OF_ONE_TOWER = {"features/resnet152": "clips", "features/resnext101-3d": "clips", "features/word2vec": "captions"}
OTHERS = {*IN_WHEELS, *WITHOUT_WEIGHTS, *OF_ONE_TOWER}


def named_by(identity) -> str:
    """The catalogue's name that a missing file's sentence names."""
    with pytest.raises(UserError) as caught:
        identity()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    found = re.search(r"run `hearonce checkpoints fetch ([^`]+)`", message)
    assert found, message
    return found[1]


@pytest.mark.parametrize(("name", "items"), OF_ONE_TOWER.items())
def test_what_an_encoder_of_one_tower_lacks_is_named_too(project, name, items):
    encoder = load_encoder(name)
    weights = named_by(encoder.clip_identity if items == "clips" else encoder.caption_identity)
    assert name in load_catalogue()[weights.removesuffix(" --unpack")].used_by


@pytest.mark.parametrize("name", [one for one in ENCODERS if one not in OTHERS])
def test_what_an_encoder_lacks_is_named_by_the_command_that_fetches_it(project, name):
    """First the weights, then, once these are there, the files of the text tower."""
    encoder, catalogue = load_encoder(name), load_catalogue()
    identities = [partial(encoder.identity, tower) for tower in encoder.towers]
    weights = named_by(identities[0])
    assert {named_by(identity) for identity in identities} == {weights}
    assert name in catalogue[weights].used_by
    if catalogue[weights].folder:
        return
    assert catalogue[weights].path == Path(encoder.config.checkpoint)
    catalogue[weights].path.parent.mkdir()
    catalogue[weights].path.touch()
    text = named_by(encoder.caption_identity)
    assert name in catalogue[text].used_by
    assert catalogue[text].path == Path(encoder.config.text_model)
    for names in catalogue[text].choices():
        target = catalogue[text].target(names[0])
        target.parent.mkdir(exist_ok=True)
        target.touch()
    for identity in (encoder.clip_identity(), encoder.caption_identity()):
        assert "checkpoints" not in str(fingerprint_of(identity)[1])  # bytes count, not where they lie


def test_a_model_of_the_hub_that_was_fetched_is_taken_from_where_it_was_put(project):
    catalogue = load_catalogue()
    for short, hub_id in (("roberta-base", "roberta-base"), ("clip-vit-base-patch32", "openai/clip-vit-base-patch32")):
        catalogue[short].path.mkdir(parents=True)
        assert hub_files.local_folder(hub_id, [], "nothing") == catalogue[short].path
    with pytest.raises(UserError, match=r"'openai/clip-vit-base-patch16' is neither"):
        hub_files.local_folder("openai/clip-vit-base-patch16", [], "nothing")


@pytest.mark.parametrize("error", [httpx.ReadTimeout("too slow"), OSError(28, "No space left on device")])
def test_a_download_that_breaks_off_is_one_sentence(project, monkeypatch, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", broken)
    with pytest.raises(UserError, match=r"from the hub now \((too slow|No space left on device)\): do that\.$"):
        hub_files.local_folder("some/model", [], "do that")


def test_a_place_of_this_project_is_never_asked_of_the_hub(project, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(UserError, match=r"There is no folder checkpoints/roberta-base: put it there\."):
        hub_files.local_folder("checkpoints/roberta-base", [], "put it there")


def test_an_archive_that_names_a_file_otherwise_is_said_with_what_it_has(project):
    wanted = Path("checkpoints/AVLnet_release_models/resnext101.pth")
    with pytest.raises(UserError, match=r"run `hearonce checkpoints fetch AVLnet_release_models --unpack`\.$"):
        existing(wanted)
    wanted.parent.mkdir(parents=True)
    (wanted.parent / "resnext_101_3d.pth").touch()
    with pytest.raises(UserError, match=r"in the encoder's YAML, the archive had resnext_101_3d\.pth\.$"):
        existing(wanted)


def test_a_file_that_is_not_official_gets_no_command_that_would_fail(project):
    with pytest.raises(UserError, match=r"not found: mine\.pt: correct the path in the encoder's YAML"):
        existing(Path("mine.pt"))
