"""Demonstrations that SERL and HIL-SERL recorded: pickled lists of transitions.

Each transition is a dict {observations, actions, next_observations, rewards, masks, dones[, infos,
grasp_penalty]} as the wrappers of the recording left it: proprioception flattened to one vector in
alphabetical order of its parts, orientation as Euler angles, everything relative to the pose at
the reset, images with a leading axis of stacked frames. The files are read without running code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.contract import Contract
from serl_rt.export.demonstrations import DemonstrationsError
from serl_rt.learner.data.recording import Arrays, Recording
from serl_rt.learner.safe_pickle import UnsafePickleError, load_arrays

Layout = tuple[tuple[str, int], ...]
"""The parts of a flattened state: (name, size) in order."""

LAYOUTS: dict[str, Layout] = {
    "robot": (
        ("gripper_pose", 1),
        ("tcp_force", 3),
        ("tcp_pose", 6),
        ("tcp_torque", 3),
        ("tcp_vel", 6),
    ),
    "sim": (
        ("block_pos", 3),
        ("panda/gripper_pos", 1),
        ("panda/tcp_pos", 3),
        ("panda/tcp_vel", 3),
    ),
}
"""`robot`: both projects' Franka environments. `sim`: SERL's simulated PandaPickCube."""

_REQUIRED = ("observations", "actions", "next_observations", "rewards", "masks", "dones")
_SUCCESS = ("succeed", "success", "is_success")


def read_serl_demos(path: Path, contract: Contract, layout: Layout | None = None) -> Recording:
    """Read one file as steps of a task.

    `layout` names the parts of the state vector; None chooses one of LAYOUTS by its length. Names
    and forms are turned into the contract's: see `contract_fields`.
    Raises DemonstrationsError that names the file, the transition, the key and what is allowed.
    """
    try:
        steps = load_arrays(path)
    except UnsafePickleError as error:
        raise DemonstrationsError(str(error)) from error
    except (ValueError, OSError) as error:
        raise DemonstrationsError(f"{path}: {error}") from error
    if not isinstance(steps, list) or not steps:
        raise DemonstrationsError(f"{path}: expected a list of transitions")
    for number, step in enumerate(steps):
        missing = [k for k in _REQUIRED if not isinstance(step, Mapping) or k not in step]
        if missing:
            raise DemonstrationsError(f"{path}: transition {number} lacks {', '.join(missing)}")

    def observed(key: str) -> Arrays:
        raw = _stack([step[key] for step in steps], f"{path}: {key}")
        return contract_fields(raw, contract, layout, str(path))

    masks = _numbers(steps, "masks", path)
    dones = _numbers(steps, "dones", path) > 0.5
    rewards = _numbers(steps, "rewards", path)
    terminated = dones & (masks < 0.5)
    infos = [step.get("infos") or {} for step in steps]
    if any(name in info for info in infos for name in _SUCCESS):
        success = np.array([any(bool(info.get(name)) for name in _SUCCESS) for info in infos])
    else:
        success = terminated & (rewards > 0.0)
    return Recording(
        observed("observations"),
        observed("next_observations"),
        _stack([{"actions": step["actions"]} for step in steps], str(path))["actions"],
        rewards,
        terminated,
        dones & ~terminated,
        success,
        np.array(["intervene_action" in info for info in infos]),
        np.array([step.get("grasp_penalty", 0.0) for step in steps], np.float32).reshape(-1),
    )


def contract_fields(raw: Arrays, contract: Contract, layout: Layout | None, origin: str) -> Arrays:
    """Return what a contract observes, from SERL's observations of all steps, (n, ...) each.

    Besides equal names: `gripper` from gripper_pose (HIL-SERL's 0 to 1); `tcp_pose` and
    `tcp_pose_relative` from tcp_pose, Euler angles made quaternions; `tcp_position`,
    `tcp_linear_vel` from the first half of pose and velocity; `cube_position` from block_pos;
    `tcp_to_cube` as the difference. What is not there is left out. Images lose the axis of stacked
    frames: the newest is kept.
    """
    parts = {name: value for name, value in raw.items() if name != "state"}
    if "state" in raw:
        parts |= _split(raw["state"].reshape(len(raw["state"]), -1), layout, origin)
    parts = {name.removeprefix("panda/"): value for name, value in parts.items()}
    pose, velocity = parts.get("tcp_pose"), parts.get("tcp_vel")
    position = parts["tcp_pos"] if pose is None and "tcp_pos" in parts else pose
    cube = parts.get("block_pos")
    derived = {
        "gripper": parts.get("gripper_pose", parts.get("gripper_pos")),
        "tcp_pose": _quaternion_pose(pose),
        "tcp_pose_relative": _quaternion_pose(pose),
        "tcp_position": None if position is None else position[:, :3],
        "tcp_linear_vel": None if velocity is None else velocity[:, :3],
        "cube_position": cube,
        "tcp_to_cube": None if cube is None or position is None else cube - position[:, :3],
    }
    result: Arrays = {}
    for field in contract.observation:
        value = derived.get(field.name)
        value = parts.get(field.name) if value is None else value
        if value is not None:
            result[field.name] = value.astype(np.float32, copy=False)
    for image in contract.images:
        if image.name in parts:
            frames = parts[image.name]
            result[image.name] = frames[:, -1] if frames.ndim == 5 else frames
    return result or parts


def parse_layout(text: str) -> Layout:
    """Read `name:size,name:size`, or the name of one of LAYOUTS. Raises ValueError."""
    if text in LAYOUTS:
        return LAYOUTS[text]
    parts = []
    for part in text.split(","):
        name, _, size = part.rpartition(":")
        if not name or not size.isdigit() or int(size) < 1:
            raise ValueError(
                f"layout '{text}': expected one of {', '.join(LAYOUTS)}, or parts of the state "
                "vector such as gripper_pose:1,tcp_pose:6"
            )
        parts.append((name, int(size)))
    return tuple(parts)


def _split(state: NDArray[Any], layout: Layout | None, origin: str) -> Arrays:
    size = state.shape[1]
    if layout is None:
        layout = next((x for x in LAYOUTS.values() if sum(n for _, n in x) == size), None)
    if layout is None or sum(n for _, n in layout) != size:
        known = "; ".join(f"{k}: {sum(n for _, n in x)}" for k, x in LAYOUTS.items())
        raise DemonstrationsError(
            f"{origin}: the state has {size} numbers; say with --layout name:size,... what they "
            f"are (known by their number: {known})"
        )
    ends = np.cumsum([n for _, n in layout])
    return dict(zip((name for name, _ in layout), np.split(state, ends[:-1], axis=1), strict=True))


def _quaternion_pose(pose: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return (n, 7) of xyz and extrinsic xyz Euler angles (n, 6); others as they are."""
    if pose is None or pose.shape[1] != 6:
        return pose
    from scipy.spatial.transform import Rotation  # here: it takes a third of a second

    quaternion = Rotation.from_euler("xyz", pose[:, 3:]).as_quat()
    return np.concatenate([pose[:, :3], quaternion], axis=1).astype(np.float32)


def _numbers(steps: Sequence[Mapping[str, Any]], key: str, path: Path) -> NDArray[np.float32]:
    try:
        return np.array([float(np.asarray(step[key]).reshape(())) for step in steps], np.float32)
    except (TypeError, ValueError) as error:
        raise DemonstrationsError(f"{path}: {key} must be one number each: {error}") from None


def _stack(values: Sequence[Any], origin: str) -> Arrays:
    """Return nested observations of all steps as flat named arrays; a bare vector is `state`."""
    rows = [_flat(value if isinstance(value, Mapping) else {"state": value}) for value in values]
    result: Arrays = {}
    for name, first in rows[0].items():
        try:
            stacked = np.stack([row[name] for row in rows])
        except (KeyError, ValueError):
            raise DemonstrationsError(
                f"{origin}: '{name}' is missing in, or has another shape in, some transition; "
                f"the first has {first.shape}"
            ) from None
        result[name] = stacked if stacked.dtype == np.uint8 else stacked.astype(np.float32)
    return result


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Arrays:
    result: Arrays = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):  # {"state": {...}} of environments without flattening
            result |= _flat(value, "" if name in ("state", "images") else f"{prefix}{name}/")
        else:
            result[f"{prefix}{name}"] = np.asarray(value)
    return result
