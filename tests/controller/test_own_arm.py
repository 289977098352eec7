"""The example of an arm of one's own (examples/own_arm), as a lab would run it."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cpp_program import BUILD, ROOT

from serl_rt.controller.robot import TargetRefusedError
from serl_rt.controller.robot_client import RobotClient
from serl_rt.sim.processes import Process, free_port

PROGRAM = BUILD / "examples" / "own_arm" / "own_arm"
TASK = ROOT / "examples" / "own_arm" / "own_arm.toml"


def command(task: Path, folder: Path, *options: str) -> list[str]:
    assert PROGRAM.exists(), f"{PROGRAM} is missing: run 'make cpp' (make test does)"
    return [
        str(PROGRAM), "--driver", "own_arm", "--task", str(task), "--manual", "--record", "off",
        "--policies", str(folder / "policies"), *options,
    ]  # fmt: skip


def test_the_arm_of_the_example_moves_as_it_is_told(tmp_path: Path) -> None:
    commands, states = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    options = ["--commands", commands, "--state", states]
    with Process("arm", command(TASK, tmp_path, *options), tmp_path / "arm.log") as process:
        with RobotClient(commands, states, timeout=10.0) as robot:
            robot.move_to_joint_positions([0.1, 0.6, 0.0, -1.6, 0.0, 0.9416, 0.0], duration=0.5)
            robot.joint_reset()
            start = robot.get_state()["tcp_pose"].copy()
            goal = start.copy()
            goal[1] += 0.02
            for _ in range(100):
                robot.set_tcp_pose(goal)
                robot.wait_period(0.01)
            moved = robot.get_state()["tcp_pose"] - start
            np.testing.assert_allclose(moved[:3], [0.0, 0.02, 0.0], atol=2e-3)
            with pytest.raises(TargetRefusedError, match="joint_limits"):
                robot.move_to_joint_positions([2.95, 0.6, 0.0, -1.6, 0.0, 0.9, 0.0])
        assert process.running()
    assert "error" not in process.log.read_text()


@pytest.mark.parametrize(
    ("line", "instead", "named"),
    [
        (r"tau_max = .*", "", "tau_max"),
        (r"q_min = \[-2.9", "q_min = [3.0", "q_min"),
        (r"tau_rate = 800.0", "tau_rate = 5000.0", "tau_rate"),
        (r'robot = "other"', 'robot = "fr3"', "ddq_max"),  # Franka's are not the file's to say
    ],
)
def test_limits_of_an_own_arm_are_checked(
    line: str, instead: str, named: str, tmp_path: Path
) -> None:
    text, count = re.subn(line, instead, TASK.read_text())
    assert count == 1
    task = tmp_path / "wrong.toml"
    task.write_text(text)
    done = subprocess.run(command(task, tmp_path), capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert named in done.stderr
    assert str(task) in done.stderr
