"""Runs the original AVLnet's `train.py` on a CPU, for `benchmarks.train.against_reference`, in a process of its own.

The original runs as it is but for: no GPU, no gensim, the clip order and captions of the comparison, a strict load of
weights, integer division in place as of PyTorch 1.4, and, unless in full size, smaller constants for the width of the
audio trunk and the length of spectrograms.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.data

from benchmarks.train import comparison
from benchmarks.train.comparison import Case, Draw, Size

MODULES = ("args", "loss", "metrics", "model_davenet", "model", "youcook_dataloader", "msrvtt_dataloader")


def main() -> None:
    """Trains each case; prints `comparison.Curve` of each."""
    request = json.loads(sys.stdin.read())
    reference, size = Path(request["reference"]), Size(tuple(request["widths"]), request["frames"])
    torch.set_num_threads(1)
    _without_gpu()
    _stand_ins()
    print(json.dumps([_trained(reference, Case(**one), size) for one in request["cases"]]))


def _without_gpu() -> None:
    torch.Tensor.cuda = lambda self, *a, **k: self  # type: ignore[method-assign, assignment]
    torch.nn.Module.cuda = lambda self, *a, **k: self  # type: ignore[method-assign, assignment]
    divide = torch.Tensor.div_

    def div_(self: Any, other: Any) -> Any:
        return divide(self, other) if self.is_floating_point() else self.floor_divide_(other)

    torch.Tensor.div_ = div_  # type: ignore[method-assign, assignment]


def _stand_ins() -> None:
    """Libraries that the original imports and these runs do not need, and word vectors as of gensim < 4."""

    class KeyedVectors:
        def __init__(self, path: str) -> None:
            with Path(path).open("rb") as file:
                n, dim = map(int, file.readline().split())
                self.vocab = {}
                for _ in range(n):
                    word = b"".join(iter(lambda: file.read(1), b" ")).decode()
                    self.vocab[word] = np.frombuffer(file.read(4 * dim), "<f4")

        def __getitem__(self, words: list[str]) -> Any:
            return np.stack([self.vocab[word] for word in words])

        @classmethod
        def load_word2vec_format(cls, path: str, binary: bool) -> KeyedVectors:
            return cls(path)

    for name in ("gensim", "gensim.models", "gensim.models.keyedvectors"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["gensim.models.keyedvectors"].KeyedVectors = KeyedVectors  # type: ignore[attr-defined]
    sys.modules["youtube_dataloader"] = types.ModuleType("youtube_dataloader")
    sys.modules["youtube_dataloader"].Youtube_DataLoader = None  # type: ignore[attr-defined]


def _trained(reference: Path, case: Case, size: Size) -> dict[str, list[Any]]:
    clock = _Clock(case.seed)
    for name in MODULES:
        _load(name, reference, size)
    loader = sys.modules["msrvtt_dataloader"].MSRVTT_DataLoader
    sys.modules["msrvtt_dataloader"].random = clock  # type: ignore[attr-defined]
    caption_of = loader._get_caption

    def get_caption(self: Any, clip: int) -> Any:
        clock.clip = clip
        return caption_of(self, clip)

    loader._get_caption = get_caption
    steps: list[tuple[bool, float]] = []
    evaluations: list[list[float]] = []
    metrics_of = sys.modules["metrics"].compute_metrics

    def compute_metrics(*arguments: Any) -> Any:
        found = metrics_of(*arguments)
        evaluations.append([*(100 * found[name] for name in ("R1", "R5", "R10")), float(found["MR"])])
        return found

    sys.modules["metrics"].compute_metrics = compute_metrics  # type: ignore[attr-defined]
    source = (reference / "train.py").read_text()
    for old, new in {
        "    shuffle=True,\n    batch_sampler=None,": "    sampler=ORDERED(dataset),\n    batch_sampler=None,",
        "    opt.step()\n    return": "    opt.step()\n    STEPS.append((model.training, loss.item()))\n    return",
    }.items():
        if old not in source:
            raise SystemExit(f"{reference}/train.py is not the original's: it has no {old!r}")
        source = source.replace(old, new)
    sys.argv = ["train.py", *_flags(case)]
    given = {"__name__": "__main__", "STEPS": steps, "ORDERED": lambda data: _Ordered(len(data), clock)}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(source, "train.py", "exec"), given)
    modes = ["train" if training else "eval" for training, _ in steps]
    return {"modes": modes, "losses": [loss for _, loss in steps], "evaluations": evaluations}


def _load(name: str, reference: Path, size: Size) -> None:
    source = (reference / f"{name}.py").read_text()
    if name == "model_davenet":
        source = source.replace("layer_widths = [128,128,256,512,1024]", f"layer_widths = {list(size.widths)}")
    elif name == "model":
        source = source.replace("1024", str(size.widths[-1])).replace("strict=False", "strict=True")
    elif name.endswith("dataloader"):
        source = source.replace("1024 * self", f"{size.frames} * self")
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)


def _flags(case: Case) -> list[str]:
    train, test = comparison.FILES[case.style]
    dataset = {"youcook2": "youcook", "msrvtt": "msrvtt"}[case.style]
    held_out = {"youcook2": "val", "msrvtt": "test"}[case.style]
    flags = {
        dataset: 1,
        f"{dataset}_train_path": train,
        f"{dataset}_{held_out}_path": test,
        "word2vec_path": comparison.VECTORS,
        "we_dim": comparison.WORD_DIM,
        "embd_dim": comparison.DIM,
        "batch_size": comparison.BATCH,
        "epochs": comparison.EPOCHS,
        "lr": comparison.LEARNING_RATE,
        "lr_decay": comparison.DECAY,
        "seed": case.seed,
        "num_thread_reader": 0,
        "verbose": 0,
    }
    if case.mode == "eval":
        flags[f"eval_{dataset}"] = 1
    if case.variant != "bi":
        flags["tri_modal"] = 1
        flags["tri_modal_fuse" if case.variant == "fused" else "fuse_videoaudio_additive"] = 1
    if case.start == "checkpoint":
        flags["pretrain_path"] = case.checkpoint
    return [f"--{name}={value}" for name, value in flags.items()]


class _Clock:
    """Epoch and clip at hand; stands in for the module `random` of the loader of MSR-VTT."""

    def __init__(self, seed: int) -> None:
        self.seed, self.epoch, self.clip = seed, -1, -1

    def choice(self, captions: list[str]) -> str:
        return captions[Draw(self.seed, self.epoch, self.clip).integers(len(captions))]


class _Ordered(torch.utils.data.Sampler[int]):
    def __init__(self, n: int, clock: _Clock) -> None:
        self._n, self._clock = n, clock

    def __iter__(self) -> Iterator[int]:
        self._clock.epoch += 1
        return iter(comparison.order(self._n, self._clock.seed, self._clock.epoch).tolist())

    def __len__(self) -> int:
        return self._n


if __name__ == "__main__":
    main()
