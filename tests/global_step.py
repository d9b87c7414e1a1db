"""One step of training, on a whole batch or on what one of several processes has of it."""

from pathlib import Path

import numpy as np
import torch

from pipeline.networks.avlnet import AvlNet
from pipeline.networks.avlnet_shape import Shape
from stages.train.batches import Batch, share
from stages.train.config import TrainingConfig
from stages.train.processes import Processes
from stages.train.step import Stepper

SHAPE = Shape("tri", 8, 6, 7, (8, 8, 8, 16, 16))
N = 8


def batch(rows: slice = slice(None)) -> Batch:
    random = torch.Generator().manual_seed(0)
    picture, sound = torch.randn(N, 6, generator=random), 9 * torch.randn(N, 64, 40, generator=random) - 30
    words = torch.randn(N, 5, 7, generator=random)
    return Batch(picture[rows], sound[rows], torch.full((N,), 64)[rows], words[rows])


def step(processes: Processes, parts: list[Batch], **options: object) -> dict:
    torch.manual_seed(0)
    config = TrainingConfig(corpus="mine", variant="tri", text="word2vec", **{"mode": "train", **options})
    net = AvlNet(SHAPE).train(config.mode == "train")
    stepper = Stepper(net, config, processes)
    loss = stepper.step(parts)
    gradients = {name: one.grad for name, one in net.named_parameters() if one.grad is not None}
    return {"loss": loss, "gradients": gradients, "state": net.state_dict()}


def step_on_a_share(out: Path, parts: int) -> None:
    """The step of one of several processes, in parts; the first writes what came of it."""
    together = Processes.join("cpu")
    rows = share(np.arange(N), together.rank, together.count, parts)
    found = step(together, [batch(slice(one[0], one[-1] + 1)) for one in rows], accumulate=parts)
    if together.rank == 0:
        torch.save(found, out)
    together.leave()
