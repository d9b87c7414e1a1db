"""AVLnet and AVLnet-Text: sound, picture and words in one space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import glu

from stages.avlnet.davenet import DaveNet
from stages.avlnet.shape import Shape


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
    """The sum of two linear maps, of sound and of text, and a context gate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc_audio = nn.Linear(inputs, outputs)
        self.fc_text = nn.Linear(inputs, outputs)
        self.cg = ContextGate(outputs)

    def forward(self, sound: Tensor, text: Tensor) -> Tensor:
        """Twice (batch, inputs) -> (batch, outputs)."""
        return self.cg(self.fc_audio(sound) + self.fc_text(text))


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
        sound_dim = shape.sound_widths[-1]
        self.DAVEnet = DaveNet(shape.sound_widths)
        self.DAVEnet_projection = nn.Linear(sound_dim, shape.dim)
        self.GU_audio = GatedUnit(sound_dim, sound_dim)  # in the published files of `fused`, too, which does not use it
        self.GU_video = GatedUnit(shape.picture_dim, shape.dim)
        if fused:  # after the projection above, as in the original: a seed gives the same initial weights
            self.DAVEnet_projection = nn.Linear(sound_dim, half)
        if shape.variant != "bi":
            self.text_pooling_caption = WordPool(shape.word_dim, half if fused else shape.dim)
        if shape.variant == "tri":
            self.GU_text_captions = GatedUnit(shape.dim, shape.dim)
        if fused:
            self.GU_audio_text = FusedGatedUnit(half, shape.dim)

    def forward(
        self, picture: Tensor, spectrogram: Tensor, n_frames: Tensor, words: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Embeds a batch: one (batch, dim) for each of `shape.sides`; none is normalised.

        Args:
            picture: (batch, picture_dim).
            spectrogram: (batch, 40, frames).
            n_frames: (batch,) frames before the padding, which count in eval mode alone.
            words: (batch, words, word_dim) of the variants with text.
        """
        if self.shape.variant == "fused":
            assert words is not None
            return self.sound_text(spectrogram, n_frames, words), self.picture(picture)
        sides = (self.sound(spectrogram, n_frames), self.picture(picture))
        if self.shape.variant == "bi":
            return sides
        assert words is not None
        return (*sides, self.text(words))

    def pooled_sound(self, spectrogram: Tensor, n_frames: Tensor) -> Tensor:
        """The mean over steps of the sound trunk, (batch, sound_widths[-1]).

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
        """Embeds sound (not of `fused`)."""
        return self.DAVEnet_projection(self.GU_audio(self.pooled_sound(spectrogram, n_frames)))

    def picture(self, picture: Tensor) -> Tensor:
        """Embeds pictures."""
        return self.GU_video(picture)

    def text(self, words: Tensor) -> Tensor:
        """Embeds texts (of `tri`)."""
        return self.GU_text_captions(self.text_pooling_caption(words))

    def sound_text(self, spectrogram: Tensor, n_frames: Tensor, words: Tensor) -> Tensor:
        """Embeds sound with its text (of `fused`)."""
        return self.joined(self.sound_of_joined(spectrogram, n_frames), words)

    def sound_of_joined(self, spectrogram: Tensor, n_frames: Tensor) -> Tensor:
        """The sound's part in `sound_text`, (batch, dim / 2): the same for all texts of a clip."""
        return self.DAVEnet_projection(self.pooled_sound(spectrogram, n_frames))

    def joined(self, sound: Tensor, words: Tensor) -> Tensor:
        """Embeds the sound's part (batch, dim / 2) with texts (batch, words, word_dim)."""
        return self.GU_audio_text(sound, self.text_pooling_caption(words))
