"""The client against a C++ process: commands, the published state, keys."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpp_program import program

from serl_rt.controller.client import (
    CommandError,
    ControllerClient,
    NoAnswerError,
    StateSubscriber,
)
from serl_rt.export.keys import KeysError, make_keys

PATIENCE_S = 120.0


@contextmanager
def command_host(*arguments: object) -> Iterator[dict[str, str]]:
    """The process of tests/cpp/command_host.cpp: yields its addresses."""
    with subprocess.Popen(
        [program("command_host"), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


@pytest.fixture(scope="module")
def host() -> Iterator[dict[str, str]]:
    with command_host() as addresses:
        yield addresses


@pytest.fixture
def client(host: dict[str, str]) -> Iterator[ControllerClient]:
    with ControllerClient(host["commands"], timeout=PATIENCE_S) as connected:
        yield connected


def test_commands_return_results(client: ControllerClient) -> None:
    assert client.command("echo", text="hällo", speed=0.5) == {"text": "hällo", "speed": 0.5}
    assert client.command("echo", text="") == {"text": "", "speed": None}
    assert client.command("move", q=[0.5, 1, 0, 0, 0, 0, -0.25]) == 1.25
    assert client.command("count", n=4, twice=True) == 8
    assert client.command("mode", mode="hold") == "hold"


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("jump", {}, "unknown command jump; there are: help, echo, move, count, mode, fail, sleep"),
        ("echo", {}, "an argument is missing: text: text"),
        ("echo", {"text": 1}, "the argument text is 1; expected text: text"),
        ("echo", {"text": "", "speed": 2}, "is 2; expected speed: number in [0, 1] (optional)"),
        ("echo", {"text": "", "sped": 1}, "unknown argument sped; the arguments are: text: text;"),
        ("move", {"q": [0.0] * 6}, "is a list of 6; expected q: 7 numbers in [-3, 3]"),
        ("move", {"q": [0.0] * 6 + [float("nan")]}, "expected q: 7 numbers"),
        ("count", {"n": 1.5, "twice": True}, "is 1.5; expected n: integer in [0, 9]"),
        ("count", {"n": True, "twice": True}, "is true; expected n: integer"),
        ("mode", {"mode": "fly"}, 'is "fly"; expected mode: hold or joint'),
        ("fail", {}, "it failed on purpose"),
    ],
)
def test_refused_commands_say_why(
    client: ControllerClient, name: str, args: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CommandError) as caught:
        client.command(name, **args)
    assert str(caught.value).startswith(f"{name}: ")
    assert reason in str(caught.value)


def test_help_lists_the_commands(client: ControllerClient) -> None:
    assert list(client.help()) == ["echo", "move", "count", "mode", "fail", "sleep"]
    assert client.help()["move"] == {
        "summary": "add up",
        "arguments": ["q: 7 numbers in [-3, 3]"],
    }


def test_a_late_answer_is_not_taken_for_the_next_one(client: ControllerClient) -> None:
    client.timeout = 0.05
    with pytest.raises(NoAnswerError, match=r"no answer to 'sleep' .* within 0.05 s"):
        client.command("sleep", ms=300)
    client.timeout = PATIENCE_S
    assert client.command("count", n=3, twice=False) == 3


def test_no_controller_no_answer() -> None:
    with (
        ControllerClient("tcp://127.0.0.1:1", timeout=0.05) as client,
        pytest.raises(NoAnswerError, match="is the controller running"),
    ):
        client.command("help")


def test_published_state_is_the_robots(host: dict[str, str]) -> None:
    with StateSubscriber(host["state"]) as subscriber:
        first = subscriber.receive(PATIENCE_S)
        second = subscriber.receive(PATIENCE_S)
    assert second.sequence > first.sequence
    assert first.time_ns == first.sequence * 1_000_000
    assert first.status == {"mode": "hold", "episode": first.sequence // 100}
    joints = np.arange(7)
    np.testing.assert_allclose(first.q, 0.1 * joints)
    np.testing.assert_allclose(first.dq, 0.2 * joints)
    np.testing.assert_allclose(first.tau_J, 0.3 * joints)
    np.testing.assert_array_equal(first.tcp_pose, [0.4, 0.1, 0.3, 0.5, -0.5, 0.5, 0.5])
    np.testing.assert_allclose(first.tcp_vel, [0.0 + 1.2, 0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_array_equal(first.tcp_wrench, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(first.gripper, [0.75])


def test_commands_and_state_with_keys(tmp_path: Path) -> None:
    make_keys(tmp_path / "ours")
    make_keys(tmp_path / "theirs")
    stranger = tmp_path / "theirs/operator"
    public = tmp_path / "ours/operator/trusted/controller.key"
    (stranger / "trusted/controller.key").write_bytes(public.read_bytes())
    ours = tmp_path / "ours/operator"
    with command_host("--keys", tmp_path / "ours/controller") as host:
        with ControllerClient(host["commands"], keys=ours, timeout=PATIENCE_S) as client:
            assert client.command("count", n=2, twice=True) == 4
        with StateSubscriber(host["state"], keys=ours) as subscriber:
            assert subscriber.receive(PATIENCE_S).q.shape == (7,)
        for keys in (stranger, None):
            with (
                ControllerClient(host["commands"], keys=keys, timeout=0.5) as client,
                pytest.raises(NoAnswerError),
            ):
                client.command("help")


def test_other_machines_need_keys() -> None:
    with pytest.raises(KeysError, match="there are no keys"):
        ControllerClient("tcp://192.168.1.2:5591")
    with pytest.raises(KeysError, match="there are no keys"):
        StateSubscriber("tcp://192.168.1.2:5590")


@pytest.mark.parametrize("option", ["--state", "--commands"])
def test_the_controller_serves_other_machines_only_with_keys(option: str) -> None:
    result = subprocess.run(
        [program("command_host"), option, "tcp://*:5599"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "there are no keys: make them with 'serl-rt keys'" in result.stderr
