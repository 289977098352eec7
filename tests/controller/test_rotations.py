"""Rotations against scipy, and the box that must not break where Euler angles jump."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from serl_rt.controller import rotations

RNG = np.random.default_rng(5)
SAMPLES = [Rotation.random(random_state=RNG) for _ in range(50)]


def same(quat: object, rotation: Rotation) -> bool:
    return bool((Rotation.from_quat(np.asarray(quat)).inv() * rotation).magnitude() < 1e-9)


@pytest.mark.parametrize("index", range(0, 50, 5))
def test_conversions_agree_with_scipy(index: int) -> None:
    a, b = SAMPLES[index], SAMPLES[(index + 1) % 50]
    qa, qb = a.as_quat(), b.as_quat()
    assert same(rotations.multiply(qa, qb), a * b)
    assert same(rotations.inverse(qa), a.inv())
    assert np.allclose(rotations.to_matrix(qa), a.as_matrix())
    assert np.allclose(rotations.to_rotation_vector(-qa), a.as_rotvec())
    assert same(rotations.from_rotation_vector(a.as_rotvec()), a)
    assert np.allclose(rotations.to_euler(qa), a.as_euler("xyz"))
    assert same(rotations.from_euler(a.as_euler("xyz")), a)
    half = rotations.slerp(qa, qb, 0.5)
    assert np.isclose(
        (Rotation.from_quat(half) * a.inv()).magnitude(), (b * a.inv()).magnitude() / 2
    )


def test_the_rotation_box_survives_the_wrap_at_pi() -> None:
    """Tool down lies at rx = +-pi: a step across must be a small turn, not a jump or a clip."""
    down = np.array([1.0, 0.0, 0.0, 0.0])
    low, high = np.array([-0.1, -0.1, -0.5]), np.array([0.1, 0.1, 0.5])
    for tilt in (-0.09, -0.01, 0.0, 0.01, 0.09):
        wanted = rotations.from_euler([np.pi + tilt, 0.0, 0.2])
        clipped = rotations.clip_rotation(wanted, down, low, high)
        assert same(clipped, Rotation.from_quat(wanted))
    for tilt in (-0.5, 0.5):
        wanted = rotations.from_euler([np.pi + tilt, 0.3, 1.0])
        clipped = rotations.clip_rotation(wanted, down, low, high)
        turn = rotations.to_euler(rotations.multiply(clipped, rotations.inverse(down)))
        assert np.allclose(turn, [np.copysign(0.1, tilt), 0.1, 0.5])


def test_adjoint_maps_tool_twists_to_the_base() -> None:
    pose = np.array([0.4, -0.1, 0.3, *SAMPLES[3].as_quat()])
    twist = np.array([0.1, 0.0, 0.2, 0.0, 0.3, 0.1])
    matrix = SAMPLES[3].as_matrix()
    angular = matrix @ twist[3:] + np.cross(pose[:3], matrix @ twist[:3])
    assert np.allclose(rotations.adjoint(pose) @ twist, [*(matrix @ twist[:3]), *angular])
