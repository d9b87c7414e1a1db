"""The metric functions of a checkout of A Sound Approach (audio_egovlp), without the rest of its environment."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch


class Reference:
    """Its functions in the order in which its evaluation script calls them.

    Args:
        checkout: folder with `model/metric.py`, `utils/nDCG.py` and `utils/mAP.py`.
    """

    def __init__(self, checkout: Path) -> None:
        utils = ModuleType("utils")
        for name in ("nDCG", "mAP"):
            setattr(utils, name, _load(f"utils.{name}", checkout / "utils" / f"{name}.py"))
        names = ("print_mAP", "print_nDCG", "calculate_from_split")
        for name, function in _functions(checkout / "utils" / "util.py", names).items():
            setattr(utils, name, function)
        sys.modules["utils"] = utils
        if importlib.util.find_spec("pandas") is None:
            sys.modules["pandas"] = ModuleType("pandas")  # of use only to functions that read files
        self.ndcg, self.map, self.by_class = utils.nDCG, utils.mAP, utils.calculate_from_split
        self.metric = _load("metric", checkout / "model" / "metric.py")

    def similarity(self, captions: np.ndarray, clips: np.ndarray) -> np.ndarray:
        """(1 + cosine) / 2 as (clips' captions, clips)."""
        sims: np.ndarray = self.metric.sim_matrix(torch.from_numpy(captions), torch.from_numpy(clips)).numpy()
        return (sims + 1) / 2

    def scores(
        self, sims: np.ndarray, indexes: np.ndarray, relevancy: np.ndarray, classes: dict[str, list[bool]]
    ) -> dict[str, dict[str, float]]:
        """All metrics of both directions, named as ours; those per class end as text."""
        chosen = sims.T[:, indexes]
        ideal = self.metric.initialise_jpose_nDCG_values(relevancy)["action"]
        values, each = {}, []
        for direction, key, one, relevant in (
            ("clip_to_text", "v", chosen, relevancy),
            ("text_to_clip", "t", chosen.T, relevancy.T),
        ):
            gains = self.ndcg.calculate_nDCG(
                one, relevant, ideal["k_values"][key], IDCG=ideal["IDCG"][key], reduction=None
            )
            precisions = self.map.calculate_mAP(one, relevant, reduction=None)
            each.append((gains, precisions))
            values[direction] = {"nDCG": float(np.mean(gains)), "mAP": float(np.mean(precisions))}
        (clip_gains, clip_precisions), (text_gains, text_precisions) = each
        plain = {"data_loader": {"args": {"suffix": ""}}}
        self.by_class("", classes, plain, indexes.tolist(), clip_gains, text_gains, clip_precisions, text_precisions)
        for direction, function in (
            ("clip_to_text", self.metric.v2t_metrics),
            ("text_to_clip", self.metric.t2v_metrics),
        ):
            ranked = function(sims)
            values[direction] |= {f"R@{k}": ranked[f"R{k}"] for k in (1, 5, 10, 50)}
            values[direction] |= {name: float(ranked[name]) for name in ("MedR", "MeanR")}
        return values

    def accuracy(self, sims: np.ndarray, answers: np.ndarray, types: np.ndarray) -> dict[str, float]:
        """Percentages of right answers."""
        numbers = torch.from_numpy(np.where(types == "inter", 1, 2))
        found: dict[str, float] = self.metric.egomcq_accuracy_metrics(
            torch.from_numpy(sims), torch.from_numpy(answers), numbers
        )
        return found


def _functions(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Some functions of a module whose imports are not at hand."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name in names]
    found: dict[str, Any] = {"np": np, "typechecked": lambda function: function}
    exec(compile(tree, str(path), "exec"), found)
    return {name: found[name] for name in names}


def _load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        sys.exit(f"{path} is missing: --reference takes a checkout of audio_egovlp")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
