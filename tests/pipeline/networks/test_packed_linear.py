"""Linear layers packed for oneDNN do what `torch.nn.Linear` does."""

import pytest
import torch
from torch import nn

from pipeline.networks import packed as packing
from pipeline.networks.packed import PackedLinear, can_pack, place

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(7,), (1, 7), (3, 5, 7), (0, 7)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_it_is_the_same_layer(shape, bias, activation):
    torch.manual_seed(0)
    layer, x = nn.Linear(7, 11, bias=bias), torch.randn(shape)
    packed = place(PackedLinear.of(layer, activation), CPU)
    expected = layer(x) if activation == "none" else nn.functional.gelu(layer(x))
    torch.testing.assert_close(packed(x), expected, rtol=1e-5, atol=1e-6)


def test_every_layer_of_a_model_is_packed_and_nothing_else_changes():
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 2)), nn.Linear(2, 2))
    x = torch.randn(5, 4)
    expected = model(x)
    placed = place(model, CPU)
    kinds = [type(layer) for layer in placed.modules() if not list(layer.children())]
    assert kinds == [PackedLinear, nn.GELU, nn.LayerNorm, PackedLinear, PackedLinear]
    assert not any(layer.training for layer in placed.modules())
    torch.testing.assert_close(placed(x), expected, rtol=1e-5, atol=1e-6)
    again = placed(x)
    assert torch.equal(place(placed, CPU)(x), again)


def test_what_cannot_be_packed_stays_usable():
    layer = nn.Linear(4, 8).bfloat16()
    x = torch.randn(5, 4, dtype=torch.bfloat16)
    assert can_pack() and not can_pack(torch.bfloat16)
    assert torch.equal(place(PackedLinear.of(layer), CPU)(x), layer(x))


def test_a_layer_with_other_hooks_is_left_alone():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = nn.Sequential(Doubled(3, 3))
    assert type(place(model, CPU)[0]) is Doubled


def test_a_compiled_network_leaves_packed_layers_out_of_its_graphs(monkeypatch):
    for name in ("_multiplied", "_convolved"):
        monkeypatch.setattr(packing, name, getattr(packing, name))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x):
            return nn.functional.gelu(self.layer(x * 2))

    network = place(Network(), CPU)
    x, graphs = torch.randn(3, 8), []

    def backend(graph, _):
        graphs.append(graph.code)
        return graph.forward

    with torch.inference_mode():
        expected = network(x)
        packing.compile_network(network, backend=backend)
        assert torch.equal(network(x), expected)
    assert any("gelu" in code for code in graphs) and not any("_linear_pointwise" in code for code in graphs)
