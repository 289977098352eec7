"""Several ranks compute what one process does on the joint batch, and end together."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from test_hybrid import make_agent as make_hybrid_agent
from test_sac import make_agent, random_batch
from wire_controller import TASK, WireController

from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.agents.build import build_agent
from serl_rt.learner.agents.hybrid import HybridAgent
from serl_rt.learner.agents.sac import SACAgent
from serl_rt.learner.assemble import SEED_STRIDE, check_ranks
from serl_rt.learner.checkpoint import CheckpointError, load_checkpoint
from serl_rt.learner.data.batch import Batch, concat_batches, slice_batch
from serl_rt.learner.data.intake import Intake, Share
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.data.transitions import TransitionDecoder, observation_spec
from serl_rt.learner.distributed import RankDraws, RankLost, Ranks, join
from serl_rt.learner.recipe import AgentRecipe, Recipe, TrainingRecipe, load_recipe
from serl_rt.learner.run import main

TOLERANCE = 1e-5
"""Largest difference of a parameter: float32 sums in another order, after all updates of a test."""
SIZE = 2
DEADLINE_S = 120.0


# --- one update -----------------------------------------------------------------------------------


def agent_of(kind: str) -> SACAgent | HybridAgent:
    if kind == "hybrid":
        return make_hybrid_agent(torch.zeros(1, 5), torch.zeros(1, 2))
    subsample = 2 if kind == "subsampled" else None
    return make_agent(critic_ensemble_size=4, critic_subsample_size=subsample)


def updates(agent: SACAgent | HybridAgent, batches: list[Batch]) -> dict[str, np.ndarray]:
    for batch in batches:
        agent.update(batch)
    return agent.state.arrays()


def one_rank(rank: int, folder: str, kind: str) -> None:
    """Run in a process of its own: train on this rank's halves, save the parameters."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(SIZE), GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    with join(f"file://{folder}/meeting") as ranks:
        agent = agent_of(kind)
        agent.draws = RankDraws(agent.state.generator, ranks)
        agent.state.average = ranks.average
        half = 32 // SIZE
        batches = [slice_batch(b, rank * half, (rank + 1) * half) for b in joint_batches()]
        arrays = updates(agent, batches)
        assert ranks.gather(bytes([rank])) == [b"\0", b"\1"]
        info = ranks.average_info({"loss": torch.tensor(float(rank)), "rate": 2.0})
        assert info == {"loss": 0.5, "rate": 2.0}
    np.savez(f"{folder}/{rank}.npz", **arrays)


def joint_batches() -> list[Batch]:
    penalty = torch.linspace(-0.1, 0.0, 32)  # for the hybrid agent
    return [random_batch(32, seed)._replace(grasp_penalty=penalty) for seed in range(20)]


@pytest.mark.parametrize("kind", ["all", "subsampled", "hybrid"])
def test_two_ranks_get_the_parameters_of_one_process(tmp_path: Path, kind: str) -> None:
    multiprocessing.spawn(one_rank, (str(tmp_path), kind), nprocs=SIZE)
    joint = updates(agent_of(kind), joint_batches())
    ranks = [dict(np.load(tmp_path / f"{rank}.npz")) for rank in range(SIZE)]
    for name, expected in joint.items():
        assert np.array_equal(ranks[0][name], ranks[1][name]), name
        if expected.dtype.kind == "f":
            assert np.abs(ranks[0][name] - expected).max() < TOLERANCE, name
        else:
            assert np.array_equal(ranks[0][name], expected), name


@pytest.mark.parametrize("by_episode", [False, True])
def test_a_stream_is_dealt_out_whole_and_in_turn(by_episode: bool) -> None:
    shares = [Share(rank, 3, by_episode=by_episode) for rank in range(3)]
    dealt: list[list[int]] = [[], [], []]
    episodes = np.array([0, 0, 0, 1, 1, 1, 1, 2, 4, 4, 4, 4, 4, 9, 9, 10, 10])
    first = 0
    for count in (1, 4, 2, 9, 1):
        for share, got in zip(shares, dealt, strict=True):
            mine = share.of("a", episodes[first : first + count])
            got += (first + np.flatnonzero(mine)).tolist()
        first += count
    if by_episode:
        assert [sorted({*episodes[rows].tolist()}) for rows in dealt] == [[0, 4], [1, 9], [2, 10]]
        assert sorted(sum(dealt, [])) == list(range(first))
    else:
        assert dealt == [list(range(rank, first, 3)) for rank in range(3)]


def test_interleaved_runs_keep_their_episodes_together() -> None:
    share = Share(1, 2, by_episode=True)
    for run_id in ("a", "b", "a", "b"):
        mine = share.of(run_id, np.zeros(5, np.uint32))
        assert mine.tolist() == [run_id == "b"] * 5


# --- `serl-rt learn` under torchrun ---------------------------------------------------------------

RECIPE = """
[agent]
discount = 0.9

[critic]
hidden_dims = [32, 32]

[policy]
hidden_dims = [32, 32]

[training]
batch_size = 32
start_training = 60
credit_slack = 0
utd_ratio = {utd}
max_env_steps = {steps}
publish_period = 1000
checkpoint_period = 1000
log_period = 10
"""


