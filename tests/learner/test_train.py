"""The training loop with a controller of a few lines in the same process."""

import json
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from point_mass import PointMass

from serl_rt.export.contract import Contract, ObservationField, TcpDelta
from serl_rt.export.publish import PolicyFile
from serl_rt.export.verify import OnnxPolicy
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.checkpoint import CheckpointError, CheckpointFolder, load_checkpoint
from serl_rt.learner.data.intake import Intake
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import STATE, TransitionDecoder
from serl_rt.learner.metrics import JsonLinesSink, read_metrics
from serl_rt.learner.pacing import Pacing, SuccessWindow
from serl_rt.learner.policy_export import make_exporter
from serl_rt.learner.recipe import (
    AgentRecipe,
    NetworkRecipe,
    OptimizerRecipe,
    PolicyRecipe,
    Recipe,
    TrainingRecipe,
)
from serl_rt.learner.run_folder import identity
from serl_rt.learner.train import Trainer
from serl_rt.learner.update_step import NonFiniteLossError, UpdateStep

CONTRACT = Contract(
    name="point",
    policy_rate_hz=10.0,
    workspace_low=(-1.0, -1.0, -1.0),
    workspace_high=(1.0, 1.0, 1.0),
    observation=(
        ObservationField("offset", (2,), "m", "base", (-2.0, -2.0), (2.0, 2.0)),
        ObservationField("speed", (2,), "m/s", "base", (-0.5, -0.5), (0.5, 0.5)),
    ),
    action=(TcpDelta(shape=(3,), scale=(1.0, 1.0, 1.0)),),
)
FAST = OptimizerRecipe(learning_rate=1e-3)
SMALL = {"hidden_dims": (64, 64), "activations": "relu"}


def make_recipe(**training: Any) -> Recipe:
    defaults = {
        "batch_size": 64,
        "start_training": 60,
        "max_env_steps": 200,
        "publish_period": 50,
        "checkpoint_period": 50,
        "log_period": 20,
        "credit_slack": 10,
    }
    return Recipe(
        name="test",
        agent=AgentRecipe(discount=0.9),
        critic=NetworkRecipe(**SMALL),
        policy=PolicyRecipe(**SMALL),
        critic_optimizer=FAST,
        actor_optimizer=FAST,
        temperature_optimizer=FAST,
        training=TrainingRecipe(**(defaults | training)),
    )


class Message(NamedTuple):
    run_id: str
    columns: dict[str, NDArray[Any]]


class FakeController:
    """A link whose other end is a lockstep controller that runs in `drain` and `wait`."""

    def __init__(self, evaluate_every: int = 0, stop: threading.Event | None = None) -> None:
        self.environment = PointMass(seed=5)
        self.noise = np.random.default_rng(6)
        self.evaluate_every = evaluate_every
        self.stop = stop
        self.allowed = 0
        self.sent = 0
        self.idle = 0
        self.episode = 0
        self.policies: list[PolicyFile] = []
        self.policy: OnnxPolicy | None = None
        self.log: list[Message] = []
        self.leads: deque[int] = deque()

    def grant(self, total: int) -> None:
        assert total >= self.allowed, "credit is never taken back"
        self.allowed = total

    def publish(self, policy: PolicyFile) -> None:
        self.policies.append(policy)
        self.policy = OnnxPolicy(policy.model, CONTRACT)

    def policy_verdicts(self) -> list[Any]:
        return []

    def drain(self) -> Iterable[Message]:
        # Two steps at a time, so that messages end in the middle of episodes.
        for _ in range(min(2, self.allowed - self.sent)):
            self.log.append(self._step())
            self.sent += 1
            yield self.log[-1]

    def wait(self, timeout: float) -> bool:
        self.idle = 0 if self.sent < self.allowed else self.idle + 1
        assert self.idle < 10, "the learner waits for a controller without credit"
        return self.idle == 0

    def _step(self) -> Message:
        evaluation = bool(self.evaluate_every) and self.episode % self.evaluate_every == 0
        before = self.environment.state()
        noise = np.zeros((1, 3), np.float32)
        if not evaluation:
            noise = self.noise.standard_normal((1, 3)).astype(np.float32)
        assert self.policy is not None, "a policy is published before anything is asked for"
        action = self.policy.act({"offset": before[None, :2], "speed": before[None, 2:]}, noise)
        after, reward, truncated, success = self.environment.step(action[0, :2])
        message = Message(
            "a" * 32,
            {
                "observation/offset": before[None, :2],
                "observation/speed": before[None, 2:],
                "next_observation/offset": after[None, :2],
                "next_observation/speed": after[None, 2:],
                "action": action,
                "reward": np.array([reward], np.float32),
                "terminated": np.array([0], np.uint8),
                "truncated": np.array([truncated], np.uint8),
                "success": np.array([success], np.uint8),
                "intervention": np.array([0], np.uint8),
                "grasp_penalty": np.array([0], np.float32),
                "evaluation": np.array([evaluation], np.uint8),
                "episode": np.array([self.episode], np.uint32),
                "step": np.array([0], np.uint32),
                "policy_version": np.array([self.policies[-1].version], np.uint64),
                "time_ns": np.array([0], np.int64),
            },
        )
        if truncated:
            self.environment.reset()
            self.episode += 1
        return message


