"""Write one .bin file per message: what both languages must read, and write byte for byte.

A file is the message's frames, each preceded by its length as u32, little-endian. Run this after an
intended change of the wire format, and raise PROTOCOL:

    python tests/golden/wire/make_messages.py
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serl_rt.export import messages as m
from serl_rt.export.columns import DTYPES, STARTS, Array, rows_of, transition_columns
from serl_rt.export.operator_messages import Command, Reply, StateSample, StreamTarget
from serl_rt.export.wire import AnyMessage, encode

FOLDER = Path(__file__).parent
RUN_ID = "0123456789abcdef" * 2
LEARNER_ID = "fedcba9876543210" * 2
CONTRACT_ID = "c0" * 32
SHA256 = "5a" * 32
TRUNK_SHA256 = "7b" * 32
FIELDS = (("q", (7,)), ("cube/corners", (2, 3)))
IMAGES = (("front", (2, 3, 3)), ("wrist", (1, 2, 3)))
ACTION_DIM = 4
COUNT = 3
FIRST_STEPS = (0, 1, 0)


def transitions(images: Sequence[tuple[str, tuple[int, ...]]] = ()) -> m.Transitions:
    """Return three transitions; every value follows from its column, row and position.

    With images the second one starts anew.
    """
    columns: dict[str, Array] = {}
    for number, column in enumerate(transition_columns(FIELDS, ACTION_DIM, images)):
        if column.name == STARTS:
            columns[column.name] = np.array(FIRST_STEPS, np.uint8)
            continue
        shape = (rows_of(column, COUNT, columns.get(STARTS)), *column.shape)
        values = 100 * number + np.arange(np.prod(shape)).reshape(shape)
        if column.dtype == "u1":
            values = values % (256 if column.shape else 2)
        if column.dtype == "f4":
            values = values / 8
        columns[column.name] = values.astype(DTYPES[column.dtype])
    return m.Transitions(RUN_ID, 2**40, columns)


def state() -> StateSample:
    """Return a sample with every value different."""
    jacobian = np.eye(6, 7)
    jacobian[0, 6] = 0.5 / 1.75
    return StateSample(
        sequence=7,
        time_ns=123_456_789_000,
        status={"mode": "hold", "episode": 3, "faults": {"stale": 0}, "rate_hz": 10.5, "x": None},
        q=np.arange(7) / 8,
        dq=1 + np.arange(7) / 8,
        tau_J=2 + np.arange(7) / 8,
        tcp_pose=np.array([0.4, 0.1, 0.3, 0.5, -0.5, 0.5, 0.5]),
        tcp_vel=np.array([1.5, 1.125, 1.25, 1.375, 1.5, 1.625]),
        tcp_wrench=np.arange(6) - 2.5,
        gripper=np.array([0.75]),
        jacobian=jacobian.ravel(),
        reference=np.array([0.5, 0.2, 0.4, 0.5, 0.5, -0.5, 0.5]),
    )


def messages() -> dict[str, AnyMessage]:
    """Return file name -> message."""
    return {
        "hello": m.Hello(m.PROTOCOL, RUN_ID, CONTRACT_ID, "pick_cube", "lockstep", 2**63),
        "transitions": transitions(),
        "transitions_with_images": transitions(IMAGES),
        "policy_request": m.PolicyRequest(300),
        "policy_request_holding_trunk": m.PolicyRequest(300, TRUNK_SHA256),
        "policy_result": m.PolicyResult(300, False, "späť: 3 > 2", 12.5),
        "heartbeat": m.Heartbeat(RUN_ID),
        "welcome": m.Welcome(m.PROTOCOL, LEARNER_ID, RUN_ID, 70_000, 2**64 - 1),
        "ack": m.Ack(RUN_ID, 200, 65_536, True),
        "policy_offer": m.PolicyOffer(300, 5, SHA256, CONTRACT_ID),
        "policy": m.Policy(300, 5, SHA256, b"\x00onnx"),
        "policy_with_trunk": m.Policy(300, 5, SHA256, b"\x00onnx", 3, TRUNK_SHA256),
        "policy_without_its_trunk": m.Policy(300, 5, SHA256, b"nx", 3, TRUNK_SHA256),
        "hello_required": m.HelloRequired(),
        "refused": m.Refused("another contract"),
        "command": Command(9, "move", {"q": [0.5, -1, 2], "wait": True, "note": "", "n": None}),
        "reply": Reply(9, False, "no such command", {"list": [1, -129, 2**32, -(2**31), 1.5, 2.0]}),
        "target": StreamTarget("wrench", [1.0, -2.0, 3.5, 0.0, 0.0, 0.25], 0.1),
        "state": state(),
    }


def main() -> None:
    """Write all files."""
    for name, message in messages().items():
        frames = [bytes(frame) for frame in encode(message)]
        data = b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)
        (FOLDER / f"{name}.bin").write_bytes(data)


if __name__ == "__main__":
    main()
