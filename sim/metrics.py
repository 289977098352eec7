"""Follows the metrics that a learner writes while it runs."""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from serl_rt.sim.report import Episode

WINDOW = 20
"""Episodes that a success rate is taken over."""
LINE_INTERVAL_S = 5.0
"""Between two lines where the output is not a terminal."""


class MetricsFollower:
    """Reads new lines of a metrics.jsonl as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.episodes: list[Episode] = []
        self.newest: dict[str, Any] = {}
        self._offset = 0
        self._shown = time.monotonic()

    def poll(self) -> None:
        """Take in what was written since the last call; an unfinished line waits for its end."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self._offset += end
        for line in data[:end].splitlines():
            self._take(json.loads(line))

    def _take(self, row: dict[str, Any]) -> None:
        if row["kind"] in ("episode", "evaluation"):
            self.episodes.append(
                Episode(
                    wall_s=row["time_s"],
                    env_steps=int(row["env_steps"]),
                    episode_return=row["total_reward"],
                    success=bool(row["success"]),
                    evaluation=row["kind"] == "evaluation",
                )
            )
        self.newest |= row

    def success(self, *, evaluation: bool) -> str:
        """Return successes among the last episodes of a kind, as text."""
        chosen = [e.success for e in self.episodes if e.evaluation == evaluation][-WINDOW:]
        return f"{sum(chosen)}/{len(chosen)}"

    def line(self) -> str:
        """Return where learning stands."""
        newest = defaultdict(float, self.newest)
        return (
            f"  {newest['time_s']:6.1f} s  {newest['env_steps']:6.0f} steps"
            f"  {newest['updates']:6.0f} updates  policy v{newest['policy_version']:.0f}"
            f"  success exploring {self.success(evaluation=False)}"
            f"  deterministic {self.success(evaluation=True)}"
        )

    def show(self) -> None:
        """Print the line: in place on a terminal, now and then elsewhere."""
        now = time.monotonic()
        if sys.stdout.isatty():
            print(f"\r{self.line()}", end="", flush=True)
        elif now - self._shown > LINE_INTERVAL_S:
            print(self.line(), flush=True)
            self._shown = now

    def end_line(self) -> None:
        """Print the last line for good."""
        print(f"\r{self.line()}" if sys.stdout.isatty() else self.line(), flush=True)
