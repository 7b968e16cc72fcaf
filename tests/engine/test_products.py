"""The faster float32 products against torch's own: the same values and gradients, and nothing else changed."""

from __future__ import annotations

import pytest
import torch
from small import tiny_config, tiny_model
from torch import nn

from engine.training import products
from engine.training.products import FastLinear, speed_up, times

needs_operator = pytest.mark.skipif(not products.available(), reason="this processor gains nothing from oneDNN's products")


@needs_operator
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 3, 5), (7, 16, 33), (64, 384, 100)])
def test_a_product_is_torchs_own(shape: tuple[int, int, int], bias: bool) -> None:
    torch.manual_seed(0)
    m, k, n = shape
    a, b, c = torch.randn(m, k), torch.randn(n, k), torch.randn(n) if bias else None
    torch.testing.assert_close(times(a, b, c), nn.functional.linear(a, b, c), rtol=1e-5, atol=1e-4)
    turned = torch.randn(k, n).T  # a view that is not contiguous
    torch.testing.assert_close(times(a, turned), a @ turned.T, rtol=1e-5, atol=1e-4)


@needs_operator
def test_a_network_learns_the_same_with_them() -> None:
    ids = torch.randint(0, 300, (2, 12))
    gradients = []
    for fast in (False, True):
        network = tiny_model(tiny_config("learned, exact gelu, own head"), spread=3.0).requires_grad_(True)
        names = [name for name, _ in network.named_parameters()]
        if fast:
            speed_up(network)
            assert any(isinstance(module, FastLinear) for module in network.modules())
        assert [name for name, _ in network.named_parameters()] == names
        (network(ids) ** 2).mean().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_without_the_operator_all_is_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "available", lambda: False)
    network = tiny_model(tiny_config("rope"))
    speed_up(network)
    assert not any(isinstance(module, FastLinear) for module in network.modules())
    a, b = torch.randn(3, 4), torch.randn(5, 4)
    assert torch.equal(times(a, b), nn.functional.linear(a, b))


def test_bfloat16_and_autocast_are_left_to_torch() -> None:
    layer = FastLinear(4, 3)
    x = torch.randn(2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.to(torch.bfloat16)(x.bfloat16()).dtype == torch.bfloat16
