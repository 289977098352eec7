"""Progress for a person: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

from serl_rt.learner.pacing import SuccessWindow
from serl_rt.learner.progress import Progress

LIVE_PERIOD_S = 0.2
LINE_PERIOD_S = 5.0


class _Display(Protocol):
    def __enter__(self) -> _Display: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, progress: Progress, window: SuccessWindow, info: Mapping[str, float]) -> None:
        """Take the newest numbers."""


def make_display(max_env_steps: int) -> _Display:
    """Return the display that suits standard output."""
    if sys.stdout.isatty():
        return LiveDisplay(max_env_steps)
    return LineDisplay()


def describe(progress: Progress, window: SuccessWindow, info: Mapping[str, float]) -> str:
    """Say in one line where training is."""
    words = [
        f"{progress.updates} updates",
        f"policy v{progress.version}",
        f"{progress.episodes} episodes",
    ]
    if window.count:
        words.append(f"success {window.success_rate:.2f} of the last {window.count} evaluations")
    if info:
        words.append(f"{info['updates_per_s']:.0f} updates/s")
        network = "critic" if "critic_loss" in info else "actor"
        words.append(f"{network} loss {info[f'{network}_loss']:.3g}")
    return ", ".join(words)


class LineDisplay:
    """One line every few seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic()

    def __enter__(self) -> LineDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, progress: Progress, window: SuccessWindow, info: Mapping[str, float]) -> None:
        """Print, unless the last line is too recent."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LINE_PERIOD_S
            line = f"{progress.env_steps} steps, {describe(progress, window, info)}"
            print(line, flush=True)


class LiveDisplay:
    """A bar over environment steps with the newest numbers beside it."""

    def __init__(self, max_env_steps: int) -> None:
        # Imported here: only a terminal needs it.
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("learning"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            refresh_per_second=4,
        )
        self._task = self._bars.add_task("", total=max_env_steps)
        self._next = 0.0

    def __enter__(self) -> LiveDisplay:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, progress: Progress, window: SuccessWindow, info: Mapping[str, float]) -> None:
        """Move the bar, unless it just moved."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LIVE_PERIOD_S
            text = describe(progress, window, info)
            self._bars.update(self._task, completed=progress.env_steps, description=text)
