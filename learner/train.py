"""The training loop: receive -> replay -> update -> export -> verify -> publish."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from serl_rt.export.publish import PolicyFile, write_policy_file
from serl_rt.learner.agents.losses import Info
from serl_rt.learner.agents.sac import SACAgent
from serl_rt.learner.checkpoint import CheckpointFolder
from serl_rt.learner.data.batch import Batch, batch_to_device, named_tensors
from serl_rt.learner.data.mixing import Source, sample_parts
from serl_rt.learner.data.replay import ReplayBuffer
from serl_rt.learner.data.transitions import Episode, EpisodeCounter, TransitionDecoder
from serl_rt.learner.metrics import MetricSink
from serl_rt.learner.pacing import Pacing, SuccessWindow
from serl_rt.learner.recipe import TrainingRecipe

log = logging.getLogger(__name__)

WAIT_S = 0.05
"""Longest sleep between two looks at the stop signal."""
QUIET_S = 0.3
"""A controller that was silent for so long has nothing under way."""


class Received(Protocol):
    """Consecutive transitions of one controller run."""

    @property
    def run_id(self) -> str:
        """Which run."""

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Name -> (count, ...)."""


class Verdict(Protocol):
    """What a controller did with a policy."""

    @property
    def version(self) -> int:
        """Of the policy."""

    @property
    def accepted(self) -> bool:
        """Whether it acts now."""

    @property
    def swap_ms(self) -> float:
        """Time from the offer to acting [ms]."""


class Link(Protocol):
    """The learner's end of the wire; it works in its own thread."""

    def drain(self) -> Iterable[Received]:
        """Return what was stored since the last call, in order; does not wait."""

    def wait(self, timeout: float) -> bool:
        """Sleep until something arrived or `timeout` [s] passed; say whether something did."""

    def grant(self, total: int) -> None:
        """Allow lockstep controllers to produce this many transitions in all."""

    def publish(self, policy: PolicyFile) -> None:
        """Offer a policy to the controllers."""

    def policy_verdicts(self) -> Iterable[Verdict]:
        """Return what controllers did with policies since the last call."""


class Exporter(Protocol):
    """Makes verified policy files of the agent as it is."""

    def export(self, version: int, training_step: int) -> PolicyFile:
        """Raise PolicyRefused when the result must not act."""


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite; the message says which one, when, and where its batch is."""


@dataclass
class Progress:
    """The counters of a run; saved with every checkpoint."""

    env_steps: int = 0
    """Training transitions received."""
    evaluation_steps: int = 0
    """Transitions of evaluation episodes; not learned from."""
    episodes: int = 0
    evaluation_episodes: int = 0
    updates: int = 0
    """Critic updates."""
    version: int = 0
    """Newest published policy."""
    wall_s: float = 0.0
    """Time in the loop, over all starts of the run."""


class Display(Protocol):
    """Shows progress to a person."""

    def show(self, progress: Progress, window: SuccessWindow, info: Mapping[str, float]) -> None:
        """Take the newest numbers; may skip most calls."""


@dataclass
class Trainer:
    """Everything that a run of training holds together."""

    agent: SACAgent
    decoder: TransitionDecoder
    replay: ReplayBuffer
    source: Source
    """What batches are drawn from: the replay, possibly mixed with demonstrations."""
    link: Link
    exporter: Exporter
    recipe: TrainingRecipe
    window: SuccessWindow
    checkpoints: CheckpointFolder
    metrics: MetricSink
    display: Display
    folder: Path
    sampling: torch.Generator
    """Draws the batches."""
    identity: Mapping[str, Any]
    """What a checkpoint must belong to: recipe and contract."""

    def __post_init__(self) -> None:
        self.progress = Progress()
        self.info: dict[str, float] = {}
        self.pacing = Pacing(
            self.recipe.utd_ratio,
            self.recipe.start_training,
            self.recipe.credit_slack,
            self.recipe.critic_actor_ratio,
        )
        self._counters: dict[str, EpisodeCounter] = {}
        self._started = time.monotonic()
        self._logged = (time.monotonic(), 0, 0)

    def run(self, stop: threading.Event) -> str:
        """Train until the recipe is satisfied or `stop` is set; return the reason.

        Raises NonFiniteLossError, after which the last checkpoint is still good.
        """
        self._started = time.monotonic() - self.progress.wall_s
        self._logged = (time.monotonic(), self.progress.updates, self.progress.env_steps)
        self.publish()  # an untrained policy, so that exploration starts
        self.grant()
        while (reason := self._reason_to_end(stop)) is None:
            self.receive(self.link.drain())
            if self.update_due():
                self.update()
            else:
                self.link.wait(WAIT_S)
            self.display.show(self.progress, self.window, self.info)
        self.publish()
        self.settle(0.5 if stop.is_set() else 3.0)
        self.save()
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
            transitions = self.decoder(message.columns)
            evaluation = np.asarray(message.columns["evaluation"]).astype(bool)
            self.progress.evaluation_steps += int(evaluation.sum())
            if not evaluation.all():
                kept = transitions.select(~evaluation) if evaluation.any() else transitions
                self.replay.insert(kept)
                self.progress.env_steps += kept.size
            counter = self._counters.setdefault(message.run_id, EpisodeCounter())
            for episode in counter.add(message.columns):
                self._count(episode, report)
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
        return len(self.source) > 0 and self.progress.updates + self.pacing.step <= due

    def update(self) -> None:
        """Update critics and actor once, then whatever is due after so many updates."""
        ratio = self.pacing.step
        batch = sample_parts(self.source, ratio, self.recipe.batch_size, self.sampling)
        batch = batch_to_device(batch, self.agent.state.device)
        if ratio == 1:
            _, info = self.agent.update(batch)
        else:
            _, info = self.agent.update_high_utd(batch, utd_ratio=ratio)
        before = self.progress.updates
        self.progress.updates += ratio
        self._check_finite(info, batch)
        self.grant()
        after = self.progress.updates
        if crossed(before, after, self.recipe.log_period):
            self._log(info)
        if crossed(before, after, self.recipe.publish_period):
            self.publish()
        if crossed(before, after, self.recipe.checkpoint_period):
            self.save()

    def _check_finite(self, info: Info, batch: Batch) -> None:
        for name, value in info.items():
            if name.endswith("loss") and not math.isfinite(float(value)):
                path = self.folder / "nonfinite_batch.npz"
                contents: dict[str, Any] = {k: v.cpu().numpy() for k, v in named_tensors(batch)}
                np.savez(path, **contents)
                kept = self.checkpoints.latest()
                raise NonFiniteLossError(
                    f"{name} is {float(value)} at update {self.progress.updates}; its batch is in "
                    f"{path}, the last good checkpoint is {kept or 'none'}"
                )

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
        arrays["sampling"] = self.sampling.get_state().numpy()
        arrays["torch"] = torch.get_rng_state().numpy()  # dropout draws from it
        return self.checkpoints.save(self.progress.updates, header, arrays)

    def restore(self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a checkpoint. Transitions and episodes come from the transition log."""
        prefix = "agent/"
        self.agent.state.load_arrays(
            {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        )
        self.sampling.set_state(torch.from_numpy(arrays["sampling"]))
        torch.set_rng_state(torch.from_numpy(arrays["torch"]))
        saved = header["progress"]
        self.progress.updates = int(saved["updates"])
        self.progress.version = int(saved["version"])
        self.progress.wall_s = float(saved["wall_s"])

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


def crossed(before: int, after: int, period: int) -> bool:
    """Whether a multiple of `period` lies in (before, after]."""
    return before // period != after // period
