"""The learner's server, seen from a controller: exactly once, credit, refusals, life and death."""

import errno
import random
from pathlib import Path

import numpy as np
import pytest
import zmq
from server_client import COLUMNS, CONTRACT, PATIENCE_S, Controller, make, numbers

from serl_rt.export import messages as m
from serl_rt.export.columns import MAX_BODY_BYTES
from serl_rt.export.keys import KeysError, make_keys
from serl_rt.export.wire import decode_learner_message, encode
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.receive import LearnerServer, LearnerServerError

# ---- exactly once --------------------------------------------------------------------------------


def test_transitions_are_stored_acknowledged_and_handed_over(
    server: LearnerServer, log: TransitionLog, controller: Controller
) -> None:
    welcome = controller.hello()
    assert (welcome.next_seq, welcome.learner_id) == (0, log.learner_id)
    ack = controller.transitions(0, 5)
    assert (ack.next_seq, ack.resend) == (5, False)
    assert controller.transitions(5, 1).next_seq == 6
    assert server.wait(PATIENCE_S)
    batches = server.drain()
    assert numbers(batches, controller.run_id) == list(range(6))
    assert numbers(iter(log), controller.run_id) == list(range(6))
    assert not batches[0].columns["reward"].flags.writeable
    assert server.drain() == []
    assert not server.wait(0.0)
    assert server.stats.transitions == 6


def test_what_comes_again_is_dropped_and_what_overlaps_is_cut(
    server: LearnerServer, controller: Controller
) -> None:
    controller.hello()
    controller.transitions(0, 5)
    assert controller.transitions(0, 5).next_seq == 5
    assert controller.transitions(2, 3).next_seq == 5
    assert controller.transitions(3, 4).next_seq == 7
    assert numbers(server.drain(), controller.run_id) == list(range(7))
    assert server.stats.duplicates == 5 + 3 + 2


def test_a_gap_is_asked_for(server: LearnerServer, controller: Controller) -> None:
    controller.hello()
    controller.transitions(0, 5)
    ack = controller.transitions(6, 2)
    assert (ack.next_seq, ack.resend) == (5, True)
    assert numbers(server.drain(), controller.run_id) == list(range(5))
    assert server.stats.gaps == 1


@pytest.mark.parametrize("seed", range(5))
def test_lost_doubled_and_reordered_messages(
    server: LearnerServer, log: TransitionLog, controller: Controller, seed: int
) -> None:
    """Whatever arrives, in whatever order: what is stored is 0, 1, 2, ... up to the last ack."""
    generator = random.Random(seed)
    controller.hello()
    expected = 0
    for _ in range(150):
        first = max(0, expected + generator.randint(-8, 3))
        count = generator.randint(1, 10)
        ack = controller.transitions(first, count)
        if first <= expected:
            expected = max(expected, first + count)
        assert ack.next_seq == expected
        assert ack.resend == (first > expected)
    assert numbers(server.drain(), controller.run_id) == list(range(expected))
    assert numbers(iter(log), controller.run_id) == list(range(expected))


def test_runs_are_kept_apart(server: LearnerServer) -> None:
    with Controller(server.address, 1) as a, Controller(server.address, 2) as b:
        a.hello()
        b.hello()
        a.transitions(0, 3)
        b.transitions(0, 2)
        a.transitions(3, 3)
        b.transitions(2, 5)
        batches = server.drain()
        assert numbers(batches, a.run_id) == list(range(6))
        assert numbers(batches, b.run_id) == list(range(7))
        assert server.stats.controllers == 2


def test_a_restarted_learner_goes_on_where_its_log_ends(tmp_path: Path) -> None:
    for first in (0, 4):
        with (
            TransitionLog(tmp_path, CONTRACT) as log,
            LearnerServer(log, COLUMNS, "tcp://127.0.0.1:*") as server,
            Controller(server.address) as controller,
        ):
            assert controller.hello().next_seq == first
            controller.transitions(first, 4)
            assert numbers(iter(log), controller.run_id) == list(range(first + 4))


def test_an_unknown_connection_must_say_hello(
    server: LearnerServer, controller: Controller
) -> None:
    controller.send(m.Heartbeat(controller.run_id))
    controller.receive(m.HelloRequired)
    controller.send(make(controller.run_id, 0, 1))
    controller.receive(m.HelloRequired)
    controller.hello()
    controller.send(make("f" * 32, 0, 1))  # of another run than that of the hello
    controller.receive(m.HelloRequired)
    assert server.drain() == []


def test_a_run_may_connect_anew(server: LearnerServer, controller: Controller) -> None:
    controller.hello()
    controller.transitions(0, 3)
    with Controller(server.address) as again:
        assert again.hello().next_seq == 3
        again.transitions(3, 3)
        controller.send(m.Heartbeat(controller.run_id))
        controller.receive(m.HelloRequired)
        assert numbers(server.drain(), again.run_id) == list(range(6))
        assert server.stats.controllers == 1


