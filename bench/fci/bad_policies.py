"""Policies as no learner should make them: good within the contract's ranges, and bad elsewhere.

They are for the task fr3_reach. Each moves the arm away from the goal along y. Where the distance
to it has grown beyond BAD_BEYOND_M, which is outside of the range that verification probes and
which the arm reaches after half a second, the policy does what its name says; with `always` it does
so everywhere.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.slow_loop import loop_body
from serl_rt.export.contract import Contract
from serl_rt.export.publish import PolicyFile

OPSET = 20
IR_VERSION = 10
BAD_BEYOND_M = 0.15
MOVE = [0.0, -0.5, 0.0]  # the action: 1 cm a step
STALL_S = 0.5
TRIPS_PER_S = 250_000  # of the loop below, about; more on a fast machine
STALL_ABOVE = 1.0  # of a component of the noise: one step in six, at random
RECIPE = "bad on purpose"

BAD = ("not_a_number", "out_of_range", "stalls", "random", "bang_bang")
"""What a policy can become."""


def make_policy(
    contract: Contract, version: int, bad: str = "", *, always: bool = False
) -> PolicyFile:
    """Return a policy that moves the arm, and beyond the range is `bad`; "": good everywhere."""
    if bad and bad not in BAD:
        raise ValueError(f"bad = {bad!r} is none of {', '.join(BAD)}")
    names = [field.name for field in contract.observation]
    nodes: list[Any] = [
        # What is not used for anything has to be an input all the same.
        helper.make_node("Concat", [*names, "noise"], ["everything"], axis=1),
        helper.make_node("Mul", ["everything", "zero"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros", "second_axis"], ["nothing"], keepdims=1),
        helper.make_node("Add", ["move", "nothing"], ["good"]),
        helper.make_node("Gather", ["tcp_to_goal", "y_index"], ["away"], axis=1),
        helper.make_node("Greater", ["away", "threshold"], ["is_bad"]),
        *_bad_nodes(bad),
        helper.make_node("Where", ["is_bad", "bad", "good"], ["action"]),
    ]
    threshold = (-np.inf if always else BAD_BEYOND_M) if bad else np.inf
    constants = {
        "zero": np.float32(0.0),
        "second_axis": np.array([1], np.int64),
        "move": np.array([MOVE], np.float32),
        "y_index": np.array([1], np.int64),
        "threshold": np.float32(threshold),
        "nan": np.full((1, 3), np.nan, np.float32),
        "five": np.full((1, 3), 5.0, np.float32),
        "often": np.float32(-np.inf if always else STALL_ABOVE),
        "trips": np.array([0, round(STALL_S * TRIPS_PER_S)], np.int64),
        "one": np.float32(1.0),
        "minus_one": np.float32(-1.0),
        "yes": np.asarray(True),
        "first": np.array([0], np.int64),
        "scalar": np.array([], np.int64),
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "policy",
        _inputs(contract),
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(v, name) for name, v in constants.items() if name in used],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    metadata = {
        "contract": contract.canonical_json(),
        "contract_id": contract.contract_id,
        "version": str(version),
        "training_step": "0",
        "recipe": RECIPE,
    }
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    digest = hashlib.sha256(data).hexdigest()
    return PolicyFile(data, digest, version, 0, contract.contract_id, RECIPE)


def _inputs(contract: Contract) -> Sequence[Any]:
    shapes = {field.name: [1, *field.shape] for field in contract.observation}
    shapes["noise"] = [1, contract.action_dim]
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]


def _bad_nodes(bad: str) -> list[Any]:
    """Return what computes "bad", (1, 3), from "good", "noise" and "is_bad", (1, 1)."""
    if bad == "not_a_number":
        return [helper.make_node("Add", ["nan", "nothing"], ["bad"])]
    if bad == "out_of_range":
        return [helper.make_node("Add", ["five", "nothing"], ["bad"])]
    if bad == "random":
        return [helper.make_node("Clip", ["noise", "minus_one", "one"], ["bad"])]
    if bad == "bang_bang":
        return [helper.make_node("Sign", ["noise"], ["bad"])]
    if bad == "stalls":
        return _stalling_nodes()
    return [helper.make_node("Identity", ["good"], ["bad"])]


def _stalling_nodes() -> list[Any]:
    """Loop for about half a second where the policy is bad, and the noise says so."""
    return [
        helper.make_node("Gather", ["noise", "first"], ["draw"], axis=1),
        helper.make_node("GreaterOrEqual", ["draw", "often"], ["drawn"]),
        helper.make_node("And", ["is_bad", "drawn"], ["stalls"]),
        helper.make_node("Cast", ["stalls"], ["choice"], to=TensorProto.INT64),
        helper.make_node("Gather", ["trips", "choice"], ["chosen"]),
        helper.make_node("Reshape", ["chosen", "scalar"], ["trip_count"]),
        helper.make_node("Loop", ["trip_count", "yes", "good"], ["looped"], body=loop_body(3)),
        # Stalling is all: what comes out late is a good action.
        helper.make_node("Mul", ["looped", "zero"], ["no_more"]),
        helper.make_node("Add", ["good", "no_more"], ["bad"]),
    ]
