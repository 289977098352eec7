"""Optimizers: the schedule, clipping, weight decay and continuing."""

import pytest
import torch

from serl_rt.learner.optim import OptimizerConfig, clip_by_global_norm, make_optimizer


def test_warm_up_rises_from_zero_and_cosine_falls_to_zero() -> None:
    config = OptimizerConfig(1.0, warmup_steps=4, cosine_decay_steps=12)
    assert [config.rate(i) for i in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert config.rate(8) == pytest.approx(0.5)
    assert config.rate(12) == pytest.approx(0.0)
    assert config.rate(1000) == pytest.approx(0.0)
    assert OptimizerConfig(0.1).rate(10**6) == 0.1


def test_a_decay_inside_the_warm_up_is_refused() -> None:
    with pytest.raises(ValueError, match="cosine_decay_steps = 5: must be greater than"):
        OptimizerConfig(warmup_steps=5, cosine_decay_steps=5)


def test_agrees_with_torch_adam() -> None:
    torch.manual_seed(0)
    a = torch.randn(5, 3, requires_grad=True)
    b = a.detach().clone().requires_grad_()
    mine, theirs = make_optimizer([a], 1e-2), torch.optim.Adam([b], 1e-2)
    for _ in range(20):
        gradient = torch.randn(5, 3)
        mine.step([gradient])
        b.grad = gradient.clone()
        theirs.step()
    torch.testing.assert_close(a, b)


def test_clipping_scales_all_gradients_together() -> None:
    gradients = [torch.full((4,), 3.0), torch.full((4,), 4.0)]  # joint norm 10
    clipped = clip_by_global_norm(gradients, 1.0)
    torch.testing.assert_close(clipped[0], torch.full((4,), 0.3))
    torch.testing.assert_close(clipped[1], torch.full((4,), 0.4))
    small = clip_by_global_norm(gradients, 11.0)
    torch.testing.assert_close(small[0], gradients[0])
    zeros = clip_by_global_norm([torch.zeros(3)], 1.0)
    assert torch.equal(zeros[0], torch.zeros(3))


def test_weight_decay_acts_on_the_parameter_alone() -> None:
    p = torch.tensor([2.0], requires_grad=True)
    make_optimizer([p], 0.1, weight_decay=0.5).step([torch.zeros(1)])
    assert p.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5))


def test_a_zero_step_moves_by_momentum() -> None:
    p = torch.zeros(1, requires_grad=True)
    optimizer = make_optimizer([p], 0.1)
    optimizer.step([torch.ones(1)])
    before = p.item()
    optimizer.zero_step()
    assert p.item() < before
    assert optimizer.count == 2


def test_frozen_parameters_are_left_alone() -> None:
    frozen, free = torch.zeros(1), torch.zeros(1, requires_grad=True)
    assert make_optimizer([frozen, free]).parameters == [free]
