"""Compiled updates: the same numbers as eager ones, and eager where they cannot be had."""

import logging

import pytest
import torch

from serl_rt.learner import compile as compiling
from serl_rt.learner.agents.high_utd import mean_and_std
from serl_rt.learner.agents.sac import SACAgent
from serl_rt.learner.compile import CompiledUpdates, ParityError
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.numerics import Numerics
from serl_rt.learner.optim import OptimizerConfig


def make_agent(**settings: object) -> SACAgent:
    network = {"hidden_dims": (16, 16)}
    return SACAgent.create_states(
        {"state": torch.zeros(1, 5)},
        torch.zeros(1, 2),
        critic_network_kwargs=network,
        policy_network_kwargs=network,
        critic_ensemble_size=4,
        critic_subsample_size=2,
        optimizers={"critic": OptimizerConfig(1e-3, 3, 50, 0.01, 1.0)},
        **settings,
    )


def random_batch(size: int, seed: int) -> Batch:
    g = torch.Generator().manual_seed(seed)
    return Batch(
        observations={"state": torch.randn(size, 5, generator=g)},
        actions=torch.rand(size, 2, generator=g) * 2 - 1,
        next_observations={"state": torch.randn(size, 5, generator=g)},
        rewards=torch.randn(size, generator=g),
        masks=(torch.rand(size, generator=g) > 0.3).float(),
        demonstrations=torch.ones(size),
    )


@pytest.mark.parametrize("utd_ratio", [1, 2])
def test_traced_updates_follow_eager_ones(utd_ratio: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled, run operation by operation."""
    monkeypatch.setattr(compiling, "inductor", lambda graph, _: graph)
    compare_with_eager(utd_ratio)


@pytest.mark.parametrize(("cached_rows", "piece"), [(16, 8), (4 * 16, 16), (4 * 31, 16)])
def test_a_batch_in_pieces_gives_the_same_update(
    cached_rows: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four critics and 32 rows: one part of 8 rows goes through at once, or two."""
    monkeypatch.setattr(compiling, "inductor", lambda graph, _: graph)
    monkeypatch.setattr(compiling, "CACHED_ROWS", cached_rows)
    agent = compare_with_eager(4, part_size=8, bc_weight=0.0)
    assert isinstance(agent.compiled, CompiledUpdates)
    assert agent.compiled._piece_size(random_batch(32, 0)) == piece


def test_bfloat16_is_compared_by_its_own_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler keeps in float32 what eager operations round in between."""
    monkeypatch.setattr(compiling, "inductor", rounding_otherwise)
    agent = make_agent()
    agent.numerics = Numerics("bfloat16")
    agent.compiled = CompiledUpdates(agent, required=True)
    agent.update(random_batch(32, 0))
    single = make_agent()
    single.compiled = CompiledUpdates(single, required=True)
    with pytest.raises(ParityError, match="differs by"):
        single.update(random_batch(32, 0))


def rounding_otherwise(graph: torch.fx.GraphModule, _: object) -> object:
    """Run the graph on a batch that is off by about what bfloat16 rounds."""

    def function(*tensors: torch.Tensor) -> object:
        return graph(*[t * (1 + 2.0**-9) if t.shape[:1] == (32,) else t for t in tensors])

    return function


@pytest.mark.slow
def test_compiled_updates_follow_eager_ones() -> None:
    compare_with_eager(2)


def compare_with_eager(
    utd_ratio: int, part_size: int | None = None, bc_weight: float = 0.1
) -> SACAgent:
    """Return the agent whose updates were compiled."""
    eager, compiled = make_agent(bc_weight=bc_weight), make_agent(bc_weight=bc_weight)
    compiled.compiled = CompiledUpdates(compiled, part_size=part_size, required=True)
    for seed in range(6):
        batch = random_batch(32, seed)
        infos = []
        for agent in (eager, compiled):
            if utd_ratio == 1:
                infos.append(agent.update(batch)[1])
            else:
                infos.append(agent.update_high_utd(batch, utd_ratio=utd_ratio)[1])
        assert infos[0].keys() == infos[1].keys()
        for name, value in infos[0].items():
            assert float(infos[1][name]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
    ours, theirs = compiled.state.arrays(), eager.state.arrays()
    for name, array in theirs.items():
        if array.dtype.kind == "f":
            torch.testing.assert_close(
                torch.from_numpy(ours[name]), torch.from_numpy(array), rtol=1e-4, atol=2e-5
            )
        else:  # counters and the generator: the same draws were made
            assert (ours[name] == array).all(), name
    return compiled


def test_what_does_not_compile_stays_eager(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(compiling, "inductor", fail)
    eager, agent = make_agent(), make_agent()
    agent.compiled = CompiledUpdates(agent)
    with caplog.at_level(logging.WARNING):
        agent.update(random_batch(8, 0))
    assert "updates stay eager: compiling them failed: no compiler here" in caplog.text
    eager.update(random_batch(8, 0))
    for name, array in eager.state.arrays().items():
        assert (agent.state.arrays()[name] == array).all(), name
    strict = make_agent()
    strict.compiled = CompiledUpdates(strict, required=True)
    with pytest.raises(RuntimeError, match="no compiler here"):
        strict.update(random_batch(8, 0))


def test_a_wrong_compilation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def miscompile(graph: torch.fx.GraphModule, _: object) -> object:
        def function(*tensors: torch.Tensor) -> object:
            result = graph(*tensors)
            for tensor in tensors:
                if tensor.is_floating_point() and tensor.ndim == 3:
                    tensor.add_(1e-3)
            return result

        return function

    monkeypatch.setattr(compiling, "inductor", miscompile)
    agent = make_agent()
    agent.compiled = CompiledUpdates(agent, required=True)
    with pytest.raises(ParityError, match="critic differs by"):
        agent.update(random_batch(8, 0))


def test_a_wrongly_compiled_policy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def miscompile(graph: torch.fx.GraphModule, _: object) -> object:
        return lambda *tensors: {k: v * 1.001 for k, v in graph(*tensors).items()}

    monkeypatch.setattr(compiling, "inductor", miscompile)
    agent, batch = make_agent(), random_batch(8, 0)
    agent.compiled = CompiledUpdates(agent, part_size=4, required=True)
    with pytest.raises(ParityError, match="the policy differs by"):
        agent.update_high_utd(batch, utd_ratio=2)
    tolerant = make_agent()
    tolerant.compiled = CompiledUpdates(tolerant, part_size=4)
    expected = mean_and_std(tolerant, batch.next_observations)
    assert torch.equal(tolerant.compiled.policy(batch.next_observations), expected)


def test_agents_that_cannot_be_compiled_say_why() -> None:
    network = {"hidden_dims": (8,), "dropout_rate": 0.1}
    dropping = SACAgent.create_states(
        torch.zeros(1, 3), torch.zeros(1, 2), policy_network_kwargs=network
    )
    with pytest.raises(ValueError, match="dropout"):
        CompiledUpdates(dropping)
    with pytest.raises(ValueError, match="unused optimizers"):
        CompiledUpdates(make_agent(step_unused_optimizers=True))
