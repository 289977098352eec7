"""Commands to a running controller, and what it publishes about the robot."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import zmq

from serl_rt.export.keys import Keys, check_address, load_keys, secure_client
from serl_rt.export.operator_messages import STATE_TOPIC, Command, StateSample, StreamTarget
from serl_rt.export.wire import decode_reply, decode_state, encode
from serl_rt.export.wire_header import Value

COMMAND_ADDRESS = "tcp://127.0.0.1:5591"
STATE_ADDRESS = "tcp://127.0.0.1:5590"


class CommandError(RuntimeError):
    """The controller answered that it did not do what was asked, and why."""


class NoAnswerError(TimeoutError):
    """Nothing came from the controller in time."""


class ControllerClient:
    """Sends commands to a controller, one at a time. Not thread safe.

    >>> with ControllerClient() as controller:
    ...     controller.command("pause")
    """

    def __init__(
        self,
        address: str = COMMAND_ADDRESS,
        *,
        keys: Path | None = None,
        timeout: float = 2.0,
    ) -> None:
        """Connect in the background. `timeout`: longest wait for an answer [s].

        Raises KeysError for an address of another machine without this machine's key folder.
        """
        self.address = address
        self.timeout = timeout
        self._keys = _load(address, keys)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._ids = itertools.count(1)
        self._socket = self._connect()

    def command(self, name: str, **args: Value) -> Value:
        """Have the controller do something and return its result.

        Raises CommandError (refused, with the controller's reason), NoAnswerError, and WireError
        for arguments that cannot be sent.
        """
        request = Command(next(self._ids), name, dict(args))
        frames = encode(request)
        deadline = time.monotonic() + self.timeout
        try:
            if self._socket.poll(self._left(deadline), zmq.POLLOUT):
                self._socket.send_multipart(frames, zmq.DONTWAIT)
                while self._socket.poll(self._left(deadline)):
                    reply = decode_reply(self._socket.recv_multipart())
                    if reply.id != request.id:
                        continue  # of a command that was given up
                    if not reply.ok:
                        raise CommandError(f"{name}: {reply.error}")
                    return reply.result
        except zmq.Again:
            pass
        self._socket.close()
        self._socket = self._connect()  # drops the request if it was not sent yet
        raise NoAnswerError(
            f"no answer to '{name}' from {self.address} within {self.timeout} s; is the controller "
            f"running, and does it listen there?"
        )

    def send(self, target: StreamTarget) -> None:
        """Send one of a stream of targets: no answer, lost if the controller is not there."""
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart(encode(target), zmq.DONTWAIT)

    def help(self) -> dict[str, Value]:
        """Return the controller's commands with their summaries and arguments."""
        result = self.command("help")
        assert isinstance(result, dict)
        return result

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> "ControllerClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.immediate = True  # nothing is queued for a controller that is not there
        secure_client(socket, self._keys, "controller")
        socket.connect(self.address)
        return socket

    @staticmethod
    def _left(deadline: float) -> int:
        return max(0, int(1000 * (deadline - time.monotonic())))


class StateSubscriber:
    """Receives what a controller publishes. Not thread safe.

    Samples that are not read in time are dropped, oldest first by the network, so `sequence` may
    jump.
    """

    def __init__(self, address: str = STATE_ADDRESS, *, keys: Path | None = None) -> None:
        """Connect in the background. Raises KeysError, see ControllerClient."""
        self.address = address
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.linger = 0
        secure_client(self._socket, _load(address, keys), "controller")
        self._socket.subscribe(STATE_TOPIC)
        self._socket.connect(address)

    def receive(self, timeout: float = 2.0) -> StateSample:
        """Return the next sample. Raises NoAnswerError after `timeout` [s], WireError."""
        if not self._socket.poll(int(1000 * timeout)):
            raise NoAnswerError(
                f"no state from {self.address} within {timeout} s; is the controller running, and "
                f"does it publish there?"
            )
        return decode_state(self._socket.recv_multipart())

    def newest(self) -> StateSample | None:
        """Return the newest sample that has come, None if none has since the last one."""
        frames: list[bytes] | None = None
        try:
            while True:
                frames = self._socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None if frames is None else decode_state(frames)

    def __iter__(self) -> Iterator[StateSample]:
        """Yield samples until none comes for two seconds, which raises NoAnswerError."""
        while True:
            yield self.receive()

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> "StateSubscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _load(address: str, folder: Path | None) -> Keys | None:
    keys = load_keys(folder) if folder is not None else None
    check_address(address, keys)
    return keys
