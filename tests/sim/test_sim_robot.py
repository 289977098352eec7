"""The simulated arm in lock-step as a Robot: what every Robot must do."""

from pathlib import Path

import numpy as np
import pytest

from serl_rt.controller._core import ControllerError
from serl_rt.controller.robot import (
    Gripper,
    MoveInterruptedError,
    Robot,
    RobotError,
    TargetRefusedError,
    UnsupportedError,
)
from serl_rt.export.task import find_task
from serl_rt.sim.envs import SimArmEnv
from serl_rt.sim.robot import SimRobot


@pytest.fixture
def robot() -> SimRobot:
    return SimRobot("pick_cube")


def run(robot: SimRobot, seconds: float) -> None:
    robot.wait_period(0.0)
    robot.wait_period(seconds)


def test_it_is_a_robot_and_tells_its_state(robot: SimRobot) -> None:
    assert isinstance(robot, Robot)
    assert isinstance(robot.gripper, Gripper)
    state = robot.get_state()
    assert state["joint_positions"].shape == (7,)
    assert state["jacobian"].shape == (6, 7)
    assert np.isclose(np.linalg.norm(state["tcp_pose"][3:]), 1.0)
    assert state["mode"] == "hold"
    assert state["in_charge"] == "operator"
    assert np.allclose(state["jacobian"] @ state["joint_velocities"], state["tcp_vel"])


def test_a_joint_move_arrives_and_a_bad_one_never_starts(robot: SimRobot) -> None:
    before = robot.get_state()
    goal = before["joint_positions"] + 0.2
    robot.move_to_joint_positions(goal)
    assert np.allclose(robot.get_state()["joint_positions"], goal, atol=0.02)
    with pytest.raises(TargetRefusedError, match="joint_limits"):
        robot.move_to_joint_positions(goal + 3.0)
    with pytest.raises(TargetRefusedError, match="move_too_fast"):
        robot.move_to_joint_positions(before["joint_positions"], duration=0.05)
    with pytest.raises(ValueError, match="7 finite numbers"):
        robot.move_to_joint_positions([0.0] * 6)
    assert np.allclose(robot.get_state()["joint_positions"], goal, atol=0.02)
    robot.joint_reset()
    assert np.allclose(robot.get_state()["joint_positions"], robot.describe()["reset_q"], atol=0.02)


def test_streamed_poses_are_followed_and_a_stream_that_ends_is_held(robot: SimRobot) -> None:
    pose = robot.get_state()["tcp_pose"].copy()
    pose[2] += 0.05
    run(robot, 0.0)
    for _ in range(20):
        robot.set_tcp_pose(pose)
        robot.wait_period(0.1)
    state = robot.get_state()
    assert state["mode"] == "cartesian_impedance"
    assert np.linalg.norm(state["tcp_pose"][:3] - pose[:3]) < 0.005
    assert np.allclose(state["target_pose"][:3], pose[:3], atol=1e-6)
    run(robot, 1.0)
    state = robot.get_state()
    assert state["mode"] == "hold"
    assert state["faults"]["target_stale"] == 1


def test_a_pose_outside_the_workspace_is_refused_and_counted(robot: SimRobot) -> None:
    pose = robot.get_state()["tcp_pose"].copy()
    pose[0] = 2.0
    robot.set_tcp_pose(pose)
    run(robot, 0.01)
    state = robot.get_state()
    assert state["mode"] == "hold"
    assert state["faults"] == {"target_outside_workspace": 1}


def test_a_wrench_pushes_and_ends_soon(robot: SimRobot) -> None:
    height = robot.get_state()["tcp_pose"][2]
    run(robot, 0.0)
    for _ in range(20):
        robot.set_wrench([0.0, 0.0, 10.0, 0.0, 0.0, 0.0])
        robot.wait_period(0.05)
    state = robot.get_state()
    assert state["mode"] == "cartesian_wrench"
    assert state["tcp_pose"][2] > height + 0.03
    assert np.linalg.norm(state["tcp_vel"][:3]) < 0.3
    run(robot, 0.11)
    assert robot.get_state()["mode"] == "hold"


