"""How busy the GPU is."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from types import TracebackType

import torch


class Utilisation:
    """Samples `nvidia-smi` every 100 ms while the block runs.

    Args:
        device: a GPU; on another device nothing is sampled.

    Attributes:
        mean: percent of the time in which the GPU computed; None where that cannot be known.
    """

    def __init__(self, device: torch.device) -> None:
        self.mean: float | None = None
        self._index = str(device.index or 0)
        self._wanted = device.type == "cuda" and shutil.which("nvidia-smi") is not None

    def __enter__(self) -> Utilisation:
        if self._wanted:
            self._file = tempfile.TemporaryFile("w+")
            query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
            command = ["nvidia-smi", "-i", self._index, *query]
            self._process = subprocess.Popen(command, stdout=self._file, stderr=subprocess.DEVNULL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._wanted:
            self._process.terminate()
            self._process.wait()
            self._file.seek(0)
            samples = [float(line) for line in self._file.read().split() if line.isdigit()]
            self._file.close()
            self.mean = sum(samples) / len(samples) if samples else None
