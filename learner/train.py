"""The training loop: receive -> replay -> update -> export -> verify -> publish."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from serl_rt.export.publish import PolicyFile, write_policy_file
from serl_rt.learner.agents.agent import Agent
from serl_rt.learner.agents.losses import Info
from serl_rt.learner.checkpoint import CheckpointFolder
from serl_rt.learner.data.intake import Intake
from serl_rt.learner.data.transitions import Episode, EpisodeCounter
from serl_rt.learner.draws import Generators
from serl_rt.learner.link import Link, Received
from serl_rt.learner.metrics import MetricSink
from serl_rt.learner.pacing import Pacing, SuccessWindow
from serl_rt.learner.peers import NoPeers, Peers
from serl_rt.learner.progress import Display, Progress
from serl_rt.learner.recipe import TrainingRecipe
from serl_rt.learner.update_step import NonFiniteLossError, UpdateStep
from serl_rt.learner.vision.film import EpisodeFilm
from serl_rt.learner.vision.grid import image_grid

log = logging.getLogger(__name__)

WAIT_S = 0.05
"""Longest sleep between two looks at the stop signal."""
PICTURED = 8
"""Transitions in the picture of a batch."""
PICTURE_PERIOD = 1000
"""[critic updates]."""
FILM_FPS = 10.0
"""Of films of episodes, whatever the policy's rate."""
QUIET_S = 0.3
"""A controller that was silent for so long has nothing under way."""


class Exporter(Protocol):
    """Makes verified policy files of the agent as it is."""

    def export(self, version: int, training_step: int) -> PolicyFile:
        """Raise PolicyRefused when the result must not act."""