def test_gains_are_checked_by_name_and_kept(robot: SimRobot) -> None:
    robot.set_gains(translational_stiffness=800.0, translational_clip=[0.01, 0.02, 0.03])
    gains = robot.get_gains()
    assert gains["translational_stiffness"] == 800.0
    assert gains["translational_clip"] == [0.01, 0.02, 0.03]
    with pytest.raises(ValueError, match=r"translational_stiffness.*6000"):
        robot.set_gains(translational_stiffness=9000.0)
    with pytest.raises(ValueError, match="stifness"):
        robot.set_gains(stifness=1.0)


def test_a_load_is_of_the_model(robot: SimRobot) -> None:
    with pytest.raises(UnsupportedError, match="MuJoCo model"):
        robot.set_load(0.5, [0.0, 0.0, 0.05], np.diag([1e-3, 1e-3, 1e-3]))


def test_a_stop_ends_only_by_a_decision(robot: SimRobot) -> None:
    robot.stop()
    run(robot, 0.1)
    state = robot.get_state()
    assert state["stopped"]
    assert state["halted"]
    robot.set_tcp_pose(state["tcp_pose"])
    run(robot, 0.01)
    assert robot.get_state()["faults"]["target_while_stopped"] == 1
    robot.recover()
    run(robot, 0.01)
    assert not robot.get_state()["stopped"]
    assert not robot.get_state()["halted"]


def test_a_move_that_ends_in_its_middle_says_so(
    robot: SimRobot, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = robot._commands
    wait = commands.wait
    calls = 0

    def stop_on_the_way(seconds: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            commands.command("stop", {})
        wait(seconds)

    monkeypatch.setattr(commands, "wait", stop_on_the_way)
    with pytest.raises(MoveInterruptedError, match="stopped"):
        robot.move_to_joint_positions(robot.get_state()["joint_positions"] + 0.3)


def test_the_gripper_closes_holds_nothing_and_opens(robot: SimRobot) -> None:
    gripper = robot.gripper
    assert gripper is not None
    assert gripper.grasp() is False
    assert gripper.state().opening < 0.05
    gripper.move(0.04)
    assert abs(gripper.state().width - 0.04) < 0.01
    gripper.open()
    assert gripper.state().opening > 0.95
    with pytest.raises(ValueError, match="outside"):
        gripper.move(1.0)


def test_guiding_lets_the_arm_be_moved_and_the_same_calls_give_the_same_bits() -> None:
    def play() -> bytes:
        robot = SimRobot("reach")
        robot.guide()
        run(robot, 0.05)
        assert robot.get_state()["mode"] == "gravity_compensation"
        robot.hold()
        robot.move_to_joint_positions(robot.get_state()["joint_positions"] + 0.05)
        return robot.get_state()["joint_positions"].tobytes()

    assert play() == play()


def test_there_is_no_policy_to_intervene_with(robot: SimRobot) -> None:
    with pytest.raises((RobotError, ValueError), match="no policy"):
        robot.intervene([0.0] * 4, 0.1)


def test_a_load_that_no_body_has_is_refused(tmp_path: Path) -> None:
    task = tmp_path / "task.toml"
    load = (
        "mass = 0.2\ncentre = [0.0, 0.0, 0.05]\ninertia = [1e-3, 5e-4, 0, 0, 1e-3, 0, 0, 0, 1e-3]"
    )
    task.write_text(f"{find_task('fr3_reach').read_text()}\n[robot.load]\n{load}\n")
    with pytest.raises(ControllerError, match=r"robot\.load\.inertia.*not symmetric"):
        SimRobot(str(task))


def test_a_reward_by_a_classifier_needs_no_model_where_nobody_is_rewarded(tmp_path: Path) -> None:
    task = tmp_path / "task.toml"
    text = find_task("pick_cube").read_text()
    assert 'reward = "dense"' in text
    task.write_text(text.replace('reward = "dense"', 'reward = "classifier"'))
    with pytest.raises(ControllerError, match="needs its model"):
        SimArmEnv(str(task))
    robot = SimRobot(str(task))
    robot.joint_reset()
    assert np.allclose(robot.get_state()["joint_positions"], robot.describe()["reset_q"], atol=0.02)
