"""The learner's end of the wire: a thread that owns the socket, and what the trainer calls."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import zmq

from serl_rt.export.columns import MAX_BODY_BYTES, Column
from serl_rt.export.keys import Gatekeeper, check_address, load_keys
from serl_rt.export.messages import LearnerMessage, PolicyResult, Transitions
from serl_rt.export.wire import encode
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.offers import OfferedPolicy, make_offer
from serl_rt.learner.sessions import ServerStats, Sessions

log = logging.getLogger(__name__)

TransitionBatch: TypeAlias = Transitions
"""Consecutive transitions of one run, as columns."""

POLL_S = 0.1
SEND_BUFFER = 128 * 1024
"""What the kernel takes of a policy at once: an ordinary kernel runs nothing else on a core while
it passes on megabytes, not even a controller on this machine."""
MESSAGES_PER_ROUND = 64
"""Read before credit, policies and silent controllers are looked at."""


class LearnerServerError(RuntimeError):
    """The server's thread ended; the cause is attached."""


@dataclass(frozen=True)
class PolicyVerdict:
    """What a controller did with a policy."""

    run_id: str
    version: int
    accepted: bool
    reason: str
    """Empty when accepted."""
    swap_ms: float
    """From the arrival of the bytes to the hand-over [ms]."""


class _Inbox:
    """What the server's thread has received and the trainer has not yet taken. Thread safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._batches: list[TransitionBatch] = []
        self._bytes = 0
        self._verdicts: deque[PolicyVerdict] = deque(maxlen=10_000)
        self._failure: BaseException | None = None

    def has_room(self, nbytes: int) -> bool:
        with self._changed:
            return not self._batches or self._bytes + nbytes <= self._max_bytes

    def take(self, message: Transitions) -> None:
        with self._changed:
            self._batches.append(message)
            self._bytes += message.nbytes
            self._changed.notify_all()

    def verdict(self, run_id: str, result: PolicyResult) -> None:
        self._verdicts.append(
            PolicyVerdict(run_id, result.version, result.accepted, result.reason, result.swap_ms)
        )

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def check(self) -> None:
        if self._failure is not None:
            raise LearnerServerError(
                f"receiving transitions failed: {self._failure}"
            ) from self._failure

    def drain(self) -> list[TransitionBatch]:
        with self._changed:
            self.check()
            batches, self._batches, self._bytes = self._batches, [], 0
            return batches

    def wait(self, timeout: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._failure, timeout)
            self.check()
            return bool(self._batches)

    def drain_verdicts(self) -> list[PolicyVerdict]:
        with suppress(IndexError):
            return [self._verdicts.popleft() for _ in range(len(self._verdicts))]
        return []


class LearnerServer:
    """Receives transitions and serves policies until it is closed.

    The methods may be called from any thread. When the server's own thread fails (disk full), they
    raise LearnerServerError.
    """

    def __init__(
        self,
        transition_log: TransitionLog,
        columns: Sequence[Column],
        address: str = "tcp://127.0.0.1:5588",
        *,
        keys: Path | None = None,
        controller_timeout: float = 5.0,
        max_pending_bytes: int = 256 * 1024 * 1024,
        start: bool = True,
    ) -> None:
        """Take the address and start; the log must stay open until close().

        `columns`: what a transition consists of, see `transition_columns`. `keys`: this machine's
        key folder. `controller_timeout`: silence [s] after which a controller counts as lost.
        `max_pending_bytes`: received, but not yet taken by drain(); controllers wait beyond it.
        `start`: false to read the log first, undisturbed; then call start().
        Raises KeysError (an address that others can reach needs keys), ValueError (cannot listen).
        """
        loaded = load_keys(keys) if keys is not None else None
        check_address(address, loaded)
        self._timeout = controller_timeout
        self._inbox = _Inbox(max_pending_bytes)
        self._sessions = Sessions(transition_log, columns, self._inbox, self._send)
        self._granted = 0
        self._policy: OfferedPolicy | None = None
        self._stopping = False

        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._gatekeeper = Gatekeeper(self._context, loaded)
        self._socket = self._context.socket(zmq.ROUTER)
        try:
            self._socket.linger = 0
            self._socket.sndbuf = SEND_BUFFER
            self._socket.maxmsgsize = MAX_BODY_BYTES
            self._gatekeeper.secure_server(self._socket)
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._release()
            raise ValueError(
                f"cannot listen on {address}: {error}; expected something like "
                f"tcp://127.0.0.1:5588 that no other program uses"
            ) from None
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        """Where it listens; tells the port when `*` was asked for."""
        self._thread = threading.Thread(target=self._run, name="learner-server", daemon=True)
        if start:
            self.start()

    def start(self) -> None:
        """Begin to receive. Controllers that have connected meanwhile are heard now."""
        self._thread.start()

    def drain(self) -> list[TransitionBatch]:
        """Return what was stored since the last call, in order. Does not wait."""
        batches = self._inbox.drain()
        if batches:
            self._wake()  # there is room again
        return batches

    def wait(self, timeout: float) -> bool:
        """Sleep until drain() has something or `timeout` [s] passed; say whether it has."""
        return self._inbox.wait(timeout)

    def grant(self, total: int) -> None:
        """Allow lockstep controllers to produce this many transitions in all.

        Counted from the first transition in the log; shared among the connected controllers.
        """
        self._inbox.check()
        if total != self._granted:
            self._granted = total
            self._wake()

    def publish(self, policy: OfferedPolicy) -> None:
        """Offer a policy to all controllers, and to those who come later. Raises WireError."""
        self._inbox.check()
        make_offer(policy)
        self._policy = policy
        self._wake()

    def policy_verdicts(self) -> list[PolicyVerdict]:
        """Return what controllers did with policies since the last call (the newest 10 000)."""
        self._inbox.check()
        return self._inbox.drain_verdicts()

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the counts."""
        return self._sessions.stats

    def close(self) -> None:
        """Stop the thread and free the address. The log stays open."""
        self._stopping = True
        self._wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._release()

    def __enter__(self) -> "LearnerServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it has been woken often enough
            os.write(self._wake_writer, b"\0")

    def _release(self) -> None:
        self._socket.close()
        self._gatekeeper.close()
        self._context.term()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    # ---- the server's thread ---------------------------------------------------------------------

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake_reader, zmq.POLLIN)
        try:
            while not self._stopping:
                if self._wake_reader in dict(poller.poll(int(POLL_S * 1000))):
                    os.read(self._wake_reader, 4096)
                self._round()
        except BaseException as error:
            log.exception("the learner's server ended")
            self._inbox.fail(error)

    def _round(self) -> None:
        self._take_over()
        for _ in range(MESSAGES_PER_ROUND):
            try:
                identity, *frames = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            self._take_over()  # whoever says hello after grant() or publish() is told
            self._sessions.handle(identity, frames, time.monotonic())
        self._sessions.tell()
        self._sessions.forget_silent(heard_before=time.monotonic() - self._timeout)

    def _take_over(self) -> None:
        """Take what the trainer said last."""
        self._sessions.grant(self._granted)
        if self._policy is not None:
            self._sessions.offer(self._policy)

    def _send(self, identity: bytes, message: LearnerMessage) -> None:
        with suppress(zmq.Again):  # its queue is full: it will ask again, or be lost
            self._socket.send_multipart([identity, *encode(message)], zmq.DONTWAIT)
