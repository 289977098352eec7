"""The Robotiq driver against a Modbus server that behaves like the gripper, over TCP and RTU."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cpp_program import CONTROLLER, ROOT, program
from gripper_host import gripper
from robotiq_model import RobotiqModel, rtu_server, tcp_server

from serl_rt.sim.processes import free_port


@pytest.fixture
def model() -> RobotiqModel:
    return RobotiqModel()


@pytest.fixture(params=["tcp", "rtu"])
def address(request: pytest.FixtureRequest, model: RobotiqModel) -> Iterator[str]:
    if request.param == "rtu":
        with rtu_server(model) as device:
            yield f"rtu:{device}"
    else:
        port = free_port()
        with tcp_server(model, port):
            yield f"tcp://127.0.0.1:{port}"


def active(status: dict[str, Any]) -> bool:
    return bool(status["connected"] and not status["moving"])


def test_it_activates_then_moves_where_it_was_told(address: str, model: RobotiqModel) -> None:
    with gripper("robotiq", address) as client:
        client.until(active)
        assert model.activations == 1
        assert [w[0] for w in model.writes[:2]] == [0x0000, 0x0100]  # reset, then activate
        status = client.done("move 0.04 0.15 60")
        assert status["failure"] == ""
        assert not status["grasped"]
        assert status["width"] == pytest.approx(0.04, abs=0.085 / 255)
        assert status["max_width"] == pytest.approx(0.085)
        speed, force = model.writes[-1][2] >> 8, model.writes[-1][2] & 0xFF
        assert speed == 255  # 0.15 m/s
        assert force == round((60 - 20) / (235 - 20) * 255)
        assert client.done("move 0.085")["opening"] == 1.0


def test_an_object_is_detected_and_released(address: str, model: RobotiqModel) -> None:
    model.object_at = 120
    with gripper("robotiq", address) as client:
        client.until(active)
        client.done("move 0.085")
        status = client.done("grasp 0")
        assert status["grasped"]
        assert status["failure"] == ""
        assert status["width"] == pytest.approx(0.085 * (1 - 120 / 255), abs=1e-6)
        assert not client.done("move 0.085")["grasped"]
        model.object_at = None
        assert not client.done("grasp 0")["grasped"]  # nothing there: no failure either
        assert client("status")["failure"] == ""


def test_a_new_command_or_a_stop_interrupts_the_motion(address: str, model: RobotiqModel) -> None:
    with gripper("robotiq", address) as client:
        client.until(active)
        client.done("move 0.085 0.15")
        first = client("move 0 0.02")["number"]  # ten seconds at this speed
        client.until(lambda s: s["opening"] < 0.97)
        assert client("status")["done"] < first
        assert client.done("move 0.085 0.15")["opening"] == 1.0
        client("move 0 0.02")
        client.until(lambda s: s["opening"] < 0.97)
        stopped = client.done("stop")
        assert stopped["opening"] > 0.5
        assert not stopped["moving"]
        assert model.writes[-1][0] == 0x0100  # rGTO is off
        assert client("status")["opening"] == pytest.approx(stopped["opening"], abs=0.01)


def test_a_policy_repeats_itself_without_traffic(model: RobotiqModel) -> None:
    port = free_port()
    with tcp_server(model, port), gripper("robotiq", f"tcp://127.0.0.1:{port}") as client:
        client.until(active)
        client.done("stop")
        before = len(model.writes)
        for _ in range(5):
            client("command 0.5")
        client.until(lambda s: abs(s["opening"] - 0.5) < 0.01 and not s["moving"])
        client("command 0.5")
        client("command nan")
        client.done("stop")
        assert len(model.writes) == before + 2


def test_faults_are_named_and_cleared_by_an_activation(model: RobotiqModel) -> None:
    port = free_port()
    with tcp_server(model, port), gripper("robotiq", f"tcp://127.0.0.1:{port}") as client:
        client.until(active)
        client("move 0 0.02")
        model.fault = 0xE
        status = client.until(lambda s: s["failure"] != "")
        assert status["failure"] == "the gripper reports: overcurrent"
        assert not status["moving"]
        assert client.done("activate")["failure"] == ""
        assert model.activations == 2
        assert client.done("move 0.05")["failure"] == ""


def test_without_activation_it_says_what_to_do(model: RobotiqModel) -> None:
    port = free_port()
    with (
        tcp_server(model, port),
        gripper("robotiq", f"tcp://127.0.0.1:{port}", "--no-activate") as client,
    ):
        client.until(lambda s: s["connected"])
        assert "ask it to activate" in client.done("move 0.01")["failure"]
        assert model.activations == 0
        assert client.done("activate")["failure"] == ""
        assert client.done("move 0.01")["failure"] == ""


def test_an_active_gripper_is_not_activated_again(model: RobotiqModel) -> None:
    model = RobotiqModel(active=True)
    port = free_port()
    with tcp_server(model, port), gripper("robotiq", f"tcp://127.0.0.1:{port}") as client:
        client.until(active)
        client.done("move 0.05")
        assert model.activations == 0


def test_it_reconnects_and_does_not_move_by_itself(model: RobotiqModel) -> None:
    port = free_port()
    with gripper("robotiq", f"tcp://127.0.0.1:{port}") as client:
        assert (
            "could not be reached"
            in client.until(lambda s: "not conn" not in s["failure"])["failure"]
        )
        with tcp_server(model, port):
            client.until(active)
            client.done("move 0.085")
            client("move 0 0.02")
            client.until(lambda s: s["moving"] and s["opening"] < 0.99)
        status = client.until(lambda s: not s["connected"])
        assert str(port) in status["failure"]
        assert not status["moving"]
        number = client("move 0")["number"]
        status = client("status")
        assert status["done"] >= number
        assert status["failure"]
        client("command 0")
        before = len(model.writes)
        with tcp_server(model, port):
            client.until(active)
            assert len(model.writes) == before  # neither the old commands nor an activation
            assert client.done("move 0.085")["failure"] == ""


def test_what_makes_no_sense_is_refused(model: RobotiqModel) -> None:
    port = free_port()
    with tcp_server(model, port), gripper("robotiq", f"tcp://127.0.0.1:{port}") as client:
        client.until(active)
        assert "not in [0, 0.085" in client("move 0.2")["error"]
        assert "not in [0, 0.085" in client("move nan")["error"]
        assert "speed" in client("move 0.01 -1")["error"]
    for bad in ("udp://x", "tcp://", "tcp://host:port", "/dev/ttyUSB0", "rtu:"):
        result = subprocess.run(
            [program("gripper_host"), "robotiq", bad], capture_output=True, text=True, timeout=10
        )
        assert result.returncode == 1
        assert f"gripper address '{bad}' is not one of" in result.stderr


def test_a_task_file_names_its_gripper(tmp_path: Path) -> None:
    bundled = (ROOT / "controller/tasks/reach.toml").read_text()
    for table, message in {
        'kind = "claw"': "none, sim, franka, robotiq",
        'kind = "robotiq"\naddress = "somewhere"': "gripper address 'somewhere' is not one of",
        'kind = "robotiq"\nspeed = 9.0': "gripper.speed",
        'kind = "robotiq"\nport = 1': "port",
    }.items():
        task = tmp_path / "task.toml"
        task.write_text(f"{bundled}\n[gripper]\n{table}\n")
        result = subprocess.run(
            [CONTROLLER, "--task", task, "--state", "none", "--commands", "none"],
            capture_output=True, text=True, timeout=60, cwd=tmp_path,
        )  # fmt: skip
        assert result.returncode == 1
        assert message in result.stderr


def test_an_option_overrides_the_task_files_gripper(tmp_path: Path) -> None:
    task = tmp_path / "task.toml"
    bundled = (ROOT / "controller/tasks/reach.toml").read_text()
    task.write_text(f'{bundled}\n[gripper]\nkind = "robotiq"\naddress = "tcp://127.0.0.1"\n')
    for options, status, message in (
        (["--gripper", "claw"], 2, "robotiq"),
        (["--gripper-address", "there"], 1, "gripper address 'there' is not one of"),
        (["--gripper", "franka"], 1, "needs the robot's address"),  # not the Robotiq's
        (["--gripper", "none", "--gripper-address", "there"], 1, "is for --gripper franka"),
    ):
        result = subprocess.run(
            [CONTROLLER, "--task", task, "--state", "none", "--commands", "none", *options],
            capture_output=True, text=True, timeout=60, cwd=tmp_path,
        )  # fmt: skip
        assert result.returncode == status
        assert message in result.stderr