def test_acknowledged_transitions_that_the_log_lost_are_counted(
    server: LearnerServer, controller: Controller
) -> None:
    controller.hello()
    controller.transitions(0, 3)
    assert controller.hello(next_seq=10).next_seq == 10
    assert server.stats.lost == 7
    controller.transitions(10, 2)
    assert numbers(server.drain(), controller.run_id) == [0, 1, 2, 10, 11]


def test_a_learner_without_a_log_takes_what_the_controller_still_has(
    controller: Controller, server: LearnerServer
) -> None:
    assert controller.hello(next_seq=10).next_seq == 10
    assert server.stats.lost == 0


# ---- refusals ------------------------------------------------------------------------------------


def test_another_contract_or_protocol_is_refused(
    server: LearnerServer, controller: Controller
) -> None:
    controller.send(m.Hello(1, controller.run_id, "d" * 64, "other_task", "realtime", 0))
    assert "start both with the same task file" in controller.receive(m.Refused).reason
    controller.send(m.Hello(2, controller.run_id, CONTRACT, "test", "realtime", 0))
    assert controller.receive(m.Refused).reason == "this learner speaks protocol 1, you 2"
    controller.send(m.Heartbeat(controller.run_id))
    controller.receive(m.HelloRequired)
    assert server.stats.controllers_refused == 2


def test_columns_of_another_contract_are_refused(
    server: LearnerServer, controller: Controller
) -> None:
    controller.hello()
    message = make(controller.run_id, 0, 2)
    columns = dict(message.columns) | {"reward": message.columns["time_ns"]}
    controller.send(m.Transitions(controller.run_id, 0, columns))
    assert "reward" in controller.receive(m.Refused).reason
    controller.hello()
    columns = {name: array for name, array in message.columns.items() if name != "action"}
    controller.send(m.Transitions(controller.run_id, 0, columns))
    assert "action" in controller.receive(m.Refused).reason
    controller.hello()
    controller.send(
        m.Transitions(controller.run_id, 0, dict(message.columns) | {"more": columns["reward"]})
    )
    assert "expected the columns" in controller.receive(m.Refused).reason
    assert server.drain() == []


def test_values_that_are_not_finite_are_refused(
    server: LearnerServer, controller: Controller
) -> None:
    controller.hello()
    message = make(controller.run_id, 0, 2)
    columns = dict(message.columns) | {"reward": np.array([1.0, np.nan], "f4")}
    controller.send(m.Transitions(controller.run_id, 0, columns))
    assert "column reward holds a value that is not finite" in controller.receive(m.Refused).reason
    assert server.drain() == []


def test_malformed_messages_are_counted_and_change_nothing(
    server: LearnerServer, controller: Controller
) -> None:
    controller.hello()
    generator = random.Random(1)
    good = [bytes(frame) for frame in encode(make(controller.run_id, 0, 2))]
    for _ in range(100):
        frames = [generator.randbytes(generator.randint(0, 50)) for _ in range(3)]
        controller.socket.send_multipart(frames)
        controller.socket.send_multipart([good[0][: generator.randrange(len(good[0]))], *good[1:]])
        controller.socket.send_multipart([*good[:-1], good[-1][:-1]])
    assert controller.transitions(0, 2).next_seq == 2
    assert server.stats.malformed == 300
    assert numbers(server.drain(), controller.run_id) == [0, 1]


# ---- credit and backpressure ---------------------------------------------------------------------


def test_credit_is_told_when_granted(server: LearnerServer, controller: Controller) -> None:
    server.grant(10)
    assert controller.hello(pacing="lockstep").credit == 10
    server.grant(25)
    assert controller.receive(m.Ack).credit == 25
    assert controller.transitions(0, 5).credit == 25


def test_credit_is_shared(server: LearnerServer) -> None:
    with Controller(server.address, 1) as a, Controller(server.address, 2) as b:
        a.hello(pacing="lockstep")
        b.hello(pacing="lockstep")
        server.grant(100)
        assert a.receive(m.Ack).credit == 50
        assert b.receive(m.Ack).credit == 50


def test_credit_counts_what_is_in_the_log(tmp_path: Path) -> None:
    with TransitionLog(tmp_path, CONTRACT) as log:
        log.append(make("f" * 32, 0, 30))
        with (
            LearnerServer(log, COLUMNS, "tcp://127.0.0.1:*") as server,
            Controller(server.address) as controller,
        ):
            server.grant(100)
            controller.hello(pacing="lockstep")
            assert controller.ack().credit == 70


