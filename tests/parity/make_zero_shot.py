"""Makes `golden/zero_shot.npz` and `.json`: numbers of torchmetrics and of LAION-CLAP's own evaluation.

Run once, where torchmetrics (1.9.0) and laion-clap (1.1.7) are installed; neither is a dependency of the tests:

    python tests/parity/make_zero_shot.py
"""

from __future__ import annotations

import ast
import json
import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torchmetrics import functional as tm

GOLDEN = Path(__file__).parent / "golden"
COUNTS = [4] * 8 + [8] * 4 + [16] * 4
"""Clips of each class: powers of two, so that torchmetrics' float32 divisions are exact."""
DIM, NAME = 24, "made"


def laion_evaluation(wandb: Any) -> Any:
    """`evaluate_zeroshot` of laion_clap/evaluate/eval_zeroshot_classification.py, without its module's imports."""
    folder = next(iter(find_spec("laion_clap").submodule_search_locations))
    path = Path(folder) / "evaluate" / "eval_zeroshot_classification.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == "evaluate_zeroshot"]
    names: dict[str, Any] = {"torch": torch, "F": F, "np": np, "logging": logging, "wandb": wandb}
    exec(compile(ast.Module(body, []), str(path), "exec"), names)
    return names["evaluate_zeroshot"]


class Embedded(torch.nn.Module):
    """Gives stored embeddings where the evaluation asks a model for them, and notes the texts it asks for."""

    def __init__(self, texts: torch.Tensor) -> None:
        super().__init__()
        self.texts = texts

    def forward(self, audio: Any, text: Any, device: Any) -> Any:
        if audio is None and text is None:
            return torch.tensor(14.3), torch.tensor(14.3)
        return audio["embedding"] if text is None else self.texts


def laion_metrics(clips: np.ndarray, texts: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """LAION-CLAP's numbers, as it logs them to Weights & Biases; it returns none.

    Its tokenizer is replaced, for the texts' embeddings are given.
    """
    tokenizer = SimpleNamespace(tokenize=lambda texts: texts)
    sys.modules["clap_module"] = SimpleNamespace(tokenizer=tokenizer)  # type: ignore[assignment]
    sys.modules["clap_module.tokenizer"] = tokenizer  # type: ignore[assignment]
    one_hot = np.eye(len(texts), dtype=np.float32)[labels]
    batches = [
        {"embedding": torch.tensor(clips[k : k + 32]), "class_label": torch.tensor(one_hot[k : k + 32])}
        for k in range(0, len(clips), 32)
    ]
    args = SimpleNamespace(
        device="cpu",
        val_dataset_names=[NAME],
        class_index_dict={str(k): k for k in range(len(texts))},
        tmodel="transformer",
        datasetnames=[NAME],
        wandb=True,
    )
    found: dict[str, float] = {}
    evaluate = laion_evaluation(SimpleNamespace(log=found.update))
    evaluate(Embedded(torch.tensor(texts)), {"val": SimpleNamespace(dataloader=batches)}, 0, args, None)
    return {name.removeprefix(f"val/{NAME}_"): float(value) for name, value in found.items() if NAME in name}


def main() -> None:
    """Draws embeddings without ties and writes them with the numbers of both packages."""
    torch.set_default_dtype(torch.float64)
    generator = np.random.default_rng(18)
    labels = generator.permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
    centres = generator.normal(size=(len(COUNTS), DIM))
    clips = (centres[labels] + 2.2 * generator.normal(size=(len(labels), DIM))).astype(np.float32)
    texts = (centres + 0.4 * generator.normal(size=centres.shape)).astype(np.float32)
    wide = [one.astype(np.float64) for one in (clips, texts)]
    unit = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in wide]
    sims = (unit[0] @ unit[1].T).astype(np.float32)
    several = np.eye(len(COUNTS), dtype=bool)[labels] | (generator.random(sims.shape) < 0.06)
    several[::9] = False  # clips without a class
    assert all(len(np.unique(row)) == len(row) for row in (*sims, *sims.T))
    # between 0 and 1, or torchmetrics takes them for logits and compares classes of a clip, not clips of a class
    scores, target = torch.tensor((1 + sims.astype(np.float64)) / 2), torch.tensor(labels)
    n = len(COUNTS)
    numbers: dict[str, Any] = {
        "top-1": float(tm.classification.multiclass_accuracy(scores, target, n, average="micro")),
        "top-5": float(tm.classification.multiclass_accuracy(scores, target, n, average="micro", top_k=5)),
        "macro top-1": float(tm.classification.multiclass_accuracy(scores, target, n, average="macro")),
        "of classes": tm.classification.multiclass_accuracy(scores, target, n, average="none").tolist(),
        "mAP": float(tm.classification.multiclass_average_precision(scores, target, n, average="macro")),
        "AP": tm.classification.multiclass_average_precision(scores, target, n, average="none").tolist(),
    }
    numbers_of_several: dict[str, Any] = {
        "mAP": float(
            tm.classification.multilabel_average_precision(scores, torch.tensor(several).long(), n, average="macro")
        ),
        "AP": tm.classification.multilabel_average_precision(
            scores, torch.tensor(several).long(), n, average="none"
        ).tolist(),
    }
    np.savez_compressed(GOLDEN / "zero_shot.npz", clips=clips, texts=texts, labels=labels, several=several)
    document = {
        "torchmetrics": {"one": numbers, "several": numbers_of_several},
        "laion_clap": laion_metrics(clips, texts, labels),
    }
    (GOLDEN / "zero_shot.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
