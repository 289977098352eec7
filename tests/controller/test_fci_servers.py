"""The simulated robots that the other tests of the real arm rely on do notice what they should."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.fci.servers import VENV, franka_sim

pylibfranka = pytest.importorskip("pylibfranka")
pytestmark = pytest.mark.skipif(not VENV.exists(), reason="needs scripts/setup_fci.sh")


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """libfranka gives the thread that controls a real-time priority, which it keeps."""
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def run_cycles(control: "pylibfranka.ActiveControlBase", count: int) -> None:
    for _ in range(count):
        control.readOnce()
        control.writeOnce(pylibfranka.Torques([0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0]))


def test_a_server_aborts_and_reports_a_torque_step(tmp_path: Path) -> None:
    with franka_sim(tmp_path, timing=False) as server:
        robot = pylibfranka.Robot(server.address, pylibfranka.RealtimeConfig.kIgnore)
        control = robot.start_torque_control()
        with pytest.raises(pylibfranka.ControlException, match="controller_torque_discontinuity"):
            run_cycles(control, 100)
        assert any("discontinuity" in text for text in server.violations())
        assert server.reflexes()


def test_servers_have_addresses_of_their_own_and_come_back_after_a_restart(tmp_path: Path) -> None:
    with franka_sim(tmp_path / "a") as one, franka_sim(tmp_path / "b") as other:
        assert one.address != other.address
        one.restart()
        for server in (one, other):
            robot = pylibfranka.Robot(server.address, pylibfranka.RealtimeConfig.kIgnore)
            assert robot.read_once().robot_mode == pylibfranka.RobotMode.Idle
        assert one.violations() == one.reflexes() == []
