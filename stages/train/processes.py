"""The processes that train together, under torchrun or alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from pipeline.monitor.device import pick_device

LONGEST_WAIT = timedelta(hours=6)
"""While one process evaluates, the others wait."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number.
        count: of all.
        device: it works on.
    """

    rank: int
    count: int
    device: torch.device

    @classmethod
    def join(cls, device: str | None = None) -> Processes:
        """Joins the processes that torchrun has started, or stays alone.

        Args:
            device: as of `pick_device`; under torchrun each process takes a GPU of its own where there are.
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls(0, 1, pick_device(device))
        on_gpu = device in (None, "cuda") and torch.cuda.is_available()
        picked = pick_device(f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else device or "cpu")
        if on_gpu:
            torch.cuda.set_device(picked)
        distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=LONGEST_WAIT)
        return cls(distributed.get_rank(), count, picked)

    def leave(self) -> None:
        """Ends the process group."""
        if self.count > 1:
            distributed.destroy_process_group()

    def wait(self) -> None:
        """Waits for the others."""
        if self.count > 1:
            distributed.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The block is run by the first process, and by the others once it is done."""
        if self.rank:
            self.wait()
        yield
        if not self.rank:
            self.wait()

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all processes, (count * n, dim), in the order of their ranks."""
        if self.count == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.count)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def own(self, rows: Tensor) -> Tensor:
        """The rows of `gathered` that came from this process."""
        n = len(rows) // self.count
        return rows[self.rank * n : (self.rank + 1) * n]

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Adds up the gradients of all processes in place, in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(joined)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, joined.split(sizes), strict=True):
            gradient.copy_(part.view_as(gradient))
