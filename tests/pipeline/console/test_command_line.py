import subprocess
import sys
from pathlib import Path

import pytest

HEARONCE = Path(sys.executable).parent / "hearonce"


def hearonce(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HEARONCE, *arguments], capture_output=True, text=True, check=False)


def test_version_and_help():
    assert hearonce("--version").stdout.startswith("hearonce 0.")
    listed = hearonce("--help").stdout
    for command in ("init", "ingest", "extract-audio", "embed", "score", "report", "encode"):
        assert command in listed


def test_a_typo_in_a_command_says_what_was_meant(project):
    done = hearonce("ingst", "demo")
    assert done.returncode == 2
    assert "No command 'ingst': did you mean 'ingest'?" in done.stderr


@pytest.mark.parametrize("arguments", [["ingest", "dmo"], ["score", "nothing"], ["embed", "demo", "yamet-minilm"]])
def test_a_users_mistake_is_one_sentence(project, arguments):
    done = hearonce(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("hearonce: ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("stage", ["score", "report", "ingest", "describe"])
def test_cheap_stages_start_without_torch(stage):
    heavy = ("torch", "transformers", "timm", "dvc", "openai")
    code = f"import sys, stages.{stage}.command; sys.exit(any(one in sys.modules for one in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("encoder", ["yamnet-minilm", "efficientnet-minilm", "laion-clap", "clip-vit-b32"])
def test_encoders_are_described_without_torch(encoder):
    code = (
        f"import sys\nfrom stages.embed.registry import load_encoder\nencoder = load_encoder('{encoder}')\n"
        "encoder.clip_input\nsys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
