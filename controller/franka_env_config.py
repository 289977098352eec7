"""What a task file says of `serl_rt.controller.franka_env.FrankaEnv`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.controller.gripper_dialect import Dialect
from serl_rt.export.toml_config import ConfigError, Source, parse_table, read_toml, setting

TOOL_DOWN = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class EnvConfig:
    """The [franka_env] table of a task file."""

    action_scale: tuple[float, ...] = setting(
        (0.02, 0.1, 1.0), low=0.0, length=3, doc="of a step [m], [rad], and of the gripper"
    )
    nominal_orientation: tuple[float, ...] = setting(
        TOOL_DOWN, low=-1.0, high=1.0, length=4, doc="quaternion xyzw, middle of the rotation box"
    )
    rotation_low: tuple[float, ...] = setting(
        (-0.1, -0.1, -0.5), low=-1.5, high=0.0, length=3, unit="rad", doc="Euler xyz from nominal"
    )
    rotation_high: tuple[float, ...] = setting(
        (0.1, 0.1, 0.5), low=0.0, high=1.5, length=3, unit="rad"
    )
    reset_position: tuple[float, ...] | None = setting(
        None, length=3, low=-2.0, high=2.0, unit="m", doc="unset: where a joint reset ends"
    )
    reset_orientation: tuple[float, ...] | None = setting(None, length=4, low=-1.0, high=1.0)
    reset_lift: float = setting(0.0, low=0.0, high=0.5, unit="m", doc="first straight up")
    random_xy: float = setting(0.0, low=0.0, high=0.5, unit="m", doc="reset position, plus minus")
    random_rz: float = setting(0.0, low=0.0, high=3.0, unit="rad", doc="reset yaw, plus minus")
    joint_reset_period: int = setting(200, low=0, high=1_000_000, doc="episodes; 0: only the first")
    gripper_threshold: float = setting(0.5, low=0.0, high=1.0)
    gripper_sleep: float = setting(0.6, low=0.0, high=5.0, unit="s", doc="after a gripper command")
    gripper_penalty: float = setting(0.0, low=0.0, high=10.0, doc="per gripper command")


@dataclass(frozen=True)
class PoseReward:
    """The [pose_reward] table of a task file: where the tool centre point shall be."""

    position: tuple[float, ...] = setting(length=3, low=-2.0, high=2.0, unit="m", default=(0, 0, 0))
    orientation: tuple[float, ...] | None = setting(None, length=4, low=-1.0, high=1.0)
    position_tolerance: tuple[float, ...] = setting((0.01,) * 3, length=3, low=1e-4, unit="m")
    rotation_tolerance: tuple[float, ...] = setting((0.2,) * 3, length=3, low=1e-3, unit="rad")


def load_env_config(path: Path) -> tuple[EnvConfig, PoseReward | None, Dialect]:
    """Read a task file: the environment, the pose to reach, how the gripper's position is counted.

    Raises ConfigError naming the file, the key and what is allowed.
    """
    document = read_toml(path)
    source = Source(str(path))
    config = parse_table(EnvConfig, document.get("franka_env", {}), source / "franka_env")
    goal = document.get("pose_reward")
    reward = None if goal is None else parse_table(PoseReward, goal, source / "pose_reward")
    return config, reward, _gripper_convention(document, source / "gripper")


def _gripper_convention(document: Mapping[str, Any], source: Source) -> Dialect:
    table = document.get("gripper", {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{source.file}: [{source.table}] must be a table")
    name = table.get("convention", Dialect.HIL_SERL.value)
    allowed = [dialect.value for dialect in Dialect]
    if name not in allowed:
        raise source.error("convention", name, f"one of {', '.join(allowed)}")
    return Dialect(name)


def unit(quaternion: tuple[float, ...], name: str) -> NDArray[np.float64]:
    """Return a quaternion of length 1. Raises ConfigError if it is not nearly so."""
    values: NDArray[np.float64] = np.array(quaternion)
    norm = float(np.linalg.norm(values))
    if abs(norm - 1.0) > 1e-3:
        raise ConfigError(f"{name} = {list(quaternion)}: a unit quaternion xyzw is needed")
    return values / norm
