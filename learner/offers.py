"""The policy that a learner offers to controllers, and what it sends to those that ask for it."""

import hashlib
from typing import Protocol

from serl_rt.export.messages import Policy, PolicyOffer, PolicyRequest


class OfferedPolicy(Protocol):
    """What the protocol needs to know of a policy file."""

    @property
    def version(self) -> int:
        """Grows with every policy."""

    @property
    def model(self) -> bytes:
        """The ONNX file."""

    @property
    def sha256(self) -> str:
        """Of `model`, 64 hex digits."""

    @property
    def contract_id(self) -> str:
        """64 hex digits."""

    @property
    def trunk_size(self) -> int:
        """Bytes at the beginning of `model` that policies of the same frozen trunk share."""


class Offer:
    """A policy on offer."""

    def __init__(self, policy: OfferedPolicy) -> None:
        """Raises WireError for a policy that cannot be sent."""
        self.policy = policy
        self.message = make_offer(policy)
        """Announces it."""
        trunk = memoryview(policy.model)[: policy.trunk_size]
        self._trunk_sha256 = hashlib.sha256(trunk).hexdigest() if trunk else ""

    def answer(self, request: PolicyRequest) -> Policy:
        """Return the policy, without its trunk for a controller that holds it."""
        policy = self.policy
        held = request.trunk_sha256 != "" and request.trunk_sha256 == self._trunk_sha256
        data = memoryview(policy.model)[policy.trunk_size if held else 0 :]
        return Policy(
            policy.version, len(policy.model), policy.sha256, data,
            policy.trunk_size, self._trunk_sha256,
        )  # fmt: skip


def make_offer(policy: OfferedPolicy) -> PolicyOffer:
    """Return the message that announces a policy. Raises WireError for one that cannot be sent."""
    return PolicyOffer(policy.version, len(policy.model), policy.sha256, policy.contract_id)