class Silent:
    def show(self, *_: object) -> None:
        pass


def make_trainer(
    recipe: Recipe, link: FakeController, folder: Path, window: SuccessWindow | None = None
) -> Trainer:
    agent = build_agent(recipe, CONTRACT, seed=0)
    spec = {STATE: ((CONTRACT.observation_dim,), torch.float32)}
    replay = ReplayBuffer(10_000, spec, CONTRACT.action_dim)
    folder.mkdir(exist_ok=True)
    sampling = torch.Generator().manual_seed(1)
    batch = recipe.training.batch_size
    ratio = recipe.training.critic_actor_ratio
    return Trainer(
        step=UpdateStep(
            agent, replay, sampling, batch, ratio, suspect=folder / "nonfinite_batch.npz"
        ),
        intake=Intake(TransitionDecoder(CONTRACT), replay),
        link=link,
        exporter=make_exporter(agent, CONTRACT, recipe.name),
        recipe=recipe.training,
        window=window or SuccessWindow(0, 1.0),
        checkpoints=CheckpointFolder(folder / "checkpoints"),
        metrics=JsonLinesSink(folder / "metrics.jsonl"),
        display=Silent(),
        folder=folder,
        identity=identity(recipe, CONTRACT.contract_id, 0),
    )


def test_updates_follow_transitions_at_the_ratio(tmp_path: Path) -> None:
    link = FakeController()
    trainer = make_trainer(make_recipe(utd_ratio=2.0), link, tmp_path)
    assert trainer.run(threading.Event()) == "max_env_steps"
    progress = trainer.progress
    assert progress.env_steps == 200 == link.sent
    assert progress.updates == 2 * (200 - 60)
    assert len(trainer.intake.replay) == 200
    versions = [policy.version for policy in link.policies]
    assert versions == list(range(1, len(versions) + 1))
    assert [policy.training_step for policy in link.policies] == [0, 50, 100, 150, 200, 250, 280]


@pytest.mark.parametrize(("utd_ratio", "critic_actor_ratio"), [(0.5, 1), (1.0, 4), (4.0, 4)])
def test_no_ratio_deadlocks(tmp_path: Path, utd_ratio: float, critic_actor_ratio: int) -> None:
    recipe = make_recipe(utd_ratio=utd_ratio, critic_actor_ratio=critic_actor_ratio, credit_slack=0)
    trainer = make_trainer(recipe, FakeController(evaluate_every=3), tmp_path)
    assert trainer.run(threading.Event()) == "max_env_steps"
    due = (200 - 60) * utd_ratio
    assert due - critic_actor_ratio < trainer.progress.updates <= due


def test_evaluation_episodes_are_counted_but_not_learned_from(tmp_path: Path) -> None:
    link = FakeController(evaluate_every=2)
    trainer = make_trainer(make_recipe(), link, tmp_path)
    trainer.run(threading.Event())
    evaluation = sum(int(message.columns["evaluation"][0]) for message in link.log)
    assert trainer.progress.evaluation_steps == evaluation > 0
    assert len(trainer.intake.replay) == trainer.progress.env_steps == link.sent - evaluation
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert sum(row["kind"] == "evaluation" for row in rows) == trainer.progress.evaluation_episodes
    assert all(row["length"] == 20 for row in rows if row["kind"] in ("episode", "evaluation"))


def test_learns_through_exported_policies_and_stops_at_success(tmp_path: Path) -> None:
    link = FakeController(evaluate_every=3)
    window = SuccessWindow(episodes=10, rate=0.9)
    trainer = make_trainer(make_recipe(max_env_steps=5000), link, tmp_path, window)
    assert trainer.run(threading.Event()) == "success"
    assert trainer.progress.env_steps < 5000
    assert window.success_rate >= 0.9


class StopAt:
    """A display that asks for a stop after so many updates."""

    def __init__(self, stop: threading.Event, updates: int) -> None:
        self.stop, self.updates = stop, updates

    def show(self, progress: Any, *_: object) -> None:
        if progress.updates >= self.updates:
            self.stop.set()


