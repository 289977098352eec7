"""What no policy should ask for, on the simulated arm: within the robot's limits at every look."""

from pathlib import Path

import numpy as np
import pytest

from bench.fci.motions import FAST_GAINS, MOTIONS, Motion
from serl_rt.export.task import find_task
from serl_rt.sim.robot import LockStep, SimRobot

SECONDS = 3.0
MARGIN = 0.1
"""What Franka's measured velocity may exceed its envelope by, as its simulator has it [rad/s]."""
# Franka Research 3, libfranka's rate_limiting.h: highest velocity, offset, deceleration.
DQ_MAX = np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])
OFFSET = np.array([0.30, 0.20, 0.20, 0.30, 0.35, 0.35, 0.35])
DECELERATION = np.array([6.0, 2.585, 3.5, 4.0, 17.0, 5.5, 17.0])


class Watch:
    """Looks at every millisecond that passes."""

    def __init__(self, robot: SimRobot) -> None:
        about = robot.describe()
        self.low, self.high = np.array(about["q_min"]), np.array(about["q_max"])
        self.lock_step = robot._commands
        self.worst = -np.inf
        self.fastest = 0.0
        assert isinstance(self.lock_step, LockStep)

    def wait(self, seconds: float) -> None:
        core = self.lock_step._core  # type: ignore[attr-defined]
        for _ in range(max(0, round(1000 * seconds))):
            core.advance(1)
            arrays = core.arrays()
            self.check(arrays["q"], arrays["dq"])
            self.fastest = max(self.fastest, float(np.linalg.norm(arrays["tcp_vel"][:3])))

    def check(self, q: np.ndarray, dq: np.ndarray) -> None:
        def allowed(distance: np.ndarray) -> np.ndarray:
            braking = np.sqrt(2.0 * DECELERATION * np.maximum(distance, 0.0)) - OFFSET
            return np.clip(braking, 0.0, DQ_MAX)

        up, down = allowed(self.high - q), allowed(q - self.low)
        self.worst = max(self.worst, float(np.max(np.maximum(dq - up, -dq - down))))


@pytest.mark.parametrize("name", MOTIONS)
def test_the_arm_stays_within_its_limits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tmp_path / "stress.toml"
    text = find_task("reach").read_text()
    task.write_text(text.replace('filter = "linear"', 'filter = "first_order"').replace(
        "max_linear_speed = 2.0", "max_linear_speed = 3.0"
    ))  # fmt: skip
    robot = SimRobot(str(task))
    robot.set_gains(**FAST_GAINS)
    watch = Watch(robot)
    monkeypatch.setattr(robot._commands, "wait", watch.wait)
    motion: Motion = MOTIONS[name]
    motion(robot, np.random.default_rng(7), SECONDS)
    assert watch.worst < MARGIN
    assert 0.02 < watch.fastest < 3.0
