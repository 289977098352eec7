"""Pickles as SERL and HIL-SERL write them, and the contract that they fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from serl_rt.export.contract import Contract, GripperAction, ImageField, ObservationField, TcpDelta

ROBOT = Contract(
    name="robot",
    policy_rate_hz=10.0,
    workspace_low=(-1.0, -1.0, -1.0),
    workspace_high=(1.0, 1.0, 1.0),
    observation=(
        ObservationField("tcp_pose_relative", (7,), "m,1", "start", (-1.0,) * 7, (1.0,) * 7),
        ObservationField("tcp_vel", (6,), "m/s,rad/s", "tool", (-1.0,) * 6, (1.0,) * 6),
        ObservationField("gripper", (1,), "1", "", (0.0,), (1.0,)),
    ),
    images=(ImageField("wrist_1", 8, 12),),
    action=(TcpDelta(shape=(6,), scale=(0.01,) * 6), GripperAction("continuous")),
)


def serl_steps(lengths: list[int], stack: int = 1) -> list[dict[str, Any]]:
    """Transitions as HIL-SERL's recording leaves them, episodes of these lengths."""
    rng = np.random.default_rng(0)
    steps = []
    for length in lengths:
        seen = [
            {
                "state": rng.uniform(-1, 1, (stack, 19)).astype(np.float32),
                "wrist_1": rng.integers(0, 256, (stack, 8, 12, 3), dtype=np.uint8),
                "side": rng.integers(0, 256, (stack, 8, 12, 3), dtype=np.uint8),
            }
            for _ in range(length + 1)
        ]
        for i in range(length):
            last = i == length - 1
            steps.append(
                {
                    "observations": seen[i],
                    "next_observations": seen[i + 1],
                    "actions": rng.uniform(-1, 1, 7).astype(np.float32),
                    "rewards": np.float64(last),
                    "masks": 1.0 - last,
                    "dones": np.bool_(last),
                    "infos": {"succeed": last},
                    "grasp_penalty": -0.02 if i == 1 else 0.0,
                }
            )
    return steps


def pickled(path: Path, steps: object) -> Path:
    path.write_bytes(pickle.dumps(steps))
    return path