def test_resuming_restores_everything_to_the_bit(tmp_path: Path) -> None:
    stop = threading.Event()
    link = FakeController()
    first = make_trainer(make_recipe(), link, tmp_path / "b")
    first.display = StopAt(stop, 70)
    assert first.run(stop) == "interrupted"
    assert first.progress.updates == 70

    second = make_trainer(make_recipe(), FakeController(), tmp_path / "b")
    second.receive(link.log, report=False)
    path = second.checkpoints.latest()
    assert path is not None
    header, arrays = load_checkpoint(path, second.identity)
    second.restore(header, arrays)
    assert second.progress.updates == 70
    assert second.progress.env_steps == first.progress.env_steps
    for name, array in first.agent.state.arrays().items():
        assert np.array_equal(second.agent.state.arrays()[name], array), name

    # Stopping publishes, and so does starting: other policies act, and the experience differs from
    # here on. On the same experience, learning is the same to the bit.
    for trainer in (first, second):
        for _ in range(5):
            trainer.update()
    for name, array in first.agent.state.arrays().items():
        assert np.array_equal(second.agent.state.arrays()[name], array), name


def test_same_seeds_same_training(tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        trainer = make_trainer(make_recipe(), FakeController(), tmp_path / name)
        trainer.run(threading.Event())
        results.append(trainer.agent.state.arrays())
    for name, array in results[0].items():
        assert np.array_equal(results[1][name], array), name


def test_a_loss_that_is_not_finite_stops_with_its_batch(tmp_path: Path) -> None:
    trainer = make_trainer(make_recipe(), FakeController(), tmp_path)
    update = trainer.agent.update

    def poisoned(batch: Any, *arguments: Any) -> Any:
        if trainer.progress.updates == 60:
            batch = batch._replace(rewards=batch.rewards * float("inf"))
        return update(batch, *arguments)

    trainer.agent.update = poisoned  # type: ignore[method-assign]
    with pytest.raises(NonFiniteLossError, match="critic_loss is .* at update 61; its batch is in"):
        trainer.run(threading.Event())
    with np.load(tmp_path / "nonfinite_batch.npz") as batch:
        assert batch["rewards"].shape == (64,)
    good = trainer.checkpoints.latest()
    assert good is not None
    _, arrays = load_checkpoint(good, trainer.identity)
    assert good.stem == "0000000050"
    assert all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f")


def test_transitions_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    link = FakeController()
    trainer = make_trainer(make_recipe(), link, tmp_path)
    trainer.publish()
    trainer.grant()
    (message, *_) = link.drain()
    broken = message.columns | {"reward": np.array([np.nan], np.float32)}
    with pytest.raises(ValueError, match="column reward: not finite in row 0"):
        trainer.receive([Message("a" * 32, broken)])
    missing = {k: v for k, v in message.columns.items() if k != "next_observation/speed"}
    with pytest.raises(ValueError, match="column next_observation/speed is missing"):
        trainer.receive([Message("a" * 32, missing)])


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(make_recipe(), FakeController(), tmp_path)
    path = trainer.save()
    other = identity(make_recipe(batch_size=32), CONTRACT.contract_id, 0)
    with pytest.raises(CheckpointError, match="recipe_sha256"):
        load_checkpoint(path, other)


def test_pacing_and_credit_fit_together() -> None:
    for ratio in (0.25, 0.3, 1.0, 3.0, 8.0):
        for step in (1, 4):
            pacing = Pacing(ratio, start_training=100, slack=0, step=step)
            for updates in range(0, 500, step):
                allowed = pacing.transitions_allowed(updates)
                assert pacing.updates_due(allowed) >= updates + step
                assert pacing.updates_due(allowed - 1) < updates + step


def test_success_needs_a_full_window() -> None:
    window = SuccessWindow(episodes=4, rate=0.75)
    for outcome, reached in zip(
        [True, True, True, False, False, True, True, True],
        [False, False, False, True, False, False, False, True],
        strict=True,
    ):
        window.add(outcome)
        assert window.reached() == reached
    assert not SuccessWindow(episodes=0, rate=0.0).reached()


def test_metrics_are_readable_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sink = JsonLinesSink(path)
    sink.write("update", 3, {"critic_loss": 0.5, "updates": 7})
    path.write_text(path.read_text() + '{"kind": "upd')
    assert read_metrics(path) == [
        {"kind": "update", "env_steps": 3, "critic_loss": 0.5, "updates": 7}
    ]
    assert json.loads(path.read_text().splitlines()[0])["updates"] == 7
