"""What compiled updates compute in place of the library's functions."""

from __future__ import annotations

import torch

from serl_rt.learner.tracing import DECOMPOSITIONS


def test_tanh_is_right_in_float32() -> None:
    tanh = DECOMPOSITIONS[torch.ops.aten.tanh.default]
    positive = torch.cat([torch.logspace(-30, 2, 200_001), torch.linspace(0.0, 12.0, 200_001)])
    x = torch.cat([positive, -positive])
    y, expected = tanh(x), torch.tanh(x.double())
    assert ((y.double() - expected).abs() <= 4e-7 * expected.abs()).all()
    assert (y.abs() <= 1.0).all()
    assert torch.equal(tanh(-x), -y)
    edges = tanh(torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0]))
    assert (edges[:2] - torch.tensor([1.0, -1.0])).abs().max() < 3e-7
    assert edges[2].isnan()
    assert edges[3] == 0.0


def test_tanh_of_half_precision_is_rounded_once() -> None:
    tanh = DECOMPOSITIONS[torch.ops.aten.tanh.default]
    x = torch.linspace(-10.0, 10.0, 10_001).bfloat16()
    y = tanh(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, torch.tanh(x.float()).bfloat16(), rtol=2.0**-8, atol=0.0)
