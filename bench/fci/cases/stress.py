"""What no policy should ask for, for minutes: the strict robot has nothing to complain about."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.fci.case import Case, Context, Result
from bench.fci.motions import FAST_GAINS, MOTIONS, Motion
from bench.fci.servers import Server, franka_sim
from serl_rt.controller.franka_robot import FrankaRobot
from serl_rt.controller.robot import RobotState
from serl_rt.export.task import find_task

SEED = 7


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


CASES: dict[str, Case] = {
    f"stress_{name}": stress(name, motion) for name, motion in MOTIONS.items()
}
