"""What no policy should ask for, for minutes: the strict robot has nothing to complain about."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.fci.case import Case, Context, Result
from bench.fci.motions import FAST_GAINS, MOTIONS, Motion
from bench.fci.servers import Server, franka_sim
from serl_rt.controller.franka_robot import FrankaRobot
from serl_rt.controller.robot import RobotState
from serl_rt.export.task import find_task

SEED = 7
STEP_M = 0.02
SETTLED_M = 0.001
SETTLE_S = 3.0
RATE_HZ = 100.0
LIBFRANKA_GAINS: dict[str, float | list[float]] = {
    # The law of libfranka's Cartesian impedance example: K 150 N/m and 10 Nm/rad, D 2 sqrt(K). The
    # rotation's error is the sine of half the angle in both.
    "translational_stiffness": 150.0,
    "translational_damping": 2.0 * 150.0**0.5,
    "rotational_stiffness": 10.0,
    "rotational_damping": 2.0 * 10.0**0.5,
    "nullspace_stiffness": 0.0,
    "translational_clip": [0.1] * 3,
    "translational_clip_neg": [0.1] * 3,
    "rotational_clip": [0.1] * 3,
    "rotational_clip_neg": [0.1] * 3,
}


def connect(context: Context, server: Server, changes: Mapping[str, str]) -> FrankaRobot:
    """Start a controller for the server's arm, with fr3_reach after changes of its text."""
    text = find_task("fr3_reach").read_text()
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"the task fr3_reach has no {old!r}")
        text = text.replace(old, new)
    task = context.folder / "stress.toml"
    task.write_text(text)
    return FrankaRobot(
        server.address,
        task=str(task),
        driver=context.driver,
        options=["--record", "off", "--policies", str(context.folder / "policies")],
    )


def stress(name: str, motion: Motion) -> Case:
    """Return the case of a motion."""

    def case(context: Context) -> Result:
        server = franka_sim(context.folder)
        # Targets that jump are followed by a first-order reference instead of being refused.
        changes = {'filter = "linear"': 'filter = "first_order"\nmax_linear_speed = 3.0'}
        with server, connect(context, server, changes) as robot:
            robot.joint_reset()
            robot.set_gains(**FAST_GAINS)
            begin = robot.get_state()
            stops = motion(robot, np.random.default_rng(SEED), context.seconds)
            measured = report(robot.get_state(), begin, stops)
        measured["violations"] = server.violations()
        measured["reflexes"] = server.reflexes()
        clean = not measured["violations"] and not measured["reflexes"]
        return Result(passed=clean, measured=measured)

    case.__doc__ = motion.__doc__
    case.__name__ = name
    return case


def report(now: RobotState, begin: RobotState, stops: int) -> dict[str, Any]:
    """Return what happened during a motion."""
    return {
        "robot_seconds": round(1e-9 * (now["time_ns"] - begin["time_ns"]), 1),
        "controller_stops": stops,
        "faults": now["faults"],
    }


def position_step(context: Context) -> Result:
    """A step of 2 cm under SERL's gains settles within 1 mm; beside libfranka's example's law."""
    laws: dict[str, dict[str, float | list[float]]] = {
        "serl_gains": {
            "translational_stiffness": 2000.0,
            "translational_damping": 89.0,
            "rotational_stiffness": 150.0,
            "rotational_damping": 7.0,
            "nullspace_stiffness": 0.2,
            "translational_clip": [0.01] * 3,
            "translational_clip_neg": [0.01] * 3,
            "rotational_clip": [0.05] * 3,
            "rotational_clip_neg": [0.05] * 3,
        },
        "libfranka_example": LIBFRANKA_GAINS,
    }
    server = franka_sim(context.folder)
    measured: dict[str, Any] = {}
    # The step goes to the law nearly as it is: the reference follows in 20 ms.
    first_order = 'filter = "first_order"\nfilter_time_constant_s = 0.02\nmax_linear_speed = 3.0'
    changes = {'filter = "linear"': first_order}
    with server, connect(context, server, changes) as robot:
        for name, gains in laws.items():
            robot.joint_reset()
            robot.set_gains(**gains)
            robot.wait_period(0.0)
            robot.wait_period(1.5)  # the gains' own filter
            measured[name] = step_response(robot)
    measured["violations"] = server.violations()
    measured["reflexes"] = server.reflexes()
    settled = measured["serl_gains"]["settling_s"] is not None
    clean = not measured["violations"] and not measured["reflexes"]
    return Result(passed=clean and settled, measured=measured)


def step_response(robot: FrankaRobot) -> dict[str, Any]:
    """Step up by 2 cm; return overshoot [mm], settling time to 1 mm [s] and the error left [mm]."""
    begin = robot.get_state()["tcp_pose"].copy()
    hold_still = begin.copy()
    for _ in range(int(RATE_HZ)):
        robot.set_tcp_pose(hold_still)
        robot.wait_period(1.0 / RATE_HZ)
    begin = robot.get_state()["tcp_pose"].copy()
    goal = begin.copy()
    goal[2] += STEP_M
    times, errors, heights = [], [], []
    start_ns = robot.get_state()["time_ns"]
    for _ in range(int(SETTLE_S * RATE_HZ)):
        robot.set_tcp_pose(goal)
        robot.wait_period(1.0 / RATE_HZ)
        state = robot.get_state()
        times.append(1e-9 * (state["time_ns"] - start_ns))
        errors.append(float(np.linalg.norm(state["tcp_pose"][:3] - goal[:3])))
        heights.append(float(state["tcp_pose"][2] - begin[2]))
    outside = [time for time, error in zip(times, errors, strict=True) if error > SETTLED_M]
    settled = errors[-1] <= SETTLED_M
    return {
        "overshoot_mm": round(1000.0 * max(0.0, max(heights) - STEP_M), 2),
        "settling_s": round(max(outside, default=0.0), 3) if settled else None,
        "error_left_mm": round(1000.0 * errors[-1], 2),
    }


CASES: dict[str, Callable[[Context], Result]] = {
    **{f"stress_{name}": stress(name, motion) for name, motion in MOTIONS.items()},
    "position_step": position_step,
}
