"""AVLnet and AVLnet-Text (https://arxiv.org/abs/2006.09199): audio, frame features and words in one space.

Parameters have the names of the published files. Batch normalisation is over the batch of all processes, on any device
(PyTorch's own needs GPUs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.functional import glu

from pipeline.checkpoints.weights import WRAPPERS as PLAIN_WRAPPERS
from pipeline.checkpoints.weights import CheckpointError, load_strictly, read_state_dict
from pipeline.networks.avlnet_shape import NAMES, Shape, Variant


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`BatchNorm2d` whose statistics in training are those of the global batch; alone it is `BatchNorm2d` itself.

    Each process must bring the same number of values per channel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (batch, channels, height, width)."""
        if not (self.training and _processes() > 1):
            return super().forward(x)
        wide = x.float()
        mean = all_reduce(wide.mean((0, 2, 3))) / _processes()
        centred = wide - mean[:, None, None]
        variance = all_reduce(centred.square().mean((0, 2, 3))) / _processes()
        n = x.numel() // x.shape[1] * _processes()
        self._remember(mean.detach(), variance.detach() * (n / max(1, n - 1)))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        _count(self).add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance, self.momentum or 0.0)


@contextmanager
def statistics_kept(net: nn.Module) -> Iterator[None]:
    """Leaves the running statistics as they are, whatever the network is given inside."""
    layers = [module for module in net.modules() if isinstance(module, GlobalBatchNorm2d)]
    before = [(layer.momentum, int(_count(layer))) for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(layers, before, strict=True):
            layer.momentum = momentum
            _count(layer).fill_(count)


def _count(layer: GlobalBatchNorm2d) -> Tensor:
    assert layer.num_batches_tracked is not None
    return layer.num_batches_tracked


def _processes() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


N_MELS = 40
BLOCKS_PER_STAGE = 2
KERNEL = 9
FRAMES_PER_STEP = 16
"""Each of the four stages halves the number of steps."""

REACH = 420
"""Input frames on either side of the first that an output step depends on: half the receptive field."""


class ResidualBlock(nn.Module):
    """Two convolutions over time around a shortcut.

    Args:
        inputs: channels that come in.
        outputs: channels that leave.
        stride: of the first convolution and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _over_time(inputs, outputs, KERNEL, stride)
        self.bn1 = GlobalBatchNorm2d(outputs)
        self.conv2 = _over_time(outputs, outputs, KERNEL, 1)
        self.bn2 = GlobalBatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(_over_time(inputs, outputs, 1, stride), GlobalBatchNorm2d(outputs)) if stride != 1 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, 1, steps) -> (batch, outputs, 1, ceil(steps / stride))."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(x)) + shortcut).relu()


class DaveNet(nn.Module):
    """Spectrograms to a sequence of vectors; names of the parameters are those of the published files.

    Args:
        widths: channels of the first convolution and of the four stages.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.batchnorm1 = nn.BatchNorm2d(1)  # in the published files, and never used
        self.conv1 = nn.Conv2d(1, widths[0], (N_MELS, 1), bias=False)
        self.bn1 = GlobalBatchNorm2d(widths[0])
        self._stages = [f"layer{number}" for number in range(1, len(widths))]
        for stage, inputs, outputs in zip(self._stages, widths[:-1], widths[1:], strict=True):
            rest = [ResidualBlock(outputs, outputs, stride=1) for _ in range(BLOCKS_PER_STAGE - 1)]
            self.add_module(stage, nn.Sequential(ResidualBlock(inputs, outputs, stride=2), *rest))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, spectrograms: Tensor) -> Tensor:
        """(batch, 40, frames) -> (batch, widths[-1], ceil(frames / 16))."""
        x = self.bn1(self.conv1(spectrograms.unsqueeze(1))).relu()
        for stage in self._stages:
            x = self.get_submodule(stage)(x)
        return x.squeeze(2)


