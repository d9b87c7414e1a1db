"""Convolutions packed for oneDNN, with the normalisation after them, do what the layers they stand for do."""

import shutil

import pytest
import torch
from torch import nn

from pipeline.networks.packed import PackedConv, SameConv2d, compile_network, place

CPU = torch.device("cpu")


def filled(layer):
    """A normalisation whose numbers are not those of a fresh one."""
    for name, value in layer.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if "var" in name or "weight" in name else value.normal_()
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 1, "groups": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "padding": 1, "groups": 6},
        {"kernel_size": 3, "dilation": 2, "padding": "valid"},
        {"kernel_size": (1, 3), "padding": (0, 1)},
    ],
)
def test_it_is_the_same_layer(options, bias):
    torch.manual_seed(0)
    for conv, norm, size in ((nn.Conv2d, nn.BatchNorm2d, (7, 9)), (nn.Conv3d, nn.BatchNorm3d, (6, 7, 5))):
        if conv is nn.Conv3d and isinstance(options["kernel_size"], tuple):
            continue
        layers = [conv(6, 12, bias=bias, **options), filled(norm(12, eps=1e-3)), nn.ReLU()]
        x = torch.randn(2, 6, *size)
        for count in (1, 2, 3):
            model = nn.Sequential(*layers[:count]).eval()
            expected = model(x)
            placed = place(nn.Sequential(*layers[:count]), CPU)
            assert [type(layer) for layer in placed] == [PackedConv, nn.Identity, nn.Identity][:count]
            torch.testing.assert_close(placed(x), expected, rtol=1e-5, atol=1e-5)


def test_padding_of_tensorflow():
    torch.manual_seed(0)
    for size, kernel, stride in ((8, 3, 2), (9, 3, 2), (8, 5, 2), (7, 3, 1), (5, 1, 2)):
        layer, x = SameConv2d(3, 4, kernel, stride), torch.randn(1, 3, size, size + 1)
        expected = layer(x)
        assert expected.shape[2:] == (-(-size // stride), -(-(size + 1) // stride))
        torch.testing.assert_close(place(nn.Sequential(layer), CPU)(x), expected, rtol=1e-5, atol=1e-5)


def test_a_normalisation_that_follows_no_convolution_stays():
    model = nn.Sequential(nn.ReLU(), filled(nn.BatchNorm2d(3)), nn.Conv2d(3, 3, 1), nn.MaxPool2d(2))
    kinds = [type(layer) for layer in place(model, CPU)]
    assert kinds == [nn.ReLU, nn.BatchNorm2d, PackedConv, nn.MaxPool2d]


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="needs a C++ compiler")
def test_packed_layers_run_within_a_compiled_network():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Linear(4, 2))
    network, x = place(network.eval(), CPU), torch.randn(2, 3, 6, 6)
    with torch.inference_mode():
        expected = network(x)
        compile_network(network)
        torch.testing.assert_close(network(x), expected)