class TorchRun:
    """Two ranks of `serl-rt learn`, and a controller on the real wire."""

    def __init__(self, folder: Path, *arguments: str, utd: float, steps: int) -> None:
        (folder / "point.toml").write_text(TASK)
        (folder / "small.toml").write_text(RECIPE.format(utd=utd, steps=steps))
        self.contract = load_task(folder / "point.toml").contract
        self.run = folder / "run"
        command = [sys.executable, "-u", "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(SIZE), "-m", "--", "serl_rt.cli", "learn"]
        command += ["--no-tensorboard"]
        command += ["--recipe", str(folder / "small.toml"), "--task", str(folder / "point.toml")]
        command += ["--bind", "tcp://127.0.0.1:*", "--run", str(self.run), *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self.output = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if found := re.search(r"listening on (\S+),", line):
                self.controller = WireController(found[1], self.contract)
                self.controller.start()
                return
        pytest.fail(f"the learner did not start:\n{self.output}")

    def finish(self) -> int:
        """Wait for the end; return the exit status."""
        rest, _ = self.process.communicate(timeout=DEADLINE_S)
        self.output += rest
        return self.process.returncode

    def close(self) -> None:
        self.controller.quit.set()
        self.controller.join(DEADLINE_S)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def runs() -> Iterator[list[TorchRun]]:
    started: list[TorchRun] = []
    yield started
    for run in started:
        run.close()


def test_the_command_trains_as_one_process_on_the_joint_batch(
    tmp_path: Path, runs: list[TorchRun]
) -> None:
    # Everything there is to receive comes before the first of 40 updates, so that one process can
    # repeat them from the log.
    runs.append(TorchRun(tmp_path, utd=40.0, steps=61))
    assert runs[0].finish() == 0, runs[0].output
    summary = json.loads((runs[0].run / "summary.json").read_text())
    assert (summary["env_steps"], summary["updates"]) == (61, 40)
    recipe = load_recipe(tmp_path / "small.toml")
    path = next((runs[0].run / "checkpoints").glob("*.npz"))
    _, found = load_checkpoint(path, {"ranks": SIZE, "recipe": "small"})

    contract = runs[0].contract
    shards = []
    for rank in range(SIZE):
        replay = ReplayBuffer(1000, observation_spec(contract), contract.action_dim)
        shards.append(Intake(TransitionDecoder(contract), replay, Share(rank, SIZE)))
    with TransitionLog(runs[0].run / "transitions", contract.contract_id) as log:
        for message in log:
            for shard in shards:
                shard(message.columns, message.run_id)
    assert [len(shard.replay) for shard in shards] == [31, 30]
    generators = [torch.Generator().manual_seed(1 + SEED_STRIDE * rank) for rank in range(SIZE)]
    agent = build_agent(recipe, contract, seed=0)
    for _ in range(40):
        parts = zip(shards, generators, strict=True)
        agent.update(concat_batches([s.replay.sample(32 // SIZE, g) for s, g in parts]))
    for name, expected in agent.state.arrays().items():
        difference = np.abs(found[f"agent/{name}"].astype(float) - expected.astype(float)).max()
        assert difference < TOLERANCE, name

    # The checkpoint has the generators of both ranks, and belongs to two ranks.
    assert found["generators"].shape[0] == SIZE
    arguments = ["--recipe", str(tmp_path / "small.toml"), "--task", str(tmp_path / "point.toml")]
    arguments += ["--run", str(runs[0].run), "--bind", "tcp://127.0.0.1:*", "--resume"]
    with pytest.raises(CheckpointError, match="ranks is 2, this run's is 1"):
        load_checkpoint(path, {"ranks": 1})
    assert main([*arguments, "--no-tensorboard"]) == 2


def test_ranks_resume_together(tmp_path: Path, runs: list[TorchRun]) -> None:
    runs.append(TorchRun(tmp_path, utd=1.0, steps=100_000))
    wait_for(lambda: len(runs[0].controller.transitions) > 100)
    runs[0].process.send_signal(signal.SIGINT)
    runs[0].finish()
    before = json.loads((runs[0].run / "summary.json").read_text())
    assert before["reason"] == "interrupted", runs[0].output
    limit = str(before["env_steps"] + 40)
    runs.append(TorchRun(tmp_path, "--resume", "--max-env-steps", limit, utd=1.0, steps=100_000))
    assert runs[1].finish() == 0, runs[1].output
    assert f"resumed at {before['env_steps']} steps, {before['updates']} updates" in runs[1].output
    after = json.loads((runs[0].run / "summary.json").read_text())
    assert after["updates"] >= before["updates"] + 40


def test_a_rank_that_dies_ends_all_with_a_sentence(tmp_path: Path, runs: list[TorchRun]) -> None:
    runs.append(TorchRun(tmp_path, utd=1.0, steps=100_000))
    wait_for(lambda: len(runs[0].controller.transitions) > 100)
    os.kill(follower_of(runs[0].process.pid), signal.SIGKILL)
    assert runs[0].finish() != 0
    assert re.search(r"serl-rt learn: rank 0 lost another rank of 2 while", runs[0].output)
    assert "Continue from the last checkpoint with --resume" in runs[0].output


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def follower_of(parent: int) -> int:
    """Return the process of rank 1 among the children of torchrun."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "stat").read_text().rsplit(")", 1)[1].split()
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(status[1]) == parent and b"RANK=1" in environment:
            return int(path.name)
    pytest.fail("rank 1 was not found")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 33}, "batch_size = 33: must be a multiple of the 2 ranks"),
        ({"start_training": 1}, "start_training = 1: must be at least the 2 ranks"),
        ({"compile": "on"}, "not with several ranks"),
    ],
)
def test_recipes_that_cannot_be_divided_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_ranks(Recipe("two", training=TrainingRecipe(**settings)), SIZE)
    with pytest.raises(ConfigError, match='kind = "vice": not with several ranks'):
        check_ranks(Recipe("two", agent=AgentRecipe(kind="vice")), SIZE)


def test_a_lost_rank_is_named() -> None:
    with (
        pytest.raises(RankLost, match="rank 0 lost another rank of 2 while averaging"),
        Ranks(0, 2)._watch("averaging"),
    ):
        raise RuntimeError("Connection closed by peer\nmore")
