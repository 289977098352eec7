"""A controller by hand, for the tests of the learner's server."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import zmq

from serl_rt.export import messages as m
from serl_rt.export.columns import DTYPES, transition_columns
from serl_rt.export.keys import load_keys, secure_client
from serl_rt.export.wire import decode_learner_message, encode

CONTRACT = "c" * 64
COLUMNS = transition_columns([("x", (3,))], 2)
PATIENCE_S = 20.0
T = TypeVar("T", bound=m.LearnerMessage)


def make(run_id: str, first: int, count: int) -> m.Transitions:
    """Return transitions whose values are their numbers."""
    numbers = np.arange(first, first + count)
    columns = {
        column.name: np.broadcast_to(
            numbers.reshape(-1, *[1] * len(column.shape)), (count, *column.shape)
        ).astype(DTYPES[column.dtype])
        for column in COLUMNS
    }
    return m.Transitions(run_id, first, columns)


class Controller:
    """A controller by hand."""

    def __init__(self, address: str, number: int = 1, keys: Path | None = None) -> None:
        self.run_id = f"{number:032x}"
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        if keys is not None:
            secure_client(self.socket, load_keys(keys), "learner")
        self.socket.connect(address)

    def __enter__(self) -> "Controller":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self._context.term()

    def send(self, message: m.ControllerMessage) -> None:
        self.socket.send_multipart(encode(message))

    def receive(self, kind: type[T]) -> T:
        """Return the next message, which must be of this kind."""
        assert self.socket.poll(int(PATIENCE_S * 1000)), f"no {kind.__name__} came"
        message = decode_learner_message(self.socket.recv_multipart())
        assert isinstance(message, kind), message
        return message

    def hello(self, *, pacing: str = "realtime", next_seq: int = 0) -> m.Welcome:
        self.send(m.Hello(m.PROTOCOL, self.run_id, CONTRACT, "test", pacing, next_seq))
        return self.receive(m.Welcome)

    def transitions(self, first: int, count: int) -> m.Ack:
        self.send(make(self.run_id, first, count))
        return self.receive(m.Ack)

    def is_turned_away(self, events: int) -> bool:
        """Wait for one of these events of the connection's handshake."""
        with self.socket.get_monitor_socket(events) as monitor:
            happened = monitor.poll(int(PATIENCE_S * 1000)) != 0
            self.socket.disable_monitor()
        return happened

    def ack(self) -> m.Ack:
        """Return the answer to a heartbeat."""
        self.send(m.Heartbeat(self.run_id))
        return self.receive(m.Ack)


@dataclass(frozen=True)
class PolicyFile:
    version: int
    model: bytes
    contract_id: str = CONTRACT
    trunk_size: int = 0

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.model).hexdigest()


def numbers(batches: Iterator[m.Transitions] | list[m.Transitions], run_id: str) -> list[int]:
    """Return the transitions' numbers; checks that all columns agree."""
    found: list[int] = []
    for batch in batches:
        if batch.run_id != run_id:
            continue
        times = batch.columns["time_ns"]
        for name, array in batch.columns.items():
            if array.dtype != np.uint8:
                np.testing.assert_array_equal(array.reshape(len(times), -1)[:, 0], times, name)
        found += times.tolist()
    return found