@dataclass
class Trainer:
    """Everything that a run of training holds together."""

    step: UpdateStep
    """Updates the agent on batches of its source."""
    intake: Intake
    """Fills the replay that the source draws from."""
    link: Link
    exporter: Exporter
    recipe: TrainingRecipe
    window: SuccessWindow
    checkpoints: CheckpointFolder
    metrics: MetricSink
    display: Display
    folder: Path
    identity: Mapping[str, Any]
    """What a checkpoint must belong to: recipe and contract."""
    peers: Peers = field(default_factory=NoPeers)
    """The other processes of a distributed run."""

    def __post_init__(self) -> None:
        self.agent: Agent = self.step.agent
        self.generators = Generators(self.step.sampling)
        self.progress = Progress()
        self.info: dict[str, float] = {}
        self.pacing = Pacing(
            self.recipe.utd_ratio,
            self.recipe.start_training,
            self.recipe.credit_slack,
            self.recipe.critic_actor_ratio,
        )
        self._counters: dict[str, EpisodeCounter] = {}
        self._films: dict[str, EpisodeFilm] = {}
        self._started = time.monotonic()
        self._logged = (time.monotonic(), 0, 0)

    def run(self, stop: threading.Event) -> str:
        """Train until the recipe is satisfied or `stop` is set; return the reason.

        Raises NonFiniteLossError, after which the last checkpoint is still good, and RankLost.
        """
        self._started = time.monotonic() - self.progress.wall_s
        self._logged = (time.monotonic(), self.progress.updates, self.progress.env_steps)
        self.peers.load(self.agent.state)
        self.publish()  # an untrained policy, so that exploration starts
        self.grant()
        while (reason := self._reason_to_end(stop)) is None:
            self.receive(self.link.drain())
            if self.update_due():
                self.update()
            else:
                self.link.wait(WAIT_S)
                self.peers.rest()
            self.display.show(self.progress, self.window, self.info)
        self.publish()
        self.settle(0.5 if stop.is_set() else 3.0)
        self.save()
        self.peers.stop()
        return reason

    def settle(self, patience_s: float) -> None:
        """Take in what controllers have under way, so that ending leaves them nothing to resend.

        A lockstep controller uses up its credit, which grows no more, and then is quiet; a realtime
        one is never quiet, and keeps what comes after `patience_s`.
        """
        end = time.monotonic() + patience_s
        while time.monotonic() < end and self.link.wait(min(QUIET_S, patience_s)):
            self.receive(self.link.drain(), report=True, grant=False)

    def _reason_to_end(self, stop: threading.Event) -> str | None:
        if stop.is_set():
            return "interrupted"
        if self.window.reached():
            return "success"
        if self.progress.env_steps >= self.recipe.max_env_steps and not self.update_due():
            return "max_env_steps"
        return None

    # --- experience -----------------------------------------------------------------------------

    def receive(
        self, messages: Iterable[Received], *, report: bool = True, grant: bool = True
    ) -> None:
        """Insert transitions and follow the episodes.

        `report` is off when a log is read again; `grant` is off when controllers are to stop.
        """
        for message in messages:
            learned_from = self.intake(message.columns, message.run_id)
            self.peers.share(message)
            self.progress.env_steps += learned_from
            self.progress.evaluation_steps += len(message.columns["reward"]) - learned_from
            counter = self._counters.setdefault(message.run_id, EpisodeCounter())
            for episode in counter.add(message.columns):
                self._count(episode, report)
            film = self._films.setdefault(message.run_id, EpisodeFilm())
            for frames in film.add(message.columns):
                if report:
                    self.metrics.write_film("episode", self.progress.env_steps, frames, FILM_FPS)
        if report and grant:
            self.grant()

    def _count(self, episode: Episode, report: bool) -> None:
        if episode.evaluation:
            self.progress.evaluation_episodes += 1
            self.window.add(episode.success)
        else:
            self.progress.episodes += 1
        if report:
            self.metrics.write(
                "evaluation" if episode.evaluation else "episode",
                self.progress.env_steps,
                {
                    **{k: float(v) for k, v in episode._asdict().items() if k != "evaluation"},
                    "updates": self.progress.updates,
                    "time_s": self._elapsed(),
                },
            )

    def grant(self) -> None:
        """Tell the controllers how far ahead they may run."""
        allowed = self.pacing.transitions_allowed(self.progress.updates)
        allowed = min(allowed, self.recipe.max_env_steps)
        self.link.grant(allowed + self.progress.evaluation_steps)

    # --- learning -------------------------------------------------------------------------------

    def update_due(self) -> bool:
        """Whether the transitions so far allow another update."""
        # What a realtime controller sends beyond the limit asks for no more updates.
        counted = min(self.progress.env_steps, self.recipe.max_env_steps)
        due = self.pacing.updates_due(counted)
        return len(self.step.source) > 0 and self.progress.updates + self.pacing.step <= due

    def update(self) -> None:
        """Update critics and actor once, then whatever is due after so many updates."""
        before = self.progress.updates
        after = before + self.pacing.step
        self.peers.update(after)
        try:
            info = self.step(after)
        except NonFiniteLossError as error:
            kept = self.checkpoints.latest() or "none"
            raise NonFiniteLossError(f"{error}, the last good checkpoint is {kept}") from None
        self.progress.updates = after
        self.grant()
        if crossed(before, after, self.recipe.log_period):
            self._log(info)
        if crossed(before, after, PICTURE_PERIOD):
            self._show()
        if crossed(before, after, self.recipe.publish_period):
            self.publish()
        if crossed(before, after, self.recipe.checkpoint_period):
            self.save()

    def _log(self, info: Info) -> None:
        now = time.monotonic()
        then, updates, env_steps = self._logged
        span = max(now - then, 1e-9)
        self.info = {name: float(value) for name, value in info.items()}
        self.info["updates_per_s"] = (self.progress.updates - updates) / span
        self.info["env_steps_per_s"] = (self.progress.env_steps - env_steps) / span
        self._logged = (now, self.progress.updates, self.progress.env_steps)
        extra = {"updates": self.progress.updates, "time_s": self._elapsed()}
        self.metrics.write("update", self.progress.env_steps, self.info | extra)
        for verdict in self.link.policy_verdicts():
            row: dict[str, float] = {"version": verdict.version, "accepted": verdict.accepted}
            row["swap_ms"] = verdict.swap_ms
            self.metrics.write("policy", self.progress.env_steps, row | extra)

    def _show(self) -> None:
        """Give the sinks a picture of what is learned from, where that is images."""
        generator = torch.Generator().manual_seed(self.progress.updates)  # not training's draws
        picture = image_grid(self.step.source.sample(PICTURED, generator))
        if picture is not None:
            self.metrics.write_image("batch", self.progress.env_steps, picture)

    # --- results --------------------------------------------------------------------------------

    def publish(self) -> None:
        """Export the policy, verified, and offer it. Raises PolicyRefused when it must not act."""
        self.progress.version += 1
        policy = self.exporter.export(self.progress.version, self.progress.updates)
        write_policy_file(policy, self.folder / "policy.onnx")
        self.link.publish(policy)

    def save(self) -> Path:
        """Write a checkpoint."""
        self.progress.wall_s = self._elapsed()
        header = {**self.identity, "progress": dataclasses.asdict(self.progress)}
        arrays = {f"agent/{name}": array for name, array in self.agent.state.arrays().items()}
        states = self.peers.collect(self.generators.get())
        arrays["generators"] = np.stack([np.frombuffer(state, np.uint8) for state in states])
        return self.checkpoints.save(self.progress.updates, header, arrays)

    def restore(self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a checkpoint. Transitions and episodes come from the transition log."""
        prefix = "agent/"
        self.agent.state.load_arrays(
            {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        )
        states = [state.tobytes() for state in arrays["generators"]]
        self.generators.set(states[0])
        self.peers.load(self.agent.state, states)
        saved = header["progress"]
        self.progress.updates = int(saved["updates"])
        self.progress.version = int(saved["version"])
        self.progress.wall_s = float(saved["wall_s"])

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


def crossed(before: int, after: int, period: int) -> bool:
    """Whether a multiple of `period` lies in (before, after]."""
    return before // period != after // period
