"""More critic updates than actor updates: the critics on parts of a batch, then the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from serl_rt.learner.agents.losses import Info, mean_info
from serl_rt.learner.data.batch import Batch, slice_batch
from serl_rt.learner.networks.states import Observations

if TYPE_CHECKING:
    from serl_rt.learner.agents.sac import SACAgent


def update_in_parts(
    update: Callable[[Batch, Iterable[str]], tuple[object, Info]],
    batch: Batch,
    utd_ratio: int,
    critics: Iterable[str] = ("critic",),
    others: Iterable[str] = ("actor", "temperature"),
) -> Info:
    """Update the critics on `utd_ratio` parts of the batch in turn, then the others on all of it.

    Returns the critics' mean metrics with the others'. Raises ValueError when the batch does not
    divide.
    """
    infos = [update(part, critics)[1] for part in cut(batch, utd_ratio)]
    return mean_info(infos) | update(batch, others)[1]


def cut(batch: Batch, count: int) -> list[Batch]:
    """Return `count` equal parts, as views. Raises ValueError when the batch does not divide."""
    if count < 1 or batch.size % count:
        raise ValueError(f"utd_ratio = {count} does not divide the batch of {batch.size}")
    size = batch.size // count
    return [slice_batch(batch, start, start + size) for start in range(0, batch.size, size)]


def with_next_policy(agent: SACAgent, batch: Batch) -> Batch:
    """Evaluate the policy at the next observations, once for all updates that leave it as it is.

    The targets of every part and the temperature's loss draw their actions from it.
    """
    function = partial(mean_and_std, agent) if agent.compiled is None else agent.compiled.policy
    return batch._replace(next_policy=function(batch.next_observations))


@torch.no_grad()
def mean_and_std(agent: SACAgent, observations: Observations) -> Tensor:
    """Return the policy's mean and standard deviation as one tensor, (batch, 2, action_dim)."""
    with agent.numerics.autocast(agent.state.device):
        return torch.stack(agent.actor.mean_and_std(observations, train=True), 1)


def critics_leave_policy(agent: SACAgent) -> bool:
    """Whether an update of the critics changes nothing that the policy is computed from."""
    trained = {id(p) for p in agent.state.optimizers["critic"].parameters}
    shared = any(id(p) in trained for p in agent.actor.parameters())
    return not shared and not agent.state.step_unused
