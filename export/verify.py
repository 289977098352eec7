"""Checks an ONNX policy the way the controller does, and that it computes what it should.

Needs numpy and ONNX Runtime only, so a robot PC can run it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serl_rt.export.contract import Contract

ACTION_TOLERANCE = 1e-4
"""How far an action may exceed [-1, 1] or differ from the reference: rounding, no more."""


class PolicyRefused(ValueError):
    """A policy must not act; the message says why."""


@dataclass(frozen=True)
class Probes:
    """Observations and noise on which a policy is tried."""

    observation: dict[str, NDArray[Any]]
    """Field or image name -> (count, *shape)."""
    noise: NDArray[np.float32]
    """(count, action_dim); zero for every other one."""

    def __len__(self) -> int:
        return len(self.noise)

    def row(self, index: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
        """Return one probe with the batch dimension of 1 that a policy expects."""
        part = slice(index, index + 1)
        return {name: value[part] for name, value in self.observation.items()}, self.noise[part]


def make_probes(contract: Contract, count: int, seed: int = 0) -> Probes:
    """Sample observations: the middle and the ends of every range, then points within."""
    generator = np.random.default_rng(seed)
    at = generator.uniform(size=(count, contract.observation_dim))
    ends = (0.5, 0.0, 1.0)[:count]
    at[: len(ends)] = np.asarray(ends)[:, None]
    observation: dict[str, NDArray[Any]] = {}
    offset = 0
    for field in contract.observation:
        low, high = np.asarray(field.low), np.asarray(field.high)
        values = low + at[:, offset : offset + field.size] * (high - low)
        observation[field.name] = values.astype(np.float32).reshape(count, *field.shape)
        offset += field.size
    for image in contract.images:
        shape = (count, image.height, image.width, 3)
        observation[image.name] = generator.integers(0, 256, shape, dtype=np.uint8)
    noise = generator.standard_normal((count, contract.action_dim)).astype(np.float32)
    noise[::2] = 0.0
    return Probes(observation, noise)


class OnnxPolicy:
    """A policy file's model, ready to act.

    Raises PolicyRefused when ONNX Runtime cannot use it or it does not fit the contract.
    """

    def __init__(self, model: bytes, contract: Contract) -> None:
        self.contract = contract
        self._session = open_session(model)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        _check_contract(self.metadata, contract)
        expected = {field.name: ("tensor(float)", field.shape) for field in contract.observation}
        for image in contract.images:
            expected[image.name] = ("tensor(uint8)", (image.height, image.width, 3))
        expected["noise"] = ("tensor(float)", (contract.action_dim,))
        _check_tensors("input", self._session.get_inputs(), expected)
        output = {"action": ("tensor(float)", (contract.action_dim,))}
        _check_tensors("output", self._session.get_outputs(), output)

    def act(
        self, observation: Mapping[str, NDArray[Any]], noise: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Run once: fields (1, *shape) and noise (1, action_dim) -> action (1, action_dim)."""
        (action,) = self._session.run(["action"], {**observation, "noise": noise})
        return np.asarray(action)


def open_session(model: bytes) -> Any:
    """Parse a model as the controller does: one thread, no spinning.

    Raises PolicyRefused when ONNX Runtime does.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        raise PolicyRefused(f"not a usable ONNX model: {error}") from error


def verify_policy(
    model: bytes,
    contract: Contract,
    probes: Probes,
    expected: NDArray[np.float32] | None = None,
    tolerance: float = ACTION_TOLERANCE,
) -> OnnxPolicy:
    """Run a policy on every probe: finite, in [-1, 1], and equal to `expected` (count, action_dim).

    Raises PolicyRefused with the reason; otherwise returns the policy, ready to act.
    """
    policy = OnnxPolicy(model, contract)
    try:
        rows = [policy.act(*probes.row(i)) for i in range(len(probes))]
    except Exception as error:
        raise PolicyRefused(f"a run on a probe observation failed: {error}") from error
    actions = np.concatenate(rows)
    if not np.isfinite(actions).all():
        raise PolicyRefused("an action on a probe observation is not finite")
    largest = float(np.abs(actions).max())
    if largest > 1.0 + ACTION_TOLERANCE:
        raise PolicyRefused(f"an action on a probe observation is {largest:.6g}, beyond [-1, 1]")
    if expected is not None:
        difference = float(np.abs(actions - expected).max())
        if not difference <= tolerance:
            raise PolicyRefused(
                f"the exported policy differs from the trained one by {difference:.3g} "
                f"(at most {tolerance:.3g} is allowed)"
            )
    return policy


def _check_contract(metadata: Mapping[str, str], contract: Contract) -> None:
    found = metadata.get("contract_id")
    if not found or "contract" not in metadata:
        raise PolicyRefused("no contract in its metadata; export it with serl-rt")
    if found != contract.contract_id:
        raise PolicyRefused(
            f"made for contract {found}, but '{contract.name}' has {contract.contract_id}; "
            "train and control must use the same task file"
        )
    if metadata["contract"] != contract.canonical_json():
        raise PolicyRefused("its contract does not have the id that its metadata says")


def _check_tensors(
    side: str, found: list[Any], expected: Mapping[str, tuple[str, tuple[int, ...]]]
) -> None:
    """Compare names, element types and shapes; every tensor has a first dimension of 1."""
    tensors = {tensor.name: tensor for tensor in found}
    for name in expected.keys() - tensors.keys():
        raise PolicyRefused(f"{side} {name} is missing")
    for name in tensors.keys() - expected.keys():
        raise PolicyRefused(f"{side} {name} is not in the contract")
    for name, (kind, shape) in expected.items():
        tensor = tensors[name]
        if tensor.type != kind or list(tensor.shape) != [1, *shape]:
            raise PolicyRefused(
                f"{side} {name} is {tensor.type} {list(tensor.shape)}: must be {kind} {[1, *shape]}"
            )
