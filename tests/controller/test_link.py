"""The C++ link against the Python learner, across processes that die."""

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from cpp_program import program
from server_client import CONTRACT, PolicyFile

from serl_rt.export.columns import transition_columns
from serl_rt.export.keys import make_keys
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.receive import LearnerServer

FIELDS = (
    ("tcp_position", (3,)),
    ("tcp_linear_vel", (3,)),
    ("gripper", (1,)),
    ("cube_position", (3,)),
    ("tcp_to_cube", (3,)),
)
COLUMNS = transition_columns(FIELDS, 4)
PATIENCE_S = 120.0

# A learner in a process of its own, to be killed: prints where it listens and what it has stored.
LEARNER = """
import json, sys
from pathlib import Path
from serl_rt.export.columns import Column
from serl_rt.learner.data.transition_log import TransitionLog
from serl_rt.learner.receive import LearnerServer

folder, address, contract_id = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
columns = [Column(name, dtype, tuple(shape)) for name, dtype, shape in json.loads(sys.argv[4])]
with TransitionLog(folder, contract_id) as log:
    with LearnerServer(log, columns, address) as server:
        print(server.address, flush=True)
        while True:
            server.wait(1.0)
            server.drain()
            print(server.stats.transitions, flush=True)
"""


class Producer:
    """The process of tests/cpp/link_producer.cpp."""

    def __init__(self, address: str, count: int, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [
                program("link_producer"),
                *("--endpoint", address, "--count", str(count)),
                *map(str, arguments),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.run_id: str = self.line()["run_id"]

    def line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def finish(self) -> dict[str, Any]:
        """Wait for the end and return the statistics."""
        assert self.process.stdout is not None
        # Not communicate(): it does not see what was read ahead with an earlier line.
        output = self.process.stdout.read()
        status = self.process.wait(timeout=PATIENCE_S)
        stats: dict[str, Any] = json.loads(output.splitlines()[-1])
        assert status == 0, stats
        return stats


@contextmanager
def learner(folder: Path, address: str = "tcp://127.0.0.1:*", **options: Any) -> Iterator[Any]:
    """A learner in this process: yields its server and its log."""
    with (
        TransitionLog(folder, CONTRACT) as log,
        LearnerServer(log, COLUMNS, address, **options) as server,
    ):
        yield server, log


def value(index: np.ndarray[Any, Any], components: int, salt: int) -> np.ndarray[Any, Any]:
    """Return what link_producer puts into (count, components) floats."""
    table = index[:, None] * 31 + np.arange(components) * 7 + salt
    return (table % 65521).astype(np.float32)


def check_columns(columns: dict[str, np.ndarray[Any, Any]], count: int) -> None:
    """Check that these are the transitions 0 to count - 1, each once, in order."""
    index = np.arange(count)
    expected = {
        "action": value(index, 4, 3),
        "reward": value(index, 1, 4)[:, 0],
        "grasp_penalty": value(index, 1, 5)[:, 0],
        "terminated": index % 50 == 49,
        "truncated": index % 100 == 99,
        "success": index % 3 == 0,
        "intervention": index % 5 == 0,
        "evaluation": index % 7 == 0,
        "episode": index // 50,
        "step": index % 50,
        "policy_version": index // 1000,
        "time_ns": index * 100_000_000,
    }
    for group, salt in (("observation", 1), ("next_observation", 2)):
        flat = value(index, sum(shape[0] for _, shape in FIELDS), salt)
        start = 0
        for name, (size,) in FIELDS:
            expected[f"{group}/{name}"] = flat[:, start : start + size]
            start += size
    assert list(columns) == [column.name for column in COLUMNS]
    for name, array in columns.items():
        np.testing.assert_array_equal(array, expected[name], name)


def joined(log: TransitionLog, run_id: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return all of a run's columns."""
    messages = [message for message in log if message.run_id == run_id]
    return {
        column.name: np.concatenate([message.columns[column.name] for message in messages])
        for column in COLUMNS
    }


def joined_after(folder: Path, run_id: str) -> dict[str, np.ndarray[Any, Any]]:
    with TransitionLog(folder, CONTRACT) as log:
        return joined(log, run_id)


# ---- transitions ---------------------------------------------------------------------------------


def test_every_value_arrives(tmp_path: Path) -> None:
    with learner(tmp_path) as (server, log):
        producer = Producer(server.address, 3000)
        stats = producer.finish()
        assert stats["drained"]
        assert stats["acknowledged"] == 3000
        assert stats["resent"] == 0
        assert server.stats.malformed == 0
        check_columns(joined(log, producer.run_id), 3000)
        batches = server.drain()
        assert [batch.first_seq for batch in batches] == list(
            np.cumsum([0, *(batch.count for batch in batches[:-1])])
        )


def test_a_restarted_controller_is_another_run(tmp_path: Path) -> None:
    with learner(tmp_path) as (server, log):
        runs = [Producer(server.address, count) for count in (700, 300)]
        for producer in runs:
            producer.finish()
        assert runs[0].run_id != runs[1].run_id
        check_columns(joined(log, runs[0].run_id), 700)
        check_columns(joined(log, runs[1].run_id), 300)


def test_a_killed_controller_leaves_whole_transitions(tmp_path: Path) -> None:
    with learner(tmp_path) as (server, log):
        producer = Producer(server.address, 10**9, "--rate", 20_000)
        while server.stats.transitions < 1000:
            assert server.wait(PATIENCE_S)
            server.drain()
        producer.process.send_signal(signal.SIGKILL)
        producer.process.wait()
        again = Producer(server.address, 500)
        again.finish()
        columns = joined(log, producer.run_id)
        check_columns(columns, len(columns["reward"]))
        check_columns(joined(log, again.run_id), 500)


def start_learner(folder: Path, address: str) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen(
        [sys.executable, "-c", LEARNER, str(folder), address, CONTRACT, json.dumps(COLUMNS)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_learner_killed_again_and_again_has_everything_once(tmp_path: Path) -> None:
    count = 12_000
    process, address = start_learner(tmp_path, "tcp://127.0.0.1:*")
    producer = Producer(address, count, "--rate", 3000, "--resend-ms", 100)
    for _ in range(3):
        assert process.stdout is not None
        while int(process.stdout.readline()) < 1000:  # since it was started
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        process, _ = start_learner(tmp_path, address)
    stats = producer.finish()
    assert stats["drained"]
    assert stats["welcomes"] >= 4
    process.send_signal(signal.SIGKILL)
    process.wait()
    check_columns(joined_after(tmp_path, producer.run_id), count)


class LossyProxy:
    """Stands between controller and learner and loses every so many messages, both ways."""

    def __init__(self, learner_address: str, seed: int, loss: float) -> None:
        self._generator = random.Random(seed)
        self._loss = loss
        self.lost = 0
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._front = self._context.socket(zmq.ROUTER)
        self._back = self._context.socket(zmq.DEALER)
        self._stop = self._context.socket(zmq.PAIR)
        self._stopped = self._context.socket(zmq.PAIR)
        for socket in (self._front, self._back, self._stop, self._stopped):
            socket.linger = 0
        self._stop.bind("inproc://stop")
        self._stopped.connect("inproc://stop")
        self._front.bind("tcp://127.0.0.1:*")
        self.address = self._front.getsockopt_string(zmq.LAST_ENDPOINT)
        self._back.connect(learner_address)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        peer = b""
        poller = zmq.Poller()
        for socket in (self._front, self._back, self._stopped):
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._stopped in ready:
                return
            if self._front in ready:
                peer, *frames = self._front.recv_multipart()
                self._pass(self._back, frames)
            if self._back in ready:
                self._pass(self._front, [peer, *self._back.recv_multipart()])

    def _pass(self, socket: zmq.Socket[bytes], frames: list[bytes]) -> None:
        if self._generator.random() < self._loss:
            self.lost += 1
        else:
            socket.send_multipart(frames)

    def close(self) -> None:
        self._stop.send(b"")
        self._thread.join()
        for socket in (self._front, self._back, self._stop, self._stopped):
            socket.close()
        self._context.term()


@pytest.mark.parametrize("seed", range(3))
def test_messages_and_acknowledgements_may_be_lost(tmp_path: Path, seed: int) -> None:
    with learner(tmp_path) as (server, log):
        proxy = LossyProxy(server.address, seed, loss=0.2)
        try:
            producer = Producer(proxy.address, 4000, "--batch", 32, "--resend-ms", 20)
            stats = producer.finish()
        finally:
            proxy.close()
        assert proxy.lost > 10
        assert stats["resent"] > 0
        assert stats["acknowledged"] == 4000
        check_columns(joined(log, producer.run_id), 4000)


def test_lockstep_follows_the_credit(tmp_path: Path) -> None:
    with learner(tmp_path) as (server, _):
        server.grant(100)
        producer = Producer(server.address, 2000, "--lockstep")
        stored = 0
        for total in range(100, 2001, 100):
            server.grant(total)
            while stored < total:
                assert server.wait(PATIENCE_S)
                stored += sum(batch.count for batch in server.drain())
            assert stored == total
        assert producer.finish()["acknowledged"] == 2000


def test_another_contract_is_refused_with_the_reason(tmp_path: Path) -> None:
    with learner(tmp_path) as (server, log):
        producer = Producer(
            server.address, 10, "--contract-id", "d" * 64, "--drain-ms", 500, "--timeout-ms", 100
        )
        output, _ = producer.process.communicate(timeout=PATIENCE_S)
        assert "same task file" in json.loads(output.splitlines()[-1])["refusal"]
        assert log.count == 0


# ---- policies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "accepted", "reason"),
    [
        ("accept", True, ""),
        ("refuse", False, "refused on purpose"),
        ("throw", False, "the handler failed on purpose"),
    ],
)
def test_a_policy_is_judged(tmp_path: Path, mode: str, accepted: bool, reason: str) -> None:
    with learner(tmp_path) as (server, _):
        server.publish(PolicyFile(4, b"x" * 3_000_000))
        producer = Producer(server.address, 100, "--policy", mode, "--policies", 1)
        assert producer.line() == {"policy": 4, "size": 3_000_000, "new_learner": True}
        stats = producer.finish()
        assert (stats["accepted"], stats["refused"]) == (int(accepted), int(not accepted))
        while not (verdicts := server.policy_verdicts()):
            server.wait(0.01)
        assert [(v.run_id, v.version, v.accepted, v.reason) for v in verdicts] == [
            (producer.run_id, 4, accepted, reason)
        ]


def test_only_the_newest_of_many_policies_is_fetched(tmp_path: Path) -> None:
    with learner(tmp_path) as (server, _):
        for version in (1, 2, 3):
            server.publish(PolicyFile(version, b"x" * 1000))
        producer = Producer(server.address, 1000, "--policies", 1)
        assert producer.line()["policy"] == 3
        assert producer.finish()["accepted"] == 1
        assert server.stats.policies_sent == 1


# ---- keys ----------------------------------------------------------------------------------------


def test_an_encrypted_link_carries_everything(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    with learner(tmp_path / "log", keys=tmp_path / "keys/learner") as (server, log):
        producer = Producer(server.address, 1000, "--keys", tmp_path / "keys/controller")
        assert producer.finish()["acknowledged"] == 1000
        check_columns(joined(log, producer.run_id), 1000)
