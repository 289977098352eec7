"""A step of 2 cm: our law under two sets of gains, and the law of libfranka's example by itself."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.fci.case import Context, Result
from bench.fci.cases.stress import connect
from bench.fci.servers import Server, franka_sim
from serl_rt.controller.franka_robot import FrankaRobot

BARE_IMPEDANCE = Path(__file__).resolve().parents[1] / "bare_impedance.py"
STEP_M = 0.02
SETTLED_M = 0.001
SETTLE_S = 3.0
RATE_HZ = 100.0

Gains = dict[str, float | list[float]]
SERL_GAINS: Gains = {
    "translational_stiffness": 2000.0,
    "translational_damping": 89.0,
    "rotational_stiffness": 150.0,
    "rotational_damping": 7.0,
    "nullspace_stiffness": 0.2,
    "translational_clip": [0.01] * 3,
    "translational_clip_neg": [0.01] * 3,
    "rotational_clip": [0.05] * 3,
    "rotational_clip_neg": [0.05] * 3,
}
LIBFRANKA_GAINS: Gains = {  # of its Cartesian impedance example; D = 2 sqrt(K)
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


@dataclass
class Response:
    """What an arm did after a step up."""

    times: list[float] = field(default_factory=list)
    """Since the step [s]."""
    errors: list[float] = field(default_factory=list)
    """Distance to the goal [m]."""
    heights: list[float] = field(default_factory=list)
    """Above the beginning [m]."""

    def judge(self) -> dict[str, Any]:
        """Return overshoot [mm], settling time to 1 mm [s] and the error left [mm]."""
        pairs = zip(self.times, self.errors, strict=True)
        outside: Sequence[float] = [time for time, error in pairs if error > SETTLED_M]
        settled = self.errors[-1] <= SETTLED_M
        return {
            "overshoot_mm": round(1000.0 * max(0.0, max(self.heights) - STEP_M), 2),
            "settling_s": round(max(outside, default=0.0), 3) if settled else None,
            "error_left_mm": round(1000.0 * self.errors[-1], 2),
        }


def position_step(context: Context) -> Result:
    """A step of 2 cm under SERL's gains settles within 1 mm; beside libfranka's example's law."""
    server = franka_sim(context.folder)
    measured: dict[str, Any] = {}
    # The step goes to the law nearly as it is: the reference follows in 20 ms.
    first_order = 'filter = "first_order"\nfilter_time_constant_s = 0.02\nmax_linear_speed = 3.0'
    changes = {'filter = "linear"': first_order}
    with server:
        with connect(context, server, changes) as robot:
            for name, gains in (("serl_gains", SERL_GAINS), ("libfranka_gains", LIBFRANKA_GAINS)):
                robot.joint_reset()
                robot.set_gains(**gains)
                robot.wait_period(0.0)
                robot.wait_period(1.5)  # the gains' own filter
                measured[name] = step_response(robot).judge()
            robot.joint_reset()  # the bare law begins at the same pose
        measured["bare_libfranka_law"] = bare_response(server).judge()
    measured["violations"] = server.violations()
    measured["reflexes"] = server.reflexes()
    settled = measured["serl_gains"]["settling_s"] is not None
    clean = not measured["violations"] and not measured["reflexes"]
    return Result(passed=clean and settled, measured=measured)


def step_response(robot: FrankaRobot) -> Response:
    """Step up by 2 cm."""
    hold_still = robot.get_state()["tcp_pose"].copy()
    for _ in range(int(RATE_HZ)):
        robot.set_tcp_pose(hold_still)
        robot.wait_period(1.0 / RATE_HZ)
    begin = robot.get_state()
    goal = begin["tcp_pose"].copy()
    goal[2] += STEP_M
    response = Response()
    for _ in range(int(SETTLE_S * RATE_HZ)):
        robot.set_tcp_pose(goal)
        robot.wait_period(1.0 / RATE_HZ)
        state = robot.get_state()
        response.times.append(1e-9 * (state["time_ns"] - begin["time_ns"]))
        response.errors.append(float(np.linalg.norm(state["tcp_pose"][:3] - goal[:3])))
        response.heights.append(float(state["tcp_pose"][2] - begin["tcp_pose"][2]))
    return response


def bare_response(robot: Server) -> Response:
    """The same with libfranka's law and nothing of ours, in a process of its own."""
    command = [sys.executable, str(BARE_IMPEDANCE), "--robot-ip", robot.address]
    done = subprocess.run(
        [*command, "--step", str(STEP_M), "--seconds", str(SETTLE_S)],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the bare law ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Response(**json.loads(done.stdout.splitlines()[-1]))


CASES = {"position_step": position_step}
