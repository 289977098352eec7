"""Rotations as the environments need them: unit quaternions xyzw, rotation vectors, Euler angles.

Euler angles are extrinsic xyz (R = Rz Ry Rx), as SERL's. Arrays are float64.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


def multiply(a: ArrayLike, b: ArrayLike) -> Vector:
    """Return the rotation b followed by a, both in the base frame: (4,) each."""
    ax, ay, az, aw = np.asarray(a, np.float64)
    bx, by, bz, bw = np.asarray(b, np.float64)
    return np.array(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )


def inverse(quat: ArrayLike) -> Vector:
    """Return the rotation back."""
    x, y, z, w = np.asarray(quat, np.float64)
    return np.array([-x, -y, -z, w])


def from_rotation_vector(vector: ArrayLike) -> Vector:
    """Return the rotation by |v| about v, (3,) [rad]."""
    v = np.asarray(vector, np.float64)
    angle = float(np.linalg.norm(v))
    # sin(angle/2) / angle; numpy's sinc(x) is sin(pi x)/(pi x)
    scale = 0.5 * np.sinc(angle / (2.0 * np.pi))
    return np.array([*(scale * v), np.cos(angle / 2.0)])


def to_rotation_vector(quat: ArrayLike) -> Vector:
    """Return the rotation vector, (3,) [rad], of the short way round."""
    q = np.asarray(quat, np.float64)
    q = -q if q[3] < 0.0 else q
    sine = float(np.linalg.norm(q[:3]))
    if sine < 1e-9:
        return np.asarray(2.0 * q[:3])
    return np.asarray(2.0 * np.arctan2(sine, q[3]) / sine * q[:3])


def from_euler(angles: ArrayLike) -> Vector:
    """Return the quaternion of (3,) Euler angles [rad]."""
    rx, ry, rz = np.asarray(angles, np.float64)
    about_x = from_rotation_vector([rx, 0.0, 0.0])
    about_y = from_rotation_vector([0.0, ry, 0.0])
    about_z = from_rotation_vector([0.0, 0.0, rz])
    return multiply(about_z, multiply(about_y, about_x))


def to_euler(quat: ArrayLike) -> Vector:
    """Return (3,) Euler angles [rad]: rx and rz in [-pi, pi], ry in [-pi/2, pi/2]."""
    m = to_matrix(quat)
    ry = np.arcsin(np.clip(-m[2, 0], -1.0, 1.0))
    return np.array([np.arctan2(m[2, 1], m[2, 2]), ry, np.arctan2(m[1, 0], m[0, 0])])


def to_matrix(quat: ArrayLike) -> Vector:
    """Return the rotation matrix, (3, 3)."""
    x, y, z, w = np.asarray(quat, np.float64) / np.linalg.norm(quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def clip_rotation(quat: ArrayLike, nominal: ArrayLike, low: ArrayLike, high: ArrayLike) -> Vector:
    """Return the rotation whose Euler angles from `nominal`, (3,) [rad], are within the bounds.

    The angles are those of the turn from `nominal` to the rotation, seen from the base: around a
    tool-down pose (a half turn about x) they are the absolute angles less that half turn, so bounds
    for SERL's absolute angles carry over, and nothing happens where those jump from pi to -pi.
    """
    turn = to_euler(multiply(quat, inverse(nominal)))
    return multiply(from_euler(np.clip(turn, low, high)), nominal)


def slerp(a: ArrayLike, b: ArrayLike, part: float) -> Vector:
    """Return the rotation that has gone `part` (0..1) of the short way from a to b."""
    turn = to_rotation_vector(multiply(b, inverse(a)))
    return multiply(from_rotation_vector(part * turn), a)


def adjoint(pose: ArrayLike) -> Vector:
    """Return the (6, 6) map of a twist in the frame of `pose`, (7,), to the base frame.

    [[R, 0], [[p]x R, R]] on (linear, angular), as SERL has it.
    """
    position, rotation = np.asarray(pose, np.float64)[:3], to_matrix(np.asarray(pose)[3:])
    x, y, z = position
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.block([[rotation, np.zeros((3, 3))], [cross @ rotation, rotation]])
