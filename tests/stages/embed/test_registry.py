from pathlib import Path

import pytest

from cache.errors import UserError
from pipeline.config.records import read_yaml
from stages.embed.encoder import ClipInput
from stages.embed.registry import AVLNET, FAMILIES, load_encoder


def shipped() -> list[str]:
    folder = Path("configs/encoders")
    files = [path for path in folder.rglob("*.yaml") if read_yaml(path)["family"] != AVLNET]
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in files)


def test_every_shipped_encoder_is_described(project):
    for name in shipped():
        encoder = load_encoder(name)
        assert encoder.dim > 0
        assert "clips" not in encoder.towers or isinstance(encoder.clip_input, ClipInput)


def test_every_family_has_an_encoder_class(project):
    assert {"yamnet_minilm", "efficientnet_minilm", "laion_clap"} <= {path.stem for path in FAMILIES.glob("*.py")}


def test_options_can_be_replaced(project):
    assert load_encoder("yamnet-minilm", {"top_k": 3}).config.top_k == 3
    with pytest.raises(UserError, match="has no option 'topk'"):
        load_encoder("yamnet-minilm", {"topk": 3})


def test_mistakes_are_named(project):
    with pytest.raises(UserError, match=r"No encoder 'yamnet-minlm' .*did you mean 'yamnet-minilm'\?"):
        load_encoder("yamnet-minlm")
    Path("configs/encoders/mine.yaml").write_text("family: yamnet_minlm\n")
    with pytest.raises(UserError, match=r"no encoder family 'yamnet_minlm', did you mean 'yamnet-minilm'\?"):
        load_encoder("mine")
    Path("configs/encoders/mine.yaml").write_text("top_k: 3\n")
    with pytest.raises(UserError, match="no encoder family None"):
        load_encoder("mine")
    text = Path("configs/encoders/yamnet-minilm.yaml").read_text()
    Path("configs/encoders/mine.yaml").write_text(text.replace("top_k", "topk"))
    with pytest.raises(UserError, match=r"unknown key 'topk', did you mean 'top_k'\?"):
        load_encoder("mine")


def test_a_sample_rate_that_the_checkpoint_was_not_made_for_is_refused(project):
    for name in shipped():
        with pytest.raises(UserError, match="sample_rate") as caught:
            load_encoder(name, {"sample_rate": 12_345})
        assert "\n" not in str(caught.value)


def test_a_precision_nobody_knows_is_refused(project):
    with pytest.raises(
        UserError, match=r"precision: Input should be 'fp32', 'tf32', 'bf16' or 'fp16' \(found 'int8'\)"
    ):
        load_encoder("yamnet-minilm", {"precision": "int8"})


def test_an_avlnet_is_no_encoder_of_media_or_text(project):
    with pytest.raises(UserError, match="given cached features, not media or text: use `hearonce embed`"):
        load_encoder("avlnet")


def test_a_seed_in_the_name_replaces_that_of_the_yaml(project):
    plain, seeded = load_encoder("laion-clap"), load_encoder("laion-clap@seed7")
    assert seeded.config.seed == 7 != plain.config.seed
    assert seeded.config.model_copy(update={"seed": plain.config.seed}) == plain.config
    with pytest.raises(UserError, match="has no option 'seed'"):
        load_encoder("yamnet-minilm@seed7")


def test_a_module_without_an_encoder_is_named(project, monkeypatch):
    monkeypatch.delattr("stages.embed.encoders.yamnet_minilm.ENCODER")
    with pytest.raises(UserError, match=r"yamnet_minilm\.py names no encoder: end it with `ENCODER = `"):
        load_encoder("yamnet-minilm")
