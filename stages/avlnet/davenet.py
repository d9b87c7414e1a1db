"""DAVEnet, the sound trunk of AVLnet: a residual network over time of log-mel spectrograms."""

from __future__ import annotations

from torch import Tensor, nn

from stages.avlnet.batch_norm import GlobalBatchNorm2d

N_MELS = 40
WIDTHS = (128, 128, 256, 512, 1024)
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
    """Spectrograms to a sequence of 1,024 channels; names of the parameters are those of the published files."""

    def __init__(self) -> None:
        super().__init__()
        self.batchnorm1 = nn.BatchNorm2d(1)  # in the published files, and never used
        self.conv1 = nn.Conv2d(1, WIDTHS[0], (N_MELS, 1), bias=False)
        self.bn1 = GlobalBatchNorm2d(WIDTHS[0])
        for stage in range(1, len(WIDTHS)):
            first = ResidualBlock(WIDTHS[stage - 1], WIDTHS[stage], stride=2)
            rest = [ResidualBlock(WIDTHS[stage], WIDTHS[stage], stride=1) for _ in range(BLOCKS_PER_STAGE - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(first, *rest))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, spectrograms: Tensor) -> Tensor:
        """(batch, 40, frames) -> (batch, 1024, ceil(frames / 16))."""
        x = self.bn1(self.conv1(spectrograms.unsqueeze(1))).relu()
        for stage in range(1, len(WIDTHS)):
            x = self.get_submodule(f"layer{stage}")(x)
        return x.squeeze(2)


def _over_time(inputs: int, outputs: int, width: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, (1, width), stride=(1, stride), padding=(0, width // 2), bias=False)
