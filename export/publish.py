"""Policy files: written atomically, checked when read, described for people."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from serl_rt.export.contract import Contract
from serl_rt.export.piecewise import open_piecewise
from serl_rt.export.toml_config import ConfigError
from serl_rt.export.verify import PolicyRefused, open_session


@dataclass(frozen=True)
class PolicyFile:
    """One version of a policy as it goes over the wire and to disk."""

    model: bytes
    """The ONNX file."""
    sha256: str
    """Of `model`, 64 hex digits."""
    version: int
    """Grows with every policy of a run, from 1."""
    training_step: int
    contract_id: str
    recipe: str
    trunk_size: int = 0
    """Bytes at the beginning of `model` that other policies of the same frozen trunk begin with."""


def write_policy_file(policy: PolicyFile, path: Path) -> None:
    """Write the ONNX file as write_whole() does."""
    write_whole(policy.model, path)


def write_whole(model: bytes, path: Path) -> None:
    """Write a file so that a reader sees the old or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open_piecewise(temporary) as stream:
        stream.write(model)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def read_policy_file(path: Path, contract: Contract | None = None) -> PolicyFile:
    """Read a policy file and check that it is one, of this contract if it is given.

    Raises PolicyRefused naming the file and what is wrong with it.
    """
    try:
        model = path.read_bytes()
    except OSError as error:
        raise PolicyRefused(f"{path}: cannot be read: {error.strerror}") from error
    try:
        metadata = dict(open_session(model).get_modelmeta().custom_metadata_map)
        found = Contract.from_json(metadata.get("contract", ""), "its contract")
        policy = PolicyFile(
            model=model,
            sha256=hashlib.sha256(model).hexdigest(),
            version=_number(metadata, "version"),
            training_step=_number(metadata, "training_step"),
            contract_id=metadata.get("contract_id", ""),
            recipe=metadata.get("recipe", ""),
        )
    except (PolicyRefused, ConfigError) as error:
        raise PolicyRefused(f"{path}: {error}") from error
    if policy.contract_id != found.contract_id:
        raise PolicyRefused(f"{path}: its contract does not have the id that its metadata says")
    if contract is not None and policy.contract_id != contract.contract_id:
        raise PolicyRefused(
            f"{path}: made for contract {policy.contract_id} ('{found.name}'), "
            f"not for {contract.contract_id} ('{contract.name}')"
        )
    return policy


def describe_policy(path: Path) -> str:
    """Say what a policy file holds, one fact a line. Raises PolicyRefused as read_policy_file."""
    policy = read_policy_file(path)
    session = open_session(policy.model)
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    contract = Contract.from_json(metadata["contract"])
    lines = [
        f"policy         {path}",
        f"task           {contract.name}",
        f"version        {policy.version}",
        f"training step  {policy.training_step}",
        f"recipe         {policy.recipe or '-'}",
        f"rate           {contract.policy_rate_hz:.9g} Hz",
        f"contract id    {policy.contract_id}",
        f"sha256         {policy.sha256}",
        f"size           {len(policy.model)} bytes, {count_parameters(policy.model)} parameters",
    ]
    for side, tensors in (("input", session.get_inputs()), ("output", session.get_outputs())):
        for tensor in tensors:
            lines.append(f"{side:<14} {tensor.name} {tensor.type} {tuple(tensor.shape)}")
    return "\n".join(lines)


def count_parameters(model: bytes) -> int:
    """Return how many numbers a model's weights have."""
    import onnx  # only here: a robot PC has ONNX Runtime alone

    graph = onnx.load_model_from_string(model).graph
    total = 0
    for tensor in graph.initializer:
        size = 1
        for dimension in tensor.dims:
            size *= dimension
        total += size
    return total


def _number(metadata: dict[str, str], key: str) -> int:
    text = metadata.get(key, "")
    if not (text.isascii() and text.isdecimal()):
        raise PolicyRefused(f"metadata {key} = '{text}': must be a decimal number")
    return int(text)
