"""The control of position_step: a plain Cartesian impedance in pylibfranka's read/write loop.

tau = J^T (-K e - D J dq) + coriolis, with e the position's error and the rotation's as the vector
part of the error quaternion, K = 150 N/m and 10 Nm/rad, D = 2 sqrt(K): the law and the numbers of
the manufacturer's example, written anew. Nothing else: no filter, no limits but the torque's rate,
which libfranka limits there, too. Holds the measured pose for a second, steps it up, and prints one
line of JSON: lists of the time since the step [s], the error and the height [m].
"""

import argparse
import gc
import json
from typing import Any

import numpy as np
import pylibfranka
from numpy.typing import NDArray

Vector = NDArray[np.float64]

STIFFNESS = np.array([150.0] * 3 + [10.0] * 3)
DAMPING = 2.0 * np.sqrt(STIFFNESS)
MAX_RATE = 1.0  # [Nm] a millisecond
HOLD_TICKS = 1000
SAMPLE_TICKS = 10


def pose_of(state: Any) -> tuple[Vector, Vector]:
    """Return position, (3,) [m], and rotation matrix of the end effector in the base frame."""
    transform = np.array(state.O_T_EE).reshape(4, 4, order="F")
    return transform[:3, 3], transform[:3, :3]


def half_sine(turn: Vector) -> Vector:
    """Return the vector part, (3,), of the quaternion of a rotation matrix of less than pi."""
    real = 0.5 * np.sqrt(1.0 + np.trace(turn))
    axis = [turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]
    vector: Vector = np.array(axis) / (4.0 * real)
    return vector


def impedance(state: Any, model: Any, position: Vector, rotation: Vector) -> Vector:
    """Return the torques, (7,) [Nm], that pull the end effector to a pose."""
    here, turned = pose_of(state)
    error = np.concatenate([here - position, half_sine(turned @ rotation.T)])
    jacobian = np.array(model.zero_jacobian(state)).reshape(6, 7, order="F")
    wrench = -STIFFNESS * error - DAMPING * (jacobian @ np.array(state.dq))
    torques: Vector = jacobian.T @ wrench + np.array(model.coriolis(state))
    return torques


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--robot-ip", required=True)
    p.add_argument("--step", type=float, required=True, help="up [m]")
    p.add_argument("--seconds", type=float, required=True, help="after the step")
    arguments = p.parse_args()
    robot = pylibfranka.Robot(arguments.robot_ip, pylibfranka.RealtimeConfig.kIgnore)
    model = robot.load_model()
    goal, rotation = pose_of(robot.read_once())
    floor = goal[2]
    control = robot.start_torque_control()
    torques = pylibfranka.Torques([0.0] * 7)
    sent = np.zeros(7)
    times, errors, heights = [], [], []
    gc.disable()
    for tick in range(HOLD_TICKS + round(1000.0 * arguments.seconds)):
        state, _ = control.readOnce()
        since = tick - HOLD_TICKS
        if since == 0:
            begin, floor = state.time.to_sec(), pose_of(state)[0][2]
            goal = goal + np.array([0.0, 0.0, arguments.step])
        wanted = impedance(state, model, goal, rotation)
        sent = np.clip(wanted, sent - MAX_RATE, sent + MAX_RATE)
        torques.tau_J = sent.tolist()
        control.writeOnce(torques)
        if since > 0 and since % SAMPLE_TICKS == 0:
            position, _ = pose_of(state)
            times.append(state.time.to_sec() - begin)
            errors.append(float(np.linalg.norm(position - goal)))
            heights.append(float(position[2] - floor))
    torques.motion_finished = True
    control.writeOnce(torques)
    print(json.dumps({"times": times, "errors": errors, "heights": heights}))


if __name__ == "__main__":
    main()
