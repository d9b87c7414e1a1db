"""Towers as runs load them: precision, compiling, and a device without room."""

import numpy as np
import pytest
import torch
from filled import yamnet_minilm

from cache.errors import UserError
from pipeline.checkpoints.fingerprints import digest_of
from pipeline.monitor import device as device_module
from pipeline.monitor.device import PRECISIONS, computing, is_out_of_memory
from stages.embed.encoders.avlnet import SideLoader
from stages.embed.registry import load_encoder
from stages.embed.towers import LoadedTower, TowerLoader, identity_of, load_tower

CPU = torch.device("cpu")


@pytest.fixture
def encoder(tmp_path):
    return yamnet_minilm.encoder(tmp_path)


def test_the_precision_is_part_of_the_identity_unless_it_is_fp32(encoder, tmp_path):
    for modality, said in (("clips", encoder.clip_identity()), ("captions", encoder.caption_identity())):
        assert identity_of(encoder, modality) == said
        low = yamnet_minilm.encoder(tmp_path, precision="bf16")
        assert identity_of(low, modality) == {**said, "precision": "bf16"}


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_is_told_the_precision_and_afterwards_is_as_before(precision):
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [one.allow_tf32 for one in backends]
    with pytest.raises(KeyError), computing(torch.device("cuda"), precision):
        assert [one.allow_tf32 for one in backends] == [precision == "tf32"] * 2
        raise KeyError
    assert [one.allow_tf32 for one in backends] == before
    assert not torch.is_autocast_enabled("cuda")


def test_a_cpu_computes_in_fp32_whatever_is_asked_for():
    numbers = torch.rand(8, 8)
    for precision in PRECISIONS:
        with computing(CPU, precision):
            assert torch.equal(numbers @ numbers, torch.mm(numbers, numbers)) and not torch.is_autocast_enabled("cpu")


class Compilable:
    """A network that notes how it is run."""

    def __init__(self):
        self.networks = [torch.nn.Linear(4, 2)]

    def prepare(self, item, key):
        return item

    def encode(self, batch):
        return self.networks[0](torch.stack(list(batch))).detach().numpy()


def test_networks_are_compiled_when_asked_for(encoder, monkeypatch):
    tower, compiled = Compilable(), []
    monkeypatch.setattr(type(encoder), "load_clip_tower", lambda self, device: tower)
    monkeypatch.setattr(torch.nn.Linear, "compile", lambda self: compiled.append(self))
    assert isinstance(load_tower(encoder, "clips", CPU), LoadedTower) and not compiled
    load_tower(encoder, "clips", CPU, compiled=True)
    assert compiled == tower.networks
    monkeypatch.setattr(device_module.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"--compile needs a C\+\+ compiler"):
        load_tower(encoder, "clips", CPU, compiled=True)
    tower.networks = []
    with pytest.raises(UserError, match="'yamnet-minilm' has nothing to compile for clips"):
        load_tower(encoder, "clips", CPU, compiled=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; compiling takes 35 s on a CPU")
def test_a_compiled_encoder_gives_the_same_rows(encoder):
    item = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    rows = []
    for compiled in (False, True):
        tower = load_tower(encoder, "clips", torch.device("cuda"), compiled)
        rows.append(tower.encode([tower.prepare(item, bytes(16))]))
    np.testing.assert_allclose(*rows, rtol=0, atol=1e-5)


def test_a_model_that_does_not_fit_the_device_is_one_sentence(encoder, monkeypatch):
    def full(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(type(encoder), "load_caption_tower", full)
    with pytest.raises(UserError, match=r"'yamnet-minilm' does not fit into the free memory of cpu: .*--device\.$"):
        load_tower(encoder, "captions", CPU)


def test_what_counts_as_out_of_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_worker_whose_files_are_others_loads_no_tower(project):
    checkpoint = project / "model.pth"
    checkpoint.write_bytes(b"one")
    side = SideLoader(checkpoint, digest_of(checkpoint), "sound", "cpu")
    checkpoint.write_bytes(b"another")
    tower = TowerLoader(load_encoder("features/avlnet-spectrogram"), "clips", "00" * 16, "cpu", compiled=False)
    for load in (side, tower):
        with pytest.raises(UserError, match=r"The model's files on .* are not those that this run began with"):
            load()
