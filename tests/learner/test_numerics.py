"""Precision and accumulation: the same update in other numbers, and what is refused."""

import pytest
import torch
from test_sac import FixedDraws, make_agent, random_batch

from serl_rt.learner.data.batch import slice_batch
from serl_rt.learner.numerics import Numerics, set_matmul_precision


def test_accumulated_gradients_are_the_mean_over_the_parts() -> None:
    whole, parts = make_agent(), make_agent()
    parts.numerics = Numerics(accumulation=4)
    batch = random_batch(16)
    for name in ("critic", "actor", "temperature"):
        whole.draws = parts.draws = FixedDraws()
        expected = None
        for start in range(0, 16, 4):
            loss, _ = whole.losses()[name](slice_batch(batch, start, start + 4))
            gradients = whole.state.gradients(name, loss)
            expected = expected or [torch.zeros_like(g) for g in gradients]
            expected = [a + g / 4 for a, g in zip(expected, gradients, strict=True)]
        assert expected is not None
        actual, info = parts.numerics.gradients(
            parts.losses()[name], batch, lambda loss, n=name: parts.state.gradients(n, loss)
        )
        torch.testing.assert_close(actual, expected)
        assert torch.isfinite(torch.as_tensor(info[f"{name}_loss"]))


def test_what_does_not_depend_on_the_order_of_draws_is_the_same_in_parts() -> None:
    """With masks of zero the critic's target is the reward: no draw matters."""
    whole, parts = make_agent(), make_agent()
    parts.numerics = Numerics(accumulation=2)
    batch = random_batch(16)._replace(masks=torch.zeros(16))
    whole.update_critics(batch)
    parts.update_critics(batch)
    for a, b in zip(whole.critic.parameters(), parts.critic.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_parts_must_divide_the_batch() -> None:
    agent = make_agent()
    agent.numerics = Numerics(accumulation=3)
    with pytest.raises(
        ValueError, match="gradient_accumulation = 3 does not divide the batch of 8"
    ):
        agent.update(random_batch(8))


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.1), ("float16", 0.02)])
def test_sixteen_bits_compute_nearly_the_same(precision: str, tolerance: float) -> None:
    exact, rough = make_agent(), make_agent()
    rough.numerics = Numerics(precision)
    exact.draws = rough.draws = FixedDraws()
    batch = random_batch(32)
    infos = [agent.update(batch)[1] for agent in (exact, rough)]
    for name, value in infos[0].items():
        assert float(infos[1][name]) == pytest.approx(float(value), rel=tolerance, abs=tolerance)
    changed = False
    for a, b in zip(exact.actor.parameters(), rough.actor.parameters(), strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0, atol=7e-4)  # Adam's first step is the rate's sign
        changed |= not torch.equal(a, b)
    assert changed, "the precision had no effect"


def test_last_layers_stay_in_float32() -> None:
    agent = make_agent()
    with torch.autocast("cpu", torch.bfloat16):
        mean, std = agent.actor.mean_and_std(random_batch().observations)
        qs = agent.critic(random_batch().observations, random_batch().actions)
    assert mean.dtype == std.dtype == qs.dtype == torch.float32


def test_an_overflow_skips_the_update_and_halves_the_scale() -> None:
    agent = make_agent()
    agent.numerics = Numerics("float16")
    before = {name: p.clone() for name, p in agent.state.networks.named_parameters()}
    agent.numerics.scale = 1e38  # the scaled loss itself overflows
    batch = random_batch()._replace(rewards=torch.full((8,), 100.0))
    agent.update(batch)
    assert agent.numerics.skipped == 1
    assert agent.numerics.scale == 0.5e38
    assert agent.state.optimizers["critic"].count == 0
    for name, parameter in agent.state.networks.named_parameters():
        assert torch.equal(parameter, before[name]), name
    agent.numerics.scale = 256.0
    agent.update(random_batch())
    assert agent.numerics.skipped == 1
    assert agent.state.optimizers["critic"].count == 1


def test_settings_outside_of_the_choice_are_named() -> None:
    with pytest.raises(ValueError, match="precision 'int8': choose float32, bfloat16, float16"):
        Numerics("int8")
    with pytest.raises(ValueError, match="accumulation = 0"):
        Numerics(accumulation=0)
    with pytest.raises(ValueError, match="choose highest, high, medium"):
        set_matmul_precision("low")
