"""Processes that train, forked from one that has imported torch once, so that each starts at once."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["stages.train.run", "torch._dynamo", "dvclive"])


def start(target: Callable[..., None], *arguments: object, **environment: str) -> BaseProcess:
    """Calls a function of a module in a new process, in the current folder, with the environment and more."""
    import torch

    place = (Path.cwd(), {**os.environ, **environment}, torch.get_num_threads())
    process = CONTEXT.Process(target=_run, args=(*place, target, arguments), daemon=True)
    process.start()
    return process


def start_together(count: int, target: Callable[..., None], *arguments: object) -> list[BaseProcess]:
    """Starts processes that find each other as under torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(target, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **address) for rank in range(count)]


def train_until_killed(name: str, last_step: int) -> None:
    """Trains, saves as often as it can, and is killed with -9 when that step has begun."""
    from stages.train.command import train
    from stages.train.step import Stepper

    steps, step = itertools.count(1), Stepper.step

    def stepped(stepper, parts):
        if next(steps) == last_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(stepper, parts)

    Stepper.step = stepped
    train(name, device="cpu", workers=2, processes=1, save_every=0.0)


def _run(
    folder: Path, environment: dict[str, str], threads: int, target: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    import torch

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(threads)
    target(*arguments)
