"""The JSON of SERL's routes. Lengths in SI units, quaternions xyzw, angles in radians."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Three = Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]
Six = Annotated[list[FiniteFloat], Field(min_length=6, max_length=6)]
Seven = Annotated[list[FiniteFloat], Field(min_length=7, max_length=7)]
Nine = Annotated[list[FiniteFloat], Field(min_length=9, max_length=9)]


class Request(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid")


class PoseRequest(Request):
    """Where the end effector shall go."""

    arr: Seven
    """x, y, z [m], quaternion x, y, z, w; base frame."""


class WrenchRequest(Request):
    """What the end effector shall push with."""

    arr: Six
    """Force [N], torque [Nm]; base frame."""


class GripperRequest(Request):
    """Where the fingers shall go."""

    gripper_pos: FiniteFloat
    """0 to 255, or [m] with --dialect metres; what is outside counts as the nearest."""


class LoadRequest(Request):
    """What the robot carries."""

    mass: Annotated[FiniteFloat, Field(ge=0.0, le=20.0)]
    """[kg]."""
    F_x_center_load: Three
    """Centre of mass [m] from the flange."""
    load_inertia: Nine
    """[kg m^2]."""


class PoseReply(BaseModel):
    """x, y, z [m], quaternion x, y, z, w."""

    pose: Seven


class EulerReply(BaseModel):
    """x, y, z [m], extrinsic xyz Euler angles [rad]."""

    pose: Six


class VelocityReply(BaseModel):
    """Linear [m/s] and angular [rad/s] velocity, base frame."""

    vel: Six


class ForceReply(BaseModel):
    """External force [N], frame of the end effector."""

    force: Three


class TorqueReply(BaseModel):
    """External torque [Nm], frame of the end effector."""

    torque: Three


class JointReply(BaseModel):
    """Joint positions [rad]."""

    q: Seven


class JointVelocityReply(BaseModel):
    """Joint velocities [rad/s]."""

    dq: Seven


class JacobianReply(BaseModel):
    """6 rows (linear, angular) of 7."""

    jacobian: list[Seven]


class GripperReply(BaseModel):
    """The gripper's position in the dialect's unit; 0 without a gripper."""

    gripper: float


class StateReply(BaseModel):
    """Everything of one instant."""

    pose: Seven
    vel: Six
    force: Three
    torque: Three
    q: Seven
    dq: Seven
    jacobian: list[Seven]
    gripper_pos: float


class StatusReply(BaseModel):
    """What the controller does; not among SERL's routes."""

    mode: str
    in_charge: str
    stopped: bool
    halted: bool
    faults: dict[str, int]


class ErrorReply(BaseModel):
    """Why a request was not carried out."""

    detail: str
