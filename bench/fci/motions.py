"""The motions of the stress cases: a `Robot` is asked for things that no policy should ask for.

Each takes a robot, a generator of random numbers and how long it shall last [s]. A robot that
stops itself is told to go on, and how often that happened is returned: the controller may brake,
the robot may not have to.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from serl_rt.controller import rotations
from serl_rt.controller.commanded_robot import CommandedRobot
from serl_rt.controller.robot import RobotError
from serl_rt.export.operator_messages import StreamTarget

Vector = NDArray[np.float64]
Motion = Callable[[CommandedRobot, np.random.Generator, float], int]

FAST_GAINS: dict[str, float | list[float]] = {
    "translational_stiffness": 1500.0,
    "translational_damping": 150.0,
    "rotational_stiffness": 120.0,
    "rotational_damping": 10.0,
    "translational_clip": [0.1] * 3,
    "translational_clip_neg": [0.1] * 3,
    "rotational_clip": [0.1] * 3,
    "rotational_clip_neg": [0.1] * 3,
}


class Stops:
    """Counts how often the controller has stopped the arm, and lets it go on."""

    def __init__(self, robot: CommandedRobot) -> None:
        """Watch a robot."""
        self._robot = robot
        self.count = 0

    def look(self) -> None:
        """Let a stopped arm go on."""
        if self._robot.get_state()["stopped"]:
            self.count += 1
            self._robot.recover()


def paced(robot: CommandedRobot, rate_hz: float, seconds: float) -> Iterator[float]:
    """Yield the time of each step [s] at that rate."""
    robot.wait_period(0.0)
    for step in range(round(rate_hz * seconds)):
        yield step / rate_hz
        robot.wait_period(1.0 / rate_hz)


def sine(robot: CommandedRobot, _: np.random.Generator, seconds: float) -> int:
    """Move up and down and sideways by 8 cm, 0.25 Hz, targets at 100 Hz."""
    start, stops = robot.get_state()["tcp_pose"].copy(), Stops(robot)
    for time in paced(robot, 100.0, seconds):
        pose, phase = start.copy(), 2.0 * np.pi * 0.25 * time
        pose[1] += 0.08 * np.sin(phase)
        pose[2] += 0.04 * (1.0 - np.cos(phase))
        robot.set_tcp_pose(pose)
        stops.look()
    return stops.count


def jumps(robot: CommandedRobot, rng: np.random.Generator, seconds: float) -> int:
    """Jump over the whole workspace and half a radian of rotation, at 20 Hz."""
    about, stops = robot.describe(), Stops(robot)
    start = robot.get_state()["tcp_pose"]
    for _ in paced(robot, 20.0, seconds):
        position = rng.uniform(about["workspace_low"], about["workspace_high"])
        turn = rotations.from_rotation_vector(rng.uniform(-0.3, 0.3, 3))
        pose = np.concatenate([position, rotations.multiply(turn, start[3:])])
        robot.set_tcp_pose(pose)
        stops.look()
    return stops.count


def random_actions(robot: CommandedRobot, rng: np.random.Generator, seconds: float) -> int:
    """Step from the measured pose by uniform random actions at 50 Hz."""
    return _act(robot, 50.0, seconds, lambda _: rng.uniform(-1.0, 1.0, 6))


def bang_bang(robot: CommandedRobot, rng: np.random.Generator, seconds: float) -> int:
    """Act with +1 or -1 on every axis, held for up to a second."""
    held = np.ones(6)

    def action(_: float) -> Vector:
        flips = rng.random(6) < 1.0 / 10.0  # at 20 Hz: every half second on average
        held[flips] *= -1.0
        return held

    return _act(robot, 20.0, seconds, action)


def _act(
    robot: CommandedRobot, rate_hz: float, seconds: float, action: Callable[[float], Vector]
) -> int:
    """Do as an environment does: 5 cm and 0.1 rad a step from the measured pose, in the box."""
    about, stops = robot.describe(), Stops(robot)
    start = robot.get_state()["tcp_pose"].copy()
    for time in paced(robot, rate_hz, seconds):
        pose, wanted = robot.get_state()["tcp_pose"], action(time)
        position = np.clip(
            pose[:3] + 0.05 * wanted[:3], about["workspace_low"], about["workspace_high"]
        )
        turn = rotations.from_euler(0.1 * wanted[3:])
        turned = rotations.clip_rotation(
            rotations.multiply(turn, pose[3:]), start[3:], [-0.4] * 3, [0.4] * 3
        )
        robot.set_tcp_pose(np.concatenate([position, turned]))
        stops.look()
    return stops.count


def bad_targets(robot: CommandedRobot, rng: np.random.Generator, seconds: float) -> int:
    """Send targets out of every range, far away, too fast, and a good one now and then."""
    start, stops = robot.get_state()["tcp_pose"].copy(), Stops(robot)
    for _ in paced(robot, 50.0, seconds):
        kind = rng.integers(5)
        if kind == 0:
            values = [*(rng.uniform(-10.0, 10.0, 3)), *start[3:]]
        elif kind == 1:
            values = [*start[:3], *rng.uniform(-1.0, 1.0, 4)]  # no unit quaternion
        elif kind == 2:
            values = [*(rng.uniform(-1.0, 1.0, 3) * 1e300), *start[3:]]
        elif kind == 3:
            values = [0.0] * 7
        else:
            values = [*(start[:3] + rng.uniform(-0.03, 0.03, 3)), *start[3:]]
        robot.stream(StreamTarget("pose", [float(value) for value in values], 0.5))
        stops.look()
    return stops.count


def stalls(robot: CommandedRobot, rng: np.random.Generator, seconds: float) -> int:
    """Move as random actions do, and send nothing for half a second now and then."""
    stops, left = Stops(robot), seconds
    while left > 0.0:
        part = min(left, rng.uniform(0.5, 2.0))
        stops.count += random_actions(robot, rng, part)
        robot.wait_period(0.5)
        left -= part + 0.5
    return stops.count


def gain_steps(robot: CommandedRobot, rng: np.random.Generator, seconds: float) -> int:
    """Step the gains between their extremes while the arm moves."""
    stops, left = Stops(robot), seconds
    while left > 0.0:
        gains: dict[str, float | list[float]] = {
            "translational_stiffness": float(rng.choice([0.0, 150.0, 6000.0])),
            "translational_damping": float(rng.choice([20.0, 89.0, 400.0])),
            "rotational_stiffness": float(rng.choice([0.0, 10.0, 300.0])),
            "rotational_damping": float(rng.choice([2.0, 7.0, 30.0])),
            "nullspace_stiffness": float(rng.choice([0.0, 0.2, 100.0])),
            "translational_clip": [float(rng.choice([0.001, 0.01, 0.1]))] * 3,
            "translational_clip_neg": [float(rng.choice([0.001, 0.01, 0.1]))] * 3,
        }
        robot.set_gains(**gains)
        part = min(left, 0.5)
        stops.count += random_actions(robot, rng, part)
        left -= part
    return stops.count


def mode_switches(robot: CommandedRobot, rng: np.random.Generator, seconds: float) -> int:
    """Go from any mode to any other, in motion."""
    stops = Stops(robot)
    start = robot.get_state()
    for _ in paced(robot, 5.0, seconds):
        choice = rng.integers(6)
        with contextlib.suppress(RobotError):  # e.g. a move that would be too fast
            if choice == 0:
                robot.hold()
            elif choice == 1:
                robot.guide()
            elif choice == 2:
                pose = start["tcp_pose"].copy()
                pose[:3] += rng.uniform(-0.05, 0.05, 3)
                robot.set_tcp_pose(pose)
            elif choice == 3:
                robot.set_joint_positions(
                    robot.get_state()["joint_positions"] + rng.uniform(-0.05, 0.05, 7)
                )
            elif choice == 4:
                robot.set_wrench([*rng.uniform(-15.0, 15.0, 3), *rng.uniform(-3.0, 3.0, 3)])
            else:
                goal = start["joint_positions"] + rng.uniform(-0.1, 0.1, 7)
                robot.command("move_joints", q=goal.tolist())
        stops.look()
    return stops.count


MOTIONS: dict[str, Motion] = {
    "sine": sine,
    "jumps": jumps,
    "random_actions": random_actions,
    "bang_bang": bang_bang,
    "bad_targets": bad_targets,
    "stalls": stalls,
    "gain_steps": gain_steps,
    "mode_switches": mode_switches,
}