def test_a_trainer_that_is_behind_is_waited_for(log: TransitionLog) -> None:
    limit = make("0" * 32, 0, 10).nbytes - 1  # the first message is taken all the same
    with (
        LearnerServer(log, COLUMNS, "tcp://127.0.0.1:*", max_pending_bytes=limit) as server,
        Controller(server.address) as controller,
    ):
        controller.hello()
        assert controller.transitions(0, 10).next_seq == 10
        controller.send(make(controller.run_id, 10, 10))  # no room: not acknowledged
        ack = controller.ack()
        assert (ack.next_seq, ack.resend) == (10, False)
        assert server.stats.busy == 1
        assert log.next_seq(controller.run_id) == 10
        assert numbers(server.drain(), controller.run_id) == list(range(10))
        ack = controller.receive(m.Ack)
        assert (ack.next_seq, ack.resend) == (10, True)
        assert controller.transitions(10, 10).next_seq == 20
        assert numbers(server.drain(), controller.run_id) == list(range(10, 20))


def test_a_message_is_asked_for_again_only_when_there_is_room_for_it(log: TransitionLog) -> None:
    limit = make("0" * 32, 0, 25).nbytes
    with (
        LearnerServer(log, COLUMNS, "tcp://127.0.0.1:*", max_pending_bytes=limit) as server,
        Controller(server.address) as controller,
    ):
        controller.hello()
        assert controller.transitions(0, 10).next_seq == 10
        assert controller.transitions(10, 10).next_seq == 20
        controller.send(make(controller.run_id, 20, 10))  # five of them would fit
        for _ in range(5):
            ack = controller.ack()
            assert (ack.next_seq, ack.resend) == (20, False)
        assert server.stats.busy == 1
        server.drain()
        ack = controller.receive(m.Ack)
        assert (ack.next_seq, ack.resend) == (20, True)


def test_a_frame_larger_than_the_wire_allows_ends_the_connection(log: TransitionLog) -> None:
    with (
        LearnerServer(log, COLUMNS, "tcp://127.0.0.1:*") as server,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as socket,
    ):
        socket.linger = 0
        with socket.get_monitor_socket(zmq.EVENT_DISCONNECTED) as events:
            socket.connect(server.address)
            socket.send(bytes(MAX_BODY_BYTES + 1))
            assert events.poll(20_000)
            socket.disable_monitor()
        with Controller(server.address) as controller:  # others go on
            controller.hello()
            assert controller.transitions(0, 10).next_seq == 10


# ---- life and death ------------------------------------------------------------------------------


def test_a_silent_controller_is_forgotten(log: TransitionLog) -> None:
    with (
        LearnerServer(log, COLUMNS, "tcp://127.0.0.1:*", controller_timeout=0.01) as server,
        Controller(server.address, 1) as silent,
        Controller(server.address, 2) as other,
    ):
        server.grant(100)
        assert silent.hello(pacing="lockstep").credit == 100
        while server.stats.controllers_lost < 1:
            server.wait(0.01)
        assert other.hello(pacing="lockstep").credit == 100  # what the silent one left
        silent.send(m.Heartbeat(silent.run_id))
        while not isinstance(
            decode_learner_message(silent.socket.recv_multipart()), m.HelloRequired
        ):
            pass


def test_a_full_disk_reaches_the_trainer_and_is_not_acknowledged(
    server: LearnerServer,
    log: TransitionLog,
    controller: Controller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(message: m.Transitions) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    controller.hello()
    monkeypatch.setattr(log, "append", full)
    controller.send(make(controller.run_id, 0, 1))
    with pytest.raises(LearnerServerError, match="No space left on device"):
        server.wait(PATIENCE_S)
    for call in (server.drain, server.policy_verdicts, lambda: server.grant(1)):
        with pytest.raises(LearnerServerError):
            call()
    assert not controller.socket.poll(0)


def test_an_address_in_use_is_reported(server: LearnerServer, log: TransitionLog) -> None:
    with pytest.raises(ValueError, match="cannot listen on"):
        LearnerServer(log, COLUMNS, server.address)


@pytest.mark.parametrize(
    "address", ["tcp://*:5588", "tcp://0.0.0.0:5588", "tcp://127.0.0.1.example.org:5588"]
)
def test_other_machines_are_served_only_with_keys(log: TransitionLog, address: str) -> None:
    with pytest.raises(KeysError, match="there are no keys"):
        LearnerServer(log, COLUMNS, address)


def test_with_keys_only_the_trusted_may_connect(log: TransitionLog, tmp_path: Path) -> None:
    make_keys(tmp_path / "ours")
    make_keys(tmp_path / "theirs")
    ours = tmp_path / "ours/learner"
    stranger = tmp_path / "theirs/controller"  # knows our public key, but is not trusted
    public = tmp_path / "ours/controller/trusted/learner.key"
    (stranger / "trusted/learner.key").write_bytes(public.read_bytes())
    with LearnerServer(log, COLUMNS, "tcp://127.0.0.1:*", keys=ours) as server:
        with Controller(server.address, keys=tmp_path / "ours/controller") as controller:
            controller.hello()
            assert controller.transitions(0, 3).next_seq == 3
        with Controller(server.address, 2, keys=stranger) as intruder:
            assert intruder.is_turned_away(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        with Controller(server.address, 3) as plain:
            assert plain.is_turned_away(
                zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            )
        assert server.stats.messages == 2
