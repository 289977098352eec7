"""What the learner answers to each controller: the protocol, without sockets or threads.

Transitions are taken exactly once: only the next of their run, first written to the log, then
handed on, then acknowledged.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from serl_rt.export.columns import Column
from serl_rt.export.messages import (
    PROTOCOL,
    Ack,
    Heartbeat,
    Hello,
    HelloRequired,
    LearnerMessage,
    PolicyRequest,
    PolicyResult,
    Refused,
    Transitions,
    Welcome,
)
from serl_rt.export.wire import decode_controller_message
from serl_rt.export.wire_header import Buffer, WireError
from serl_rt.learner.credit import CreditLedger
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.offers import Offer, OfferedPolicy

log = logging.getLogger(__name__)


class Receiver(Protocol):
    """Whom the sessions hand on to."""

    def has_room(self, nbytes: int) -> bool:
        """Whether a message of this size can be taken now."""

    def take(self, message: Transitions) -> None:
        """Take transitions that are in the log."""

    def verdict(self, run_id: str, result: PolicyResult) -> None:
        """Take what a controller did with a policy."""


@dataclass(frozen=True)
class ServerStats:
    """Counts since the start."""

    controllers: int = 0
    """Connected now."""
    messages: int = 0
    transitions: int = 0
    """Stored."""
    duplicates: int = 0
    """Transitions that came again and were dropped."""
    gaps: int = 0
    """Messages that came before an earlier one, and were asked for again."""
    busy: int = 0
    """Messages put off because the trainer had not taken what came before."""
    lost: int = 0
    """Acknowledged transitions that the log no longer had (power cut)."""
    controllers_lost: int = 0
    controllers_refused: int = 0
    malformed: int = 0
    policies_sent: int = 0
    policies_accepted: int = 0
    policies_refused: int = 0


@dataclass
class _Run:
    """A connected controller."""

    run_id: str
    identity: bytes
    next_seq: int
    heard_at: float
    """[s], the clock of Sessions.handle()."""
    credit_sent: int
    put_off: int = 0
    """Bytes of what was not taken because there was no room for it; 0: nothing."""


class Sessions:
    """The connected controllers of one learner. Not thread safe."""

    def __init__(
        self,
        transition_log: TransitionLog,
        columns: Sequence[Column],
        receiver: Receiver,
        send: Callable[[bytes, LearnerMessage], None],
    ) -> None:
        """`send(identity, message)` must not block."""
        self.stats = ServerStats()
        self._log = transition_log
        self._columns = tuple(columns)
        self._receiver = receiver
        self._send = send
        self._ledger = CreditLedger(transition_log.count)
        self._offer: Offer | None = None
        self._runs: dict[bytes, _Run] = {}

    def handle(self, identity: bytes, frames: Sequence[Buffer], now: float) -> None:
        """Answer one message; malformed ones are counted and dropped. Raises OSError (disk)."""
        self._count(messages=1)
        try:
            self._dispatch(identity, frames, now)
        except WireError as error:
            self._count(malformed=1)
            count = self.stats.malformed
            if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...
                log.warning("dropped a malformed message (%d so far): %s", count, error)

    def grant(self, total: int) -> None:
        """Allow lockstep controllers this many transitions in all; tell() tells them."""
        if total != self._ledger.granted:
            self._ledger.grant(total)

    def offer(self, policy: OfferedPolicy) -> None:
        """Offer a policy to all controllers, if it is another one than before."""
        if self._offer is None or policy is not self._offer.policy:
            self._offer = Offer(policy)
            for run in self._runs.values():
                self._offer_to(run)

    def tell(self) -> None:
        """Tell controllers about new credit, and those that were put off that there is room."""
        for run in self._runs.values():
            resend = run.put_off > 0 and self._receiver.has_room(run.put_off)
            if resend or self._ledger.credit(run.run_id) != run.credit_sent:
                run.put_off = 0 if resend else run.put_off
                self._acknowledge(run, resend=resend)

    def forget_silent(self, heard_before: float) -> None:
        """Drop controllers that were last heard before this time."""
        for run in [run for run in self._runs.values() if run.heard_at < heard_before]:
            self._forget(run)
            self._count(controllers_lost=1)
            log.warning("lost controller run %s", run.run_id)

    # ---- messages --------------------------------------------------------------------------------

    def _dispatch(self, identity: bytes, frames: Sequence[Buffer], now: float) -> None:
        message = decode_controller_message(frames)
        if isinstance(message, Hello):
            self._on_hello(identity, message, now)
            return
        run = self._runs.get(identity)
        if run is None or getattr(message, "run_id", run.run_id) != run.run_id:
            self._send(identity, HelloRequired())
            return
        run.heard_at = now
        if isinstance(message, Transitions):
            self._on_transitions(run, message)
        elif isinstance(message, PolicyRequest):
            self._on_policy_request(run, message)
        elif isinstance(message, PolicyResult):
            self._on_policy_result(run, message)
        elif isinstance(message, Heartbeat):
            self._acknowledge(run)

    def _on_hello(self, identity: bytes, hello: Hello, now: float) -> None:
        if hello.protocol != PROTOCOL:
            self._refuse(identity, f"this learner speaks protocol {PROTOCOL}, you {hello.protocol}")
            return
        if hello.contract_id != self._log.contract_id:
            self._refuse(
                identity,
                f"this learner trains a policy for contract {self._log.contract_id}, you run "
                f"{hello.contract_id} (task {hello.task}); start both with the same task file",
            )
            return
        same = (run for run in self._runs.values() if identity == run.identity)
        again = (run for run in self._runs.values() if hello.run_id == run.run_id)
        for old in {id(run): run for run in (*same, *again)}.values():
            self._forget(old)
        next_seq = self._expected(hello)
        if hello.pacing == "lockstep":
            self._ledger.join(hello.run_id, next_seq)
        credit = self._ledger.credit(hello.run_id)
        run = _Run(hello.run_id, identity, next_seq, now, credit)
        self._runs[identity] = run
        self._count()
        log.info("controller run %s (%s, %s) at %d", run.run_id, hello.task, hello.pacing, next_seq)
        welcome = Welcome(PROTOCOL, self._log.learner_id, run.run_id, next_seq, credit)
        self._send(identity, welcome)
        self._offer_to(run)

    def _expected(self, hello: Hello) -> int:
        """Return the transition that the run should send first."""
        stored = self._log.next_seq(hello.run_id)
        if stored is None:
            return hello.next_seq
        if stored < hello.next_seq:
            self._count(lost=hello.next_seq - stored)
            log.error(
                "run %s: transitions %d to %d were acknowledged but are not in the log",
                hello.run_id,
                stored,
                hello.next_seq - 1,
            )
        return max(stored, hello.next_seq)

    def _on_transitions(self, run: _Run, message: Transitions) -> None:
        if (wrong := self._wrong_content(message)) is not None:
            self._forget(run)
            self._refuse(run.identity, wrong)
            return
        if message.first_seq > run.next_seq:
            self._count(gaps=1)
            self._acknowledge(run, resend=not run.put_off)
            return
        repeated = min(run.next_seq - message.first_seq, message.count)
        self._count(duplicates=repeated)
        if repeated < message.count:
            fresh = message.tail(repeated) if repeated else message
            if not self._receiver.has_room(fresh.nbytes):
                self._count(busy=1)
                run.put_off = fresh.nbytes
                return
            self._log.append(fresh)
            run.next_seq = fresh.next_seq
            self._ledger.store(run.run_id, fresh.next_seq, fresh.count)
            self._receiver.take(fresh)
            self._count(transitions=fresh.count)
        self._acknowledge(run)

    def _wrong_content(self, message: Transitions) -> str | None:
        """Say what about a message's columns does not belong to the contract, if anything."""
        layout = message.layout
        if layout != self._columns:
            found = {column.name: column for column in layout}
            for column in self._columns:
                if found.get(column.name) != column:
                    return f"expected {column}, got {found.get(column.name)}"
            return f"expected the columns {', '.join(column.name for column in self._columns)}"
        for name, array in message.columns.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                return f"column {name} holds a value that is not finite"
        return None

    def _on_policy_request(self, run: _Run, request: PolicyRequest) -> None:
        offer = self._offer
        if offer is None or offer.policy.version != request.version:
            self._offer_to(run)  # a newer one came meanwhile
            return
        self._send(run.identity, offer.answer(request))
        self._count(policies_sent=1)

    def _on_policy_result(self, run: _Run, result: PolicyResult) -> None:
        self._receiver.verdict(run.run_id, result)
        if result.accepted:
            self._count(policies_accepted=1)
        else:
            self._count(policies_refused=1)
            log.warning("run %s refused policy %d: %s", run.run_id, result.version, result.reason)

    # ---- answers ---------------------------------------------------------------------------------

    def _acknowledge(self, run: _Run, *, resend: bool = False) -> None:
        run.credit_sent = self._ledger.credit(run.run_id)
        self._send(run.identity, Ack(run.run_id, run.next_seq, run.credit_sent, resend))

    def _offer_to(self, run: _Run) -> None:
        if self._offer is not None:
            self._send(run.identity, self._offer.message)

    def _refuse(self, identity: bytes, reason: str) -> None:
        self._count(controllers_refused=1)
        log.warning("refused a controller: %s", reason)
        self._send(identity, Refused(reason))

    def _forget(self, run: _Run) -> None:
        del self._runs[run.identity]
        self._ledger.leave(run.run_id)
        self._count()

    def _count(self, **added: int) -> None:
        """Add to the counters; `stats` is replaced, so that other threads may read it."""
        values = {name: getattr(self.stats, name) + count for name, count in added.items()}
        self.stats = replace(self.stats, controllers=len(self._runs), **values)
