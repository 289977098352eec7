"""Demonstrations of the scripted expert in the simulated arm."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.columns import DTYPES, STARTS
from serl_rt.export.demonstrations import demonstration_columns
from serl_rt.sim.envs import SimArmEnv
from serl_rt.sim.expert import PickCubeExpert
from serl_rt.sim.peg_expert import PegInsertExpert

MAX_ATTEMPTS = 4
"""Attempts per demonstration that is asked for."""

Row = dict[str, Any]


class Expert(Protocol):
    """Solves a task through the same actions as a policy."""

    def reset(self) -> None:
        """Begin an episode."""

    def act(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the action, (action_dim,) in [-1, 1], for an observation in SI units."""


def make_expert(env: SimArmEnv, noise: float, rng: np.random.Generator) -> Expert:
    """Return the expert of an environment's task.

    noise: standard deviation of what is added to each component of an action.
    Raises ValueError if there is none, or the contract is not one that it can act by.
    """
    known = env.truth
    make = PegInsertExpert if "tip_to_hole" in known else PickCubeExpert
    return make(env.contract, noise, rng, known)


def record_demonstrations(
    env: SimArmEnv, episodes: int, noise: float, seed: int, *, failures: bool = False
) -> dict[str, NDArray[Any]]:
    """Run the expert until `episodes` of its episodes ended in success; return their transitions.

    noise: standard deviation of what is added to each action component; what was executed is what
    is recorded. failures: keep episodes however they ended; a classifier learns from both.
    The columns are the wire's, (n, ...), and n depends on the seed.
    Raises RuntimeError if the expert fails too often.
    """
    rng = np.random.default_rng(seed)
    expert = make_expert(env, noise, rng)
    rows: list[Row] = []
    recorded = 0
    for _ in range(MAX_ATTEMPTS * episodes):
        if recorded == episodes:
            break
        episode = run_episode(env, expert, int(rng.integers(2**31)), recorded)
        if failures or episode[-1]["success"]:
            rows += episode
            recorded += 1
    if recorded < episodes:
        raise RuntimeError(
            f"the expert succeeded in {recorded} of {MAX_ATTEMPTS * episodes} episodes of "
            f"{env.contract.name}; {episodes} were asked for: try less noise than {noise}"
        )
    return to_columns(env, rows)


def run_episode(env: SimArmEnv, expert: Expert, seed: int, number: int) -> list[Row]:
    """Run one episode to its end; one row of column values per step."""
    observation, _ = env.reset(seed=seed)
    expert.reset()
    rows: list[Row] = []
    ended = False
    while not ended:
        time_ns = env.time_ns
        action = expert.act(observation | env.truth)
        following, reward, terminated, truncated, info = env.step(action)
        rows.append(
            {f"observation/{name}": value for name, value in observation.items()}
            | {f"next_observation/{name}": value for name, value in following.items()}
            | {
                "action": action,
                "reward": reward,
                "terminated": terminated,
                "truncated": truncated,
                "success": info["succeed"],
                "grasp_penalty": info["grasp_penalty"],
                "episode": number,
                "step": len(rows),
                STARTS: not rows,
                "time_ns": time_ns,
            }
        )
        observation = following
        ended = terminated or truncated
    return rows


def to_columns(env: SimArmEnv, rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """Return rows as the wire's columns; what a row does not say is 0.

    Images observed are kept only where an episode starts: later ones are those that followed.
    """
    columns = {}
    for column in demonstration_columns(env.contract):
        kept = [row for row in rows if row[STARTS]] if column.sparse else rows
        values = [row.get(column.name, 0) for row in kept]
        array = np.asarray(values, dtype=DTYPES[column.dtype])
        columns[column.name] = array.reshape(len(kept), *column.shape)
    return columns
