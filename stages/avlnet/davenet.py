"""DAVEnet, the sound trunk of AVLnet: a residual network over time of log-mel spectrograms."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from stages.avlnet.batch_norm import GlobalBatchNorm2d

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
