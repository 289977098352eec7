"""A controller that drives a simulated robot, as a case sees it.

with Controller(context, robot.address) as arm:
    arm.wait_for(lambda status: status["steps"] > 10, "a few steps")
    ...
summary = arm.summary()     # after the end: what --summary wrote
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.fci.case import Context
from bench.policy_files import write_policy
from serl_rt.controller.client import CommandError, ControllerClient, NoAnswerError
from serl_rt.export.task import load_task
from serl_rt.sim.processes import Process, free_port, serl_rt

Status = dict[str, Any]


class Controller:
    """`serl-rt control` on a robot, acting with an untrained policy or a learner's."""

    def __init__(
        self, context: Context, address: str, *options: str, task: str = "fr3_reach"
    ) -> None:
        """`options` are further options of `serl-rt control`."""
        self.folder = context.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._summary = self.folder / "summary.json"
        self._summary.unlink(missing_ok=True)
        commands = f"tcp://127.0.0.1:{free_port()}"
        defaults = ["--driver", context.driver] if "--driver" not in options else []
        if "--learner" not in options:
            policy = write_policy(load_task(task), self.folder / "policy.onnx")
            defaults += ["--policy", str(policy)]
        self._command = serl_rt(
            "control", "--task", task, "--robot-ip", address, "--state", "none",
            "--policies", str(self.folder / "policies"), "--commands", commands,
            "--record-folder", str(self.folder / "recordings"),
            "--summary", str(self._summary), *defaults, *options,
        )  # fmt: skip
        self.client = ControllerClient(commands, timeout=1.0)

    def __enter__(self) -> "Controller":
        """Start it."""
        self.process = Process("controller", self._command, self.folder / "controller.log")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Interrupt it, as Ctrl-C does, and wait for its end."""
        self.process.__exit__(kind, error, trace)
        self.client.close()

    def status(self) -> Status:
        """Ask it what it does. Raises NoAnswerError while it starts."""
        status: Any = self.client.command("status")
        assert isinstance(status, dict)
        return status

    def wait_for(
        self, condition: Callable[[Status], bool], what: str, patience_s: float = 30.0
    ) -> Status:
        """Return the first status for which `condition` holds; TimeoutError says what did not."""
        deadline = time.monotonic() + patience_s
        status: Status = {}
        while time.monotonic() < deadline:
            self.process.running()
            try:
                status = self.status()
            except (NoAnswerError, CommandError):
                continue
            if condition(status):
                return status
            time.sleep(0.02)
        raise TimeoutError(
            f"waited {patience_s:.0f} s for {what}; status {status}; log:\n{self.process.tail()}"
        )

    def wait_until_moving(self) -> Status:
        """Wait for a few steps of the policy."""
        return self.wait_for(lambda s: s["steps"] >= 3, "the policy to act")

    def summary(self) -> dict[str, Any]:
        """Return what it wrote at its end."""
        result: dict[str, Any] = json.loads(self._summary.read_text())
        return result

    def recordings(self) -> list[Path]:
        """Return the flight recorder's files."""
        return sorted((self.folder / "recordings").glob("*.mcap"))
