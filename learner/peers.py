"""Leading and following: how the other ranks do what the training loop of rank 0 does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from serl_rt.export.messages import Transitions
from serl_rt.export.wire import decode_controller_message, encode
from serl_rt.learner.agents.losses import Info
from serl_rt.learner.data.frames import pack_frames, unpack_frames
from serl_rt.learner.data.intake import Intake
from serl_rt.learner.distributed import Order, Ranks
from serl_rt.learner.draws import Generators
from serl_rt.learner.link import Received
from serl_rt.learner.train_state import TrainState

SIGN_OF_LIFE_S = 10.0
BLOCK_BYTES = 16 << 20
"""Transitions are passed on when there are so many, or when the next update needs them."""


class Peers(Protocol):
    """The other ranks, as the training loop sees them."""

    def load(self, state: TrainState, generators: Sequence[bytes] | None = None) -> None:
        """Give them the parameters and, on resume, the states of their generators."""

    def share(self, message: Received) -> None:
        """Give them what was received."""

    def update(self, updates: int) -> None:
        """Let them do the update that makes `updates` in all; this rank must do it too."""

    def collect(self, generators: bytes) -> list[bytes]:
        """Return the states of the generators of all ranks, these of rank 0 first."""

    def rest(self) -> None:
        """Tell them, now and then, that there is nothing to do."""

    def stop(self) -> None:
        """Let them end."""


class NoPeers:
    """A learner of one process."""

    def load(self, state: TrainState, generators: Sequence[bytes] | None = None) -> None:
        """Do nothing."""

    def share(self, message: Received) -> None:
        """Do nothing."""

    def update(self, updates: int) -> None:
        """Do nothing."""

    def collect(self, generators: bytes) -> list[bytes]:
        """Return what this process has."""
        return [generators]

    def rest(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class Leader:
    """Rank 0's way to the others."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._told = time.monotonic()

    def load(self, state: TrainState, generators: Sequence[bytes] | None = None) -> None:
        """Give the parameters and, on resume, the states of the generators."""
        arrays = [array.tobytes() for _, array in sorted(state.arrays().items())]
        self._give(Order.LOAD, 0, [pack_frames(arrays), pack_frames(generators or [])])

    def share(self, message: Received) -> None:
        """Queue what was received; a long queue is passed on."""
        sent = Transitions(message.run_id, 0, message.columns)
        self._waiting.append(pack_frames(encode(sent)))
        self._bytes += len(self._waiting[-1])
        if self._bytes >= BLOCK_BYTES:
            self._give_waiting(Order.INSERT)

    def update(self, updates: int) -> None:
        """Pass on what was received, for the update."""
        self._give_waiting(Order.UPDATE, updates)

    def collect(self, generators: bytes) -> list[bytes]:
        """Return the states of all ranks' generators."""
        self._give(Order.COLLECT)
        return self.ranks.gather(generators)

    def rest(self) -> None:
        """Give a sign of life every 10 s."""
        if time.monotonic() - self._told > SIGN_OF_LIFE_S:
            self._give(Order.NOTHING)

    def stop(self) -> None:
        """End the others' loops."""
        self._give(Order.STOP)

    def _give_waiting(self, order: Order, updates: int = 0) -> None:
        blocks, self._waiting, self._bytes = self._waiting, [], 0
        self._give(order, updates, blocks)

    def _give(self, order: Order, updates: int = 0, blocks: Sequence[bytes] = ()) -> None:
        self.ranks.give(order, updates, pack_frames(blocks) if blocks else b"")
        self._told = time.monotonic()


def follow(
    ranks: Ranks,
    state: TrainState,
    intake: Intake,
    step: Callable[[int], Info],
    generators: Generators,
) -> None:
    """Do what rank 0 orders until it says stop.

    Raises RankLost when it is gone, NonFiniteLossError where it does too.
    """
    while True:
        order, updates, payload = ranks.await_order()
        blocks = unpack_frames(payload) if payload else []
        if order is Order.LOAD:
            own = sorted(state.arrays().items())
            theirs = zip(own, unpack_frames(blocks[0]), strict=True)
            state.load_arrays(
                {n: np.frombuffer(b, a.dtype).reshape(a.shape) for (n, a), b in theirs}
            )
            if states := unpack_frames(blocks[1]):
                generators.set(bytes(states[ranks.rank]))
        elif order in (Order.INSERT, Order.UPDATE):
            for block in blocks:
                message = decode_controller_message(unpack_frames(block))
                assert isinstance(message, Transitions)
                intake(message.columns, message.run_id)
        if order is Order.UPDATE:
            step(updates)
        elif order is Order.COLLECT:
            ranks.gather(generators.get())
        elif order is Order.STOP:
            return
