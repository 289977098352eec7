"""The simulated arm against Pinocchio, which reads the manufacturer's description (a URDF).

The URDF of the FR3 with its hand comes with the test dependency `franky-sim`. The one intended
difference is the armature, which the description does not have.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np
import pinocchio as pin
import pytest
from numpy.typing import NDArray

ASSETS = Path(__file__).parents[2] / "sim" / "assets"
SCENES = ("reach.xml", "pick_cube.xml")
CONFIGURATIONS = 1000
TOLERANCE = 1e-6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """The same arm in both libraries."""

    model: mujoco.MjModel
    data: mujoco.MjData
    reference: pin.Model
    reference_data: pin.Data

    def place(self, q: Array, dq: Array) -> None:
        """Computes everything of both at the arm's position and velocity, fingers closed."""
        self.data.qpos[:7], self.data.qvel[:7] = q, dq
        mujoco.mj_forward(self.model, self.data)
        pin.computeAllTerms(self.reference, self.reference_data, q, dq)
        pin.updateFramePlacements(self.reference, self.reference_data)

    def reference_pose(self, frame: str) -> pin.SE3:
        """Pose of a frame of the description."""
        return self.reference_data.oMf[self.reference.getFrameId(frame)]


def description() -> Path:
    """The URDF in the installed test dependency, found without importing it."""
    spec = find_spec("franky_sim")
    assert spec is not None, "install the extra `dev`"
    assert spec.origin is not None
    return Path(spec.origin).parent / "assets" / "fr3.urdf"


@pytest.fixture(scope="module", params=SCENES)
def pair(request: pytest.FixtureRequest) -> Pair:
    model = mujoco.MjModel.from_xml_path(str(ASSETS / request.param))
    full = pin.buildModelFromUrdf(str(description()))
    fingers = [i for i, name in enumerate(full.names) if "finger" in name]
    reference = pin.buildReducedModel(full, fingers, pin.neutral(full))
    return Pair(model, mujoco.MjData(model), reference, reference.createData())


@pytest.fixture(scope="module")
def samples(pair: Pair) -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    low, high = pair.reference.lowerPositionLimit, pair.reference.upperPositionLimit
    return [(rng.uniform(low, high), rng.uniform(-2, 2, 7)) for _ in range(CONFIGURATIONS)]


def test_limits(pair: Pair) -> None:
    np.testing.assert_allclose(pair.model.jnt_range[:7, 0], pair.reference.lowerPositionLimit)
    np.testing.assert_allclose(pair.model.jnt_range[:7, 1], pair.reference.upperPositionLimit)
    np.testing.assert_allclose(pair.model.jnt_actfrcrange[:7, 1], pair.reference.effortLimit)
    np.testing.assert_allclose(pair.model.actuator_ctrlrange[:7, 1], pair.reference.effortLimit)
    np.testing.assert_allclose(pair.model.actuator_ctrlrange[:7, 0], -pair.reference.effortLimit)


@pytest.mark.parametrize(("site", "frame"), [("flange", "fr3_link8"), ("tcp", "fr3_hand_tcp")])
def test_forward_kinematics(
    pair: Pair, samples: list[tuple[Array, Array]], site: str, frame: str
) -> None:
    for q, dq in samples:
        pair.place(q, dq)
        pose = pair.reference_pose(frame)
        ours = pair.data.site(site)
        np.testing.assert_allclose(ours.xpos, pose.translation, atol=TOLERANCE)
        np.testing.assert_allclose(ours.xmat.reshape(3, 3), pose.rotation, atol=TOLERANCE)


def test_zero_jacobian(pair: Pair, samples: list[tuple[Array, Array]]) -> None:
    linear, angular = np.zeros((3, pair.model.nv)), np.zeros((3, pair.model.nv))
    frame = pair.reference.getFrameId("fr3_hand_tcp")
    for q, dq in samples:
        pair.place(q, dq)
        mujoco.mj_jacSite(pair.model, pair.data, linear, angular, pair.model.site("tcp").id)
        expected = pin.getFrameJacobian(
            pair.reference, pair.reference_data, frame, pin.LOCAL_WORLD_ALIGNED
        )
        np.testing.assert_allclose(np.vstack([linear, angular])[:, :7], expected, atol=TOLERANCE)


def test_mass_matrix(pair: Pair, samples: list[tuple[Array, Array]]) -> None:
    full = np.zeros((pair.model.nv, pair.model.nv))
    armature = np.diag(pair.model.dof_armature[:7])
    for q, dq in samples:
        pair.place(q, dq)
        mujoco.mj_fullM(pair.model, pair.data, full)
        expected = pair.reference_data.M
        expected = np.triu(expected) + np.triu(expected, 1).T
        np.testing.assert_allclose(full[:7, :7] - armature, expected, atol=TOLERANCE)


def test_gravity_and_coriolis(pair: Pair, samples: list[tuple[Array, Array]]) -> None:
    """What the controller calls gravity is the compensation, coriolis is the rest of the bias."""
    for q, dq in samples:
        pair.place(q, dq)
        gravity = pair.data.qfrc_gravcomp[:7]
        coriolis = pair.data.qfrc_bias[:7] - gravity
        expected = pin.computeGeneralizedGravity(pair.reference, pair.reference_data, q)
        bias = pin.nonLinearEffects(pair.reference, pair.reference_data, q, dq)
        np.testing.assert_allclose(gravity, expected, atol=TOLERANCE)
        np.testing.assert_allclose(coriolis, bias - expected, atol=TOLERANCE)


def test_gripper_touches_at_zero_and_opens_to_its_width(pair: Pair) -> None:
    """The inner faces of the fingers meet in the plane of the tool centre point."""
    for opening in (0.0, 0.04):
        pair.data.qpos[7:9] = opening
        pair.place(np.array([0.3, -0.3, 0.1, -2.2, 0.2, 2.0, 0.5]), np.zeros(7))
        hand = pair.data.body("hand").xmat.reshape(3, 3)
        for side, name in ((1.0, "left_finger"), (-1.0, "right_finger")):
            geom = pair.data.geom(name)
            centre = hand.T @ (geom.xpos - pair.data.site("tcp").xpos)
            half = pair.model.geom(name).size[1]
            assert side * centre[1] - half == pytest.approx(opening, abs=1e-9)
    pair.data.qpos[7:9] = 0.0
    assert pair.model.actuator("gripper").ctrlrange[1] == pytest.approx(0.08)