def _over_time(inputs: int, outputs: int, width: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, (1, width), stride=(1, stride), padding=(0, width // 2), bias=False)


class ContextGate(nn.Module):
    """x * sigmoid(W x + b)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, dim) -> (batch, dim)."""
        return glu(torch.cat((x, self.fc(x)), 1), 1)


class GatedUnit(nn.Module):
    """A linear map and a context gate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, outputs)
        self.cg = ContextGate(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs) -> (batch, outputs)."""
        return self.cg(self.fc(x))


class FusedGatedUnit(nn.Module):
    """The sum of two linear maps, of audio and of text, and a context gate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc_audio = nn.Linear(inputs, outputs)
        self.fc_text = nn.Linear(inputs, outputs)
        self.cg = ContextGate(outputs)

    def forward(self, audio: Tensor, text: Tensor) -> Tensor:
        """Twice (batch, inputs) -> (batch, outputs)."""
        return self.cg(self.fc_audio(audio) + self.fc_text(text))


class WordPool(nn.Module):
    """The maximum over words of a linear map and ReLU; words that are padding (zeros) take part, as published."""

    def __init__(self, word_dim: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(word_dim, outputs)

    def forward(self, words: Tensor) -> Tensor:
        """(batch, words, word_dim) -> (batch, outputs)."""
        return self.fc(words).relu().max(1).values


class AvlNet(nn.Module):
    """The network of all three variants; names of the parameters are those of the published files.

    The methods that embed are called as artifacts name their rows: `sound`, `picture`, `text`, `sound_text`.

    Args:
        shape: which variant, how large.

    Attributes:
        shape: the same.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        fused = shape.variant == "fused"
        half = shape.dim // 2
        sound_dim = shape.audio_widths[-1]
        self.DAVEnet = DaveNet(shape.audio_widths)
        self.DAVEnet_projection = nn.Linear(sound_dim, shape.dim)
        self.GU_audio = GatedUnit(sound_dim, sound_dim)  # in the published files of `fused`, too, which does not use it
        self.GU_video = GatedUnit(shape.video_dim, shape.dim)
        if fused:  # after the projection above, as in the original: a seed gives the same initial weights
            self.DAVEnet_projection = nn.Linear(sound_dim, half)
        if shape.variant != "bi":
            self.text_pooling_caption = WordPool(shape.word_dim, half if fused else shape.dim)
        if shape.variant == "tri":
            self.GU_text_captions = GatedUnit(shape.dim, shape.dim)
        if fused:
            self.GU_audio_text = FusedGatedUnit(half, shape.dim)

    def forward(
        self, features: Tensor, spectrogram: Tensor, n_frames: Tensor, words: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Embeds a batch: one (batch, dim) for each of `shape.sides`; none is normalised.

        Args:
            features: (batch, video_dim) of frames, 2D and 3D side by side.
            spectrogram: (batch, 40, frames).
            n_frames: (batch,) frames before the padding, which count in eval mode alone.
            words: (batch, words, word_dim) of the variants with text.
        """
        if self.shape.variant == "fused":
            assert words is not None
            return self.sound_text(spectrogram, n_frames, words), self.picture(features)
        sides = (self.sound(spectrogram, n_frames), self.picture(features))
        if self.shape.variant == "bi":
            return sides
        assert words is not None
        return (*sides, self.text(words))

    def pooled_audio(self, spectrogram: Tensor, n_frames: Tensor) -> Tensor:
        """The mean over steps of the audio trunk, (batch, audio_widths[-1]).

        In training it is over all steps, padding included; in eval mode over the first max(1, n_frames // r), r being
        the frames of a step.
        """
        steps = self.DAVEnet(spectrogram)
        if self.training:
            return steps.mean(2)
        frames_per_step = round(spectrogram.shape[2] / steps.shape[2])
        kept = (n_frames // frames_per_step).clamp(1, steps.shape[2])
        inside = torch.arange(steps.shape[2], device=steps.device) < kept[:, None]
        return torch.where(inside[:, None], steps, 0).sum(2) / kept[:, None].to(steps.dtype)

    def sound(self, spectrogram: Tensor, n_frames: Tensor) -> Tensor:
        """Embeds audio (not of `fused`)."""
        return self.DAVEnet_projection(self.GU_audio(self.pooled_audio(spectrogram, n_frames)))

    def picture(self, features: Tensor) -> Tensor:
        """Embeds frame features."""
        return self.GU_video(features)

    def text(self, words: Tensor) -> Tensor:
        """Embeds texts (of `tri`)."""
        return self.GU_text_captions(self.text_pooling_caption(words))

    def sound_text(self, spectrogram: Tensor, n_frames: Tensor, words: Tensor) -> Tensor:
        """Embeds audio with its text (of `fused`)."""
        return self.joined(self.sound_of_joined(spectrogram, n_frames), words)

    def sound_of_joined(self, spectrogram: Tensor, n_frames: Tensor) -> Tensor:
        """The audio's part in `sound_text`, (batch, dim / 2): the same for all texts of a clip."""
        return self.DAVEnet_projection(self.pooled_audio(spectrogram, n_frames))

    def joined(self, audio: Tensor, words: Tensor) -> Tensor:
        """Embeds the audio's part (batch, dim / 2) with texts (batch, words, word_dim)."""
        return self.GU_audio_text(audio, self.text_pooling_caption(words))


WRAPPERS = (*PLAIN_WRAPPERS, "net")
"""`net` is that of `amp_checkpoint.pt`, which the original saves beside the weights in mixed precision."""


def shape_of(weights: Mapping[str, Tensor], path: Path) -> Shape:
    """Which AVLnet a state dict is of.

    Raises:
        CheckpointError: of none.
    """
    variant: Variant = (
        "fused"
        if "GU_audio_text.cg.fc.weight" in weights
        else "tri"
        if "GU_text_captions.fc.weight" in weights
        else "bi"
    )
    try:
        dim, video_dim = weights["GU_video.fc.weight"].shape
        words = weights.get("text_pooling_caption.fc.weight")
        widths = [len(weights["DAVEnet.conv1.weight"])]
        while (stage := f"DAVEnet.layer{len(widths)}.0.conv1.weight") in weights:
            widths.append(len(weights[stage]))
        return Shape(variant, dim, video_dim, Shape.word_dim if words is None else words.shape[1], tuple(widths))
    except (KeyError, ValueError):
        raise CheckpointError(
            f"{path} is no checkpoint of AVLnet (it has no GU_video or no DAVEnet): name another file"
        ) from None


def load_weights(net: AvlNet, path: Path) -> None:
    """Fills a network, strictly.

    Raises:
        CheckpointError: the file is missing, damaged, or of another variant or size.
    """
    weights = read_state_dict(path, wrappers=WRAPPERS)
    found = shape_of(weights, path)
    if found != net.shape:
        raise CheckpointError(
            f"{path} is {_described(found)}, but wanted is {_described(net.shape)}: change the config, or start from "
            "another file"
        )
    load_strictly(net, weights, path, NAMES[found.variant])


def _described(shape: Shape) -> str:
    return (
        f"{NAMES[shape.variant]} of dimension {shape.dim} (frames {shape.video_dim}, text {shape.word_dim}, audio "
        f"trunk {'-'.join(map(str, shape.audio_widths))})"
    )


def load_avlnet(path: Path) -> AvlNet:
    """The network that a file holds, in eval mode on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, or no AVLnet.
    """
    weights = read_state_dict(path, wrappers=WRAPPERS)
    shape = shape_of(weights, path)
    with torch.device("meta"):
        net = AvlNet(shape)
    load_strictly(net.to_empty(device="cpu"), weights, path, NAMES[shape.variant])
    return net.eval()
