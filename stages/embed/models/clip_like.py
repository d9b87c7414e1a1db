"""The image tower of CLIP, SigLIP and SigLIP 2 by `transformers`, its weights loaded strictly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoImageProcessor, CLIPModel, Siglip2Model, SiglipModel
from transformers.initialization import no_init_weights
from transformers.utils import logging

from pipeline.checkpoints.weights import CheckpointError, drop_position_ids, first_line, load_strictly, read_files

ARCHITECTURES = {"clip": CLIPModel, "siglip": SiglipModel, "siglip2": Siglip2Model}
CPU_CHUNK, DEVICE_CHUNK = 16, 256  # pictures per pass


def load(folder: Path, weights: Iterable[Path], tower: Literal["vision", "text"]) -> Any:
    """Builds the model that `config.json` describes and fills one of its towers; all keys have to fit.

    Args:
        folder: holds `config.json`.
        weights: the files that together hold the weights.
        tower: the one that is wanted; the other is checked against the files but has no memory.

    Raises:
        CheckpointError: a file cannot be used, or a key is missing, unexpected or of another shape.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # SigLIP's published settings make it warn of token ids that play no part
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        architecture = ARCHITECTURES[config.model_type]
        with no_init_weights():
            model = architecture(config).float()  # whatever `dtype` the settings name
    except Exception as error:  # damaged settings raise anything
        raise CheckpointError(
            f"{folder / 'config.json'} describes no model of this family: {first_line(error)}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    files = list(weights)
    state = read_files(files)
    drop_position_ids(state, files[0])
    unwanted = "text_model" if tower == "vision" else "vision_model"
    setattr(model, unwanted, getattr(model, unwanted).to("meta"))
    skip = f"{unwanted}."
    load_strictly(
        model, state, files[0], f"{architecture.__name__} as in config.json", skip=lambda k: k.startswith(skip)
    )
    setattr(model, unwanted, None)
    return model.eval().requires_grad_(False)


def load_processor(folder: Path) -> Any:
    """The image processor of a folder, as `transformers` makes it for tensors.

    Raises:
        CheckpointError: the folder has none.
    """
    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="torchvision")
    except Exception as error:  # missing and damaged settings raise anything
        raise CheckpointError(f"{folder} has no usable preprocessor_config.json: {first_line(error)}") from error


class PictureTower:
    """Clips through the image tower: the mean over a clip's frames.

    Args:
        model: from `load`.
        processor: from `load_processor`.
        normalised: bring each frame's embedding to unit length before the mean.

    Raises:
        CheckpointError: the processor makes pictures of a size that the model does not take.
    """

    def __init__(self, model: Any, processor: Any, normalised: bool) -> None:
        self._model, self._processor, self._normalised = model, processor, normalised
        self._patches = "pixel_attention_mask" in processor.model_input_names
        if not self._patches:
            side = model.config.vision_config.image_size
            height, width = self.prepare(np.zeros((1, 2 * side, 3 * side, 3), np.uint8), b"")["pixel_values"].shape[2:]
            if (height, width) != (side, side):
                raise CheckpointError(
                    f"the settings make pictures of {width} x {height}, but the image tower takes "
                    f"{side} x {side}: the files are of different models"
                )

    def prepare(self, item: np.ndarray, key: bytes) -> dict[str, Tensor]:
        """Resized and cropped frames; nothing is drawn at random, so that the row key plays no part.

        Pictures stay uint8 (frames, 3, side, side) until `encode`; patches of NaFlex models are made here.
        """
        later = {} if self._patches else {"do_rescale": False, "do_normalize": False}
        return dict(self._processor(list(item), input_data_format="channels_last", return_tensors="pt", **later))

    @torch.inference_mode()
    def encode(self, batch: Sequence[dict[str, Tensor]]) -> np.ndarray:
        """(clips, dim) unit-length rows."""
        device = next(self._model.parameters()).device
        chunk = CPU_CHUNK if device.type == "cpu" else DEVICE_CHUNK
        inputs = {name: torch.cat([clip[name] for clip in batch]) for name in batch[0]}
        parts = []
        for start in range(0, len(inputs["pixel_values"]), chunk):
            part = {name: values[start : start + chunk].to(device) for name, values in inputs.items()}
            parts.append(self._model.get_image_features(**self._normalise(part)).pooler_output.float())
        frames = torch.cat(parts)
        if self._normalised:
            frames = normalize(frames, dim=-1)
        clips = frames.split([len(clip["pixel_values"]) for clip in batch])
        return normalize(torch.stack([clip.mean(dim=0) for clip in clips]), dim=-1).cpu().numpy()

    def _normalise(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        if self._patches:
            return inputs
        own = self._processor
        pixels = own.rescale_and_normalize(
            inputs["pixel_values"],
            own.do_rescale,
            own.rescale_factor,
            own.do_normalize,
            tuple(own.image_mean),
            tuple(own.image_std),
        )
        return {**inputs, "pixel_values": pixels}
