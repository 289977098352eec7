"""A robot in a `with` block: used, interrupted, and ended whatever happens."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from robotiq_model import RobotiqModel, tcp_server

from serl_rt.controller import franka_robot
from serl_rt.controller.franka_robot import FrankaRobot
from serl_rt.controller.robot import (
    MoveInterruptedError,
    Robot,
    RobotConnectionError,
    RobotError,
    TargetRefusedError,
)
from serl_rt.sim.processes import free_port


def start(
    folder: Path, *options: str, gripper: str | None = None, gripper_address: str | None = None
) -> FrankaRobot:
    return FrankaRobot(
        gripper=gripper,
        gripper_address=gripper_address,
        options=[
            "--record", "off", "--rt-priority", "0", "--policies", str(folder / "p"), *options,
        ],
        target_timeout=2.0,
    )  # fmt: skip


def process_of(robot: FrankaRobot) -> subprocess.Popen[bytes]:
    return robot._process._process


def test_the_example_of_the_manual(tmp_path: Path) -> None:
    with start(tmp_path) as robot:
        assert isinstance(robot, Robot)
        state = robot.get_state()
        assert state["mode"] == "hold"
        assert state["in_charge"] == "operator"
        goal = state["joint_positions"] + 0.05
        robot.move_to_joint_positions(goal)
        assert np.allclose(robot.get_state()["joint_positions"], goal, atol=0.02)
        with pytest.raises(TargetRefusedError, match="joint_limits"):
            robot.move_to_joint_positions(goal + 3.0)
        pose = robot.get_state()["tcp_pose"].copy()
        pose[2] += 0.02
        end = time.monotonic() + 20.0
        while abs(robot.get_state()["tcp_pose"][2] - pose[2]) > 0.005:
            robot.set_tcp_pose(pose)
            robot.wait_period(0.05)
            assert time.monotonic() < end
        assert robot.get_state()["mode"] == "cartesian_impedance"
        robot.set_load(0.5, [0.0, 0.0, 0.05], np.zeros((3, 3)))
        with pytest.raises(RobotError, match="mass of 0"):
            robot.set_load(0.0, np.zeros(3), np.eye(3))
        with pytest.raises(RobotError, match="no policy"):
            robot.command("resume")
        process, folder = process_of(robot), robot._process._folder
    assert process.returncode == 0
    assert not folder.exists()


def test_a_stop_from_another_thread_interrupts_a_move(tmp_path: Path) -> None:
    with start(tmp_path) as robot:
        q = robot.get_state()["joint_positions"]
        stopper = threading.Timer(0.5, robot.stop)
        stopper.start()
        with pytest.raises(MoveInterruptedError, match="stopped"):
            robot.move_to_joint_positions(q + 0.3, duration=20.0)
        stopper.join()
        state = robot.get_state()
        assert state["halted"]
        robot.recover()
        assert not robot.get_state()["halted"]


def test_an_exception_ends_the_controller(tmp_path: Path) -> None:
    def fail() -> None:
        with start(tmp_path) as robot:
            processes.append(process_of(robot))
            raise ZeroDivisionError

    processes: list[subprocess.Popen[bytes]] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert processes[0].returncode == 0


def test_a_script_that_dies_takes_its_controller_along(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from serl_rt.controller.franka_robot import FrankaRobot\n"
        f"robot = FrankaRobot(options=['--record', 'off', '--policies', {str(tmp_path)!r}])\n"
        "print(robot._process._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    controller = int(done.stdout)
    end = time.monotonic() + 20.0
    while Path(f"/proc/{controller}/cmdline").exists() and alive(controller):
        assert time.monotonic() < end, "the controller lives on"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"


def test_a_gripper_is_named_and_ready_when_the_robot_is(tmp_path: Path) -> None:
    model, port = RobotiqModel(), free_port()
    with (
        tcp_server(model, port),
        start(tmp_path, gripper="robotiq", gripper_address=f"tcp://127.0.0.1:{port}") as robot,
    ):
        assert model.activations == 1
        gripper = robot.gripper
        assert gripper is not None
        assert gripper.max_width == pytest.approx(0.085)
        gripper.move(0.04)
        assert gripper.state().width == pytest.approx(0.04, abs=1e-3)
        q = robot.get_state()["joint_positions"]
        robot.move_to_joint_positions(q)
    with start(tmp_path, gripper="none") as robot:
        assert robot.gripper is None


def test_a_gripper_that_cannot_be_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'claw' is none of robotiq, franka, sim, none"):
        start(tmp_path, gripper="claw")
    for gripper, address, words in (
        ("robotiq", None, r"needs its address.*gripper_address="),
        ("robotiq", "somewhere", "gripper address 'somewhere' is not one of"),
        ("franka", None, "needs the robot's address"),
        ("sim", "tcp://127.0.0.1", "--gripper-address is for"),
    ):
        with pytest.raises(RobotConnectionError, match=words):
            start(tmp_path, gripper=gripper, gripper_address=address)
    monkeypatch.setattr(franka_robot, "GRIPPER_READY_S", 0.5)
    with pytest.raises(RobotConnectionError, match=r"the gripper is not ready after 0\.5 s: .+"):
        start(tmp_path, gripper="robotiq", gripper_address=f"tcp://127.0.0.1:{free_port()}")


def test_a_controller_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RobotConnectionError, match="nosuch"):
        FrankaRobot(task="nosuch")
    with pytest.raises(ValueError, match="needs no driver"):
        FrankaRobot(driver="pylibfranka")
