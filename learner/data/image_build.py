"""The replay buffers of a recipe: for states, for images, for cached features of a frozen trunk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from serl_rt.export.contract import Contract
from serl_rt.learner.agents.agent import Agent
from serl_rt.learner.agents.bc import BCAgent
from serl_rt.learner.agents.drq import DrQAgent
from serl_rt.learner.agents.hybrid import HybridAgent
from serl_rt.learner.data.image_replay import ImageReplay
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import observation_spec
from serl_rt.learner.recipe import Recipe
from serl_rt.learner.vision.cache import Featuriser

PRECISIONS = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


@dataclass(frozen=True)
class ReplayFactory:
    """Makes the buffers that this agent learns from."""

    recipe: Recipe
    contract: Contract
    agent: Agent
    folder: Path
    """For frames in files, if the recipe wants that."""
    seed: int
    """Of the crops whose features are cached."""

    def __call__(self, capacity: int, name: str) -> ReplayBuffer | ImageReplay:
        """Return an empty buffer; `name` tells the files of one from those of another."""
        spec, action_dim = observation_spec(self.contract), self.contract.action_dim
        if not self.contract.images:
            return ReplayBuffer(capacity, spec, action_dim)
        return ImageReplay(
            capacity,
            spec,
            action_dim,
            folder=self.folder / name if self.recipe.replay.frames_in_files else None,
            featurise=self._featuriser(),
        )

    def _featuriser(self) -> Featuriser | None:
        config = self.recipe.encoder
        if config is None or not config.cached_crops:
            return None
        assert isinstance(self.agent, BCAgent | DrQAgent | HybridAgent)
        assert self.agent.encoder is not None
        return Featuriser(
            self.agent.encoder,
            crops=config.cached_crops,
            padding=config.shift_padding,
            dtype=PRECISIONS[config.cache_precision],
            seed=self.seed,
        )
