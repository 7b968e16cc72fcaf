"""The loss in blocks of rows against the plain one: the same value and the same gradients."""

from __future__ import annotations

import pytest
import torch
from small import tiny_config, tiny_model
from torch.nn import functional as F

from engine.training import objective
from engine.training.objective import IGNORED, Objective, linear_cross_entropy


def plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(F.linear(x, weight, bias).float(), targets, reduction="sum")


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, rows: int, with_bias: bool) -> None:
    monkeypatch.setattr(objective, "WORKSPACE_BYTES", rows * 4 * 50)
    torch.manual_seed(0)
    values = [torch.randn(23, 8) * 3, torch.randn(50, 8) * 2, torch.randn(50)]
    targets = torch.randint(0, 50, (23,))
    results = []
    for loss in (linear_cross_entropy, plain):
        x, weight, bias = (value.clone().requires_grad_() for value in values)
        total = loss(x, weight, bias if with_bias else None, targets)
        (total * 0.25).backward()
        results.append((total.detach(), x.grad, weight.grad, bias.grad))
    for ours, wanted in zip(*results, strict=True):
        assert (ours is None) == (wanted is None)
        if ours is not None:
            torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)


def test_very_unlikely_targets_have_a_finite_loss() -> None:
    x, weight = torch.tensor([[1.0]]), torch.tensor([[0.0], [400.0]])
    assert float(linear_cross_entropy(x, weight, None, torch.tensor([0]))) == 400.0


def test_under_autocast_it_is_as_near_as_the_plain_loss() -> None:
    torch.manual_seed(0)
    x, weight, targets = torch.randn(64, 32), torch.randn(500, 32) * 0.3, torch.randint(0, 500, (64,))
    exact = plain(x, weight, None, targets)
    x16, weight16 = x.clone().requires_grad_(), weight.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(x16, weight16, None, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=2e-3, atol=0.0)
    x32, weight32 = x.clone().requires_grad_(), weight.clone().requires_grad_()
    plain(x32, weight32, None, targets).backward()
    for ours, wanted in ((x16.grad, x32.grad), (weight16.grad, weight32.grad)):
        assert ours is not None and wanted is not None
        assert float((ours - wanted).norm() / wanted.norm()) < 0.01


@pytest.mark.parametrize("shape", ["rope", "learned, exact gelu, own head"])
def test_the_objective_is_the_loss_of_the_network(shape: str) -> None:
    """Tied and untied heads, positions without a loss left out, and the gradient of every parameter."""
    torch.manual_seed(0)
    config = tiny_config(shape)
    inputs, targets = torch.randint(0, config.vocab_size, (3, 12)), torch.randint(0, config.vocab_size, (3, 12))
    targets[0, :5] = IGNORED
    targets[2, 3:] = IGNORED
    gradients = []
    for kind in ("ours", "plain"):
        network = tiny_model(config, spread=2.0).requires_grad_(True)
        if kind == "ours":
            loss = Objective(network)(inputs, targets, 0.5)
        else:
            loss = 0.5 * F.cross_entropy(network(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        loss.backward()
        gradients.append((loss.detach(), {name: p.grad for name, p in network.named_parameters()}))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert gradients[0][1].keys() == gradients[1][1].keys()
    for name, gradient in gradients[0][1].items():
        torch.testing.assert_close(gradient, gradients[1][1][name], rtol=1e-4, atol=1e-6, msg=name)


def test_a_batch_without_targets_has_gradients_of_zero() -> None:
    network = tiny_model(tiny_config("rope")).requires_grad_(True)
    loss = Objective(network)(torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1), IGNORED))
    loss.backward()
    assert float(loss.detach()) == 0 and all(float(p.grad.abs().max()) == 0 for p in network.parameters() if p.grad is not None)
