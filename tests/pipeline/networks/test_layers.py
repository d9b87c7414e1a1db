"""Networks know nothing of stages and stores, and encoders are named without importing torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from stages.embed.registry import AVLNET, FAMILIES

ROOT = Path(__file__).parents[3]
NETWORKS = sorted((ROOT / "pipeline/networks").glob("[a-z]*.py"))
GROUND = ("pipeline.networks", "pipeline.checkpoints", "pipeline.formats")


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_a_network_imports_networks_and_weights_alone(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.module.startswith(("stages", "cache")) or node.module in ("cache.errors", "cache.compiled")
            assert not node.module.startswith("pipeline") or node.module.startswith(GROUND), node.module


def test_encoders_are_imported_without_torch():
    names = sorted(path.stem for path in FAMILIES.glob("[a-z]*.py") if path.stem != AVLNET)
    code = (
        "import sys; from importlib import import_module\n"
        "for name in sys.argv[1:]: import_module('stages.embed.encoders.' + name).ENCODER\n"
        "print(sorted({'torch', 'transformers', 'timm', 'numba', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
