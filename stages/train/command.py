"""`hearonce train NAME`: cached features -> the weights of an AVLnet, with metrics and plots of DVCLive."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache.errors import UserError
from cache.location import Store
from pipeline.checkpoints.fingerprints import digest_of, fingerprint_of
from pipeline.checkpoints.official import not_found
from pipeline.config import layout
from pipeline.config.params import write_round_trip
from pipeline.config.records import named
from pipeline.console.app import Workers
from pipeline.monitor.device import processors
from pipeline.monitor.events import event
from pipeline.monitor.log import logged
from pipeline.monitor.summary import Summary
from stages.train.config import TrainingConfig, load_training

if TYPE_CHECKING:
    from pipeline.networks.avlnet import AvlNet
    from stages.train.features import Features
    from stages.train.run import TrainingData

VERSION = 2
"""To be raised when a change of the code changes what is trained: saved states of before then no longer serve."""

YAML_OF_ENCODER = "the encoder's YAML"
"""What `not_found` sends the user to; here it is another file."""

Name = Annotated[str, typer.Argument(help="A training of configs/trainings/.")]
Device = Annotated[str | None, typer.Option(envvar="HEARONCE_DEVICE", help="cpu, cuda, ...; a GPU if any.")]
Count = Annotated[
    int,
    typer.Option("--processes", envvar="HEARONCE_PROCESSES", min=1, help="Processes, each with a GPU where there are."),
]
Seconds = Annotated[
    float, typer.Option("--save-every", envvar="HEARONCE_SAVE_EVERY", help="Seconds between saves within an epoch.")
]


@logged
def train(
    name: Name, device: Device = None, workers: Workers = None, processes: Count = 1, save_every: Seconds = 600.0
) -> None:
    """Train a network on cached features; an interrupted training goes on where it was."""
    config = load_training(name)
    _check_start(name, config)
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        event("note", text="torchrun takes over; each of its processes has a log of its own")
        os.execv(sys.executable, [*torchrun, *sys.argv])
    from stages.train.batches import BatchReader
    from stages.train.features import CachedFeatures
    from stages.train.processes import Processes
    from stages.train.run import TrainingData

    together = Processes.join(device)
    try:
        summary = Summary(f"train {name}", unit="steps")
        with summary.timed("open"):
            with together.first_alone():  # the others read what the first imports into the store
                features = _features(config)
            evaluated = None if config.evaluate_on is None else CachedFeatures(config, config.evaluate_on)
            if evaluated is not None:
                _check_alike(features, evaluated)
        reader = BatchReader(workers or min(8, processors()), pin=together.device.type == "cuda")
        with closing(reader):
            _train(name, TrainingData(config, features, evaluated, reader, together), summary, save_every)
    finally:
        together.leave()


def _check_start(name: str, config: TrainingConfig) -> None:
    """Before features are read and processes started, for both take long."""
    start = config.start
    if start is None or start.exists():
        return
    trainings = layout.training(name).parent.absolute()
    if trainings in start.absolute().parents:
        other = start.absolute().relative_to(trainings).parts[0]
        raise UserError(f"Training {name!r} starts from {start}, which is missing: run `hearonce train {other}` first.")
    place = f"{named('trainings', name)} (`start`)"
    raise UserError(f"Training {name!r} cannot start, {not_found(start).replace(YAML_OF_ENCODER, place)}.")


def _features(config: TrainingConfig) -> Features:
    from stages.train.features import CachedFeatures
    from stages.train.howto100m import WindowedVideos

    return CachedFeatures(config, config.train_on) if config.files is None else WindowedVideos(config.files, config)


def _check_alike(trained: Features, evaluated: Features) -> None:
    for features, wanted, found in (
        ("video features", trained.video_dim, evaluated.video_dim),
        ("word vectors", trained.word_dim, evaluated.word_dim),
    ):
        if found != wanted:
            raise UserError(
                f"The clips to evaluate on have {features} of length {found}, those to train on of {wanted}: name "
                "encoders that made the same features."
            )


def _train(name: str, data: TrainingData, summary: Summary, save_every_s: float) -> None:
    from pipeline.checkpoints.weights import save_weights
    from stages.train.run import train as run
    from stages.train.saved import KeptEpochs, LivePlots, NoPlots, SavedProgress
    from stages.train.step import Stepper

    config, together = data.config, data.processes
    summary.wanted = config.epochs * data.steps_per_epoch
    net = _new_network(config, data.features).to(together.device)
    stepper = Stepper(net, config, together)
    state = Store.default().trainings / identity(config, data.features)
    saved = SavedProgress(state, config.mode)
    progress = saved.load(net, stepper)
    together.wait()
    summary.found = len(progress.losses)
    if data.features.left_out:
        summary.add_note(f"{data.features.left_out} left out")
    folder = layout.training(name)
    kept = KeptEpochs(config.keep, state, folder / "epochs")
    if together.rank == 0 and (lost := kept.begin(progress)):
        summary.add_note(lost)
    observer = LivePlots(folder / "live", data.steps_per_epoch, progress) if together.rank == 0 else NoPlots()
    run(net, stepper, data, saved, kept, progress, observer, summary, save_every_s)
    if together.rank == 0:
        save_weights(net, folder / "model.pth")
        _write_encoder(name, config, folder)
        observer.end()
        if (best := kept.best_epoch(progress.evaluations)) is not None:
            summary.add_note(f"best.pth is of epoch {best}")
        saved.forget()
        for direction, values in progress.evaluations[-1].items():
            shown = ", ".join(f"{metric} {value:.4g}" for metric, value in values.items())
            summary.add_note(f"{_words(direction)} {shown}")
        print(summary.line(), flush=True)


def _words(direction: str) -> str:
    """`sound_to_picture` as a message names it."""
    return direction.replace("sound", "audio").replace("picture", "video").replace("_", " ")


def _new_network(config: TrainingConfig, features: Features) -> AvlNet:
    import torch

    from pipeline.networks.avlnet import AvlNet, load_weights
    from pipeline.networks.avlnet_shape import Shape

    torch.manual_seed(config.seed)
    net = AvlNet(Shape(config.variant, config.dim, features.video_dim, features.word_dim, config.audio_widths))
    if config.start is not None:
        load_weights(net, config.start)
    return net


def _write_encoder(name: str, config: TrainingConfig, folder: Path) -> None:
    """Writes `encoder.yaml`: the trained network as an encoder, `CONFIG@TRAINING`; it changes when the weights do."""
    weights = folder / "model.pth"
    options: dict[str, Any] = {
        "family": "avlnet",
        "checkpoint": weights.as_posix(),
        "audio": config.audio,
        "features_2d": config.features_2d,
        "features_3d": config.features_3d,
        "max_frames": config.max_frames,
        "max_words": config.max_words,
        "digest": digest_of(weights),
    }
    if config.text is not None:
        options["text"] = config.text
    if config.embed_captions is not None:
        options["captions"] = config.embed_captions
    write_round_trip(options, folder / "encoder.yaml")


def identity(config: TrainingConfig, features: Features) -> str:
    """A name for all that decides what is trained but the mode, which the saved state records and compares."""
    identity = {"version": VERSION, "training": config.settings(), "features": features.identity()}
    return fingerprint_of(identity)[0]
