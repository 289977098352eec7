"""The Franka hand's driver against a hand that can be interrupted, and against franka-sim's."""

import math
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from franka_hand_model import GRASP, HOMING, MOVE, STOP, FrankaHandModel
from gripper_host import gripper

from bench.fci.servers import VENV, franka_sim


@pytest.fixture
def hand() -> Iterator[FrankaHandModel]:
    pick = random.SystemRandom()
    with FrankaHandModel(f"127.1.{pick.randrange(256)}.{pick.randrange(1, 255)}") as model:
        yield model


def ready(status: dict[str, Any]) -> bool:
    return bool(status["connected"] and not status["moving"])


def test_it_moves_and_grasps(hand: FrankaHandModel) -> None:
    with gripper("franka", hand.address) as client:
        assert client.until(ready)["max_width"] == pytest.approx(0.08)
        assert hand.requests == []  # connecting moves nothing
        status = client.done("move 0.06 0.05")
        assert status["width"] == pytest.approx(0.06, abs=1e-6)
        assert hand.requests[-1] == (MOVE, (0.06, 0.05))
        hand.object_width = 0.03
        status = client.done("grasp 0 0.1 20")
        assert status["grasped"]
        assert status["failure"] == ""
        assert hand.requests[-1] == (GRASP, (0.0, 1.0, 1.0, 0.1, 20.0))
        hand.object_width = None
        client.done("move 0.08")
        status = client.done("grasp")
        assert not status["grasped"]  # nothing there
        assert status["failure"] == ""


def test_a_new_command_or_a_stop_interrupts_the_motion(hand: FrankaHandModel) -> None:
    with gripper("franka", hand.address) as client:
        client.until(ready)
        client.done("move 0.08")
        client("move 0 0.005")  # sixteen seconds
        client.until(lambda s: s["opening"] < 0.99)
        status = client.done("move 0.08")
        assert status["opening"] == pytest.approx(1.0)
        assert status["failure"] == ""
        assert [r[0] for r in hand.requests[-3:]] == [MOVE, STOP, MOVE]
        client("move 0 0.005")
        client.until(lambda s: s["opening"] < 0.99)
        status = client.done("stop")
        assert status["opening"] > 0.9
        assert status["failure"] == ""


def test_a_policy_closes_with_force_and_opens(hand: FrankaHandModel) -> None:
    hand.object_width = 0.02
    with gripper("franka", hand.address) as client:
        client.until(ready)
        client("command 0")
        client.until(lambda s: s["grasped"])
        client("command 0")
        client("command 1")
        client.until(lambda s: s["opening"] > 0.99 and not s["moving"])
        assert [r[0] for r in hand.requests] == [GRASP, MOVE]


def test_a_hand_that_was_not_homed_says_so(hand: FrankaHandModel) -> None:
    hand.max_width = 0.0
    with gripper("franka", hand.address) as client:
        assert "homes it" in client.until(lambda s: s["connected"])["failure"]
        status = client.done("activate")
        assert status["failure"] == ""
        assert hand.requests == [(HOMING, ())]


def test_it_reconnects_and_does_not_move_by_itself(hand: FrankaHandModel) -> None:
    with gripper("franka", hand.address) as client:
        client.until(ready)
        client("move 0 0.005")
        client.until(lambda s: s["moving"])
        hand.__exit__(None, None, None)
        status = client.until(lambda s: not s["connected"])
        assert hand.address in status["failure"]
        assert client.done("move 0.01")["failure"] != ""
        with FrankaHandModel(hand.address) as again:
            client.until(ready)
            assert again.requests == []
            assert client.done("move 0.05")["failure"] == ""


def test_what_cannot_be_a_state_is_left_out(hand: FrankaHandModel) -> None:
    hand.noise = [b"", b"x" * 23, b"x" * 64, struct.pack("<IddBH", 1, math.inf, 0.08, 0, 30),
                  struct.pack("<IddBH", 1, 0.01, math.nan, 1, 30)]  # fmt: skip
    with gripper("franka", hand.address) as client:
        client.until(ready)
        status = client.done("move 0.06")
        assert status["width"] == pytest.approx(0.06, abs=1e-6)
        assert status["max_width"] == pytest.approx(0.08)
        assert not status["grasped"]


@pytest.mark.parametrize("width", [math.nan, math.inf, -1.0, 5.0])
def test_a_hand_without_a_possible_width_counts_as_silent(
    hand: FrankaHandModel, width: float
) -> None:
    with gripper("franka", hand.address) as client:
        assert math.isfinite(client.until(ready)["width"])
        hand.reported_width = width
        status = client.until(lambda s: not s["connected"])
        assert "state" in status["failure"]
        assert math.isfinite(status["width"])


def test_another_version_is_named(hand: FrankaHandModel) -> None:
    hand.version = 4
    with gripper("franka", hand.address) as client:
        client.until(lambda s: "version" in s["failure"])


@pytest.mark.skipif(not (VENV / "bin/python").exists(), reason="scripts/setup_fci.sh was not run")
def test_franka_sim_understands_it(tmp_path: Path) -> None:
    with franka_sim(tmp_path) as server, gripper("franka", server.address) as client:
        client.until(ready)
        assert client.done("activate")["failure"] == ""
        status = client.done("move 0.03")
        assert status["failure"] == ""
        assert status["width"] == pytest.approx(0.03, abs=0.002)
        assert client.done("grasp 0")["failure"] == ""
