"""What a trainer needs of an agent, whatever it is made of."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from serl_rt.learner.agents.losses import Info
from serl_rt.learner.data.batch import Batch
from serl_rt.learner.draws import Draws
from serl_rt.learner.networks.policy import Policy
from serl_rt.learner.networks.states import Observations
from serl_rt.learner.train_state import TrainState


class Agent(Protocol):
    """Networks under training; built by `build_agent`, saved and loaded through `state`."""

    draws: Draws
    """Where the losses' noise comes from."""

    @property
    def state(self) -> TrainState:
        """Networks, targets, optimizers, generator: `state.arrays()` is a checkpoint's content."""

    @property
    def actor(self) -> Policy:
        """The policy of what is not a discrete command; `policy_export` makes a file of all."""

    def update(self, batch: Batch) -> tuple[Any, Info]:
        """Update every network once."""

    def update_high_utd(self, batch: Batch, *, utd_ratio: int) -> tuple[Any, Info]:
        """Update the critics on `utd_ratio` parts of the batch in turn, then the others once."""

    def sample_actions(self, observations: Observations, *, argmax: bool = False) -> Tensor:
        """Return actions (batch, action_dim) in [-1, 1]."""
