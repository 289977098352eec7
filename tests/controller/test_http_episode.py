"""An episode of SERL's environment, request by request, on a simulated arm in real time."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn")
import httpx

from serl_rt.sim.processes import free_port

COMPLIANCE = {
    "translational_stiffness": 2000, "translational_damping": 89, "rotational_stiffness": 150,
    "rotational_damping": 7, "translational_Ki": 0, "translational_clip_x": 0.03,
    "translational_clip_y": 0.03, "translational_clip_z": 0.03, "translational_clip_neg_x": 0.03,
    "translational_clip_neg_y": 0.03, "translational_clip_neg_z": 0.03, "rotational_clip_x": 0.05,
    "rotational_clip_y": 0.05, "rotational_clip_z": 0.05, "rotational_clip_neg_x": 0.05,
    "rotational_clip_neg_y": 0.05, "rotational_clip_neg_z": 0.05, "rotational_Ki": 0,
}  # fmt: skip
PRECISION = COMPLIANCE | {"translational_stiffness": 3000, "rotational_stiffness": 300}
HZ = 10


class SerlClient:
    """Sends what SERL's environment sends, and checks each reply's status, shape and unit."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def post(self, route: str, json: Any = None) -> httpx.Response:
        reply = self.http.post(f"/{route}", json=json)
        assert reply.status_code == 200, f"{route}: {reply.text}"
        return reply

    def send_pose(self, pose: np.ndarray) -> None:
        assert self.post("clearerr").text == "Clear"
        assert self.post("pose", {"arr": pose.astype(np.float32).tolist()}).text == "Moved"

    def state(self) -> dict[str, np.ndarray]:
        state = {name: np.array(value) for name, value in self.post("getstate").json().items()}
        shapes = {name: value.shape for name, value in state.items()}
        assert shapes == {
            "pose": (7,), "vel": (6,), "force": (3,), "torque": (3,), "q": (7,), "dq": (7,),
            "jacobian": (6, 7), "gripper_pos": (),
        }  # fmt: skip
        assert abs(np.linalg.norm(state["pose"][3:]) - 1) < 1e-6
        assert np.max(np.abs(state["pose"][:3])) < 1.0  # metres
        assert np.max(np.abs(state["q"])) < 4.7  # radians
        np.testing.assert_allclose(state["vel"], state["jacobian"] @ state["dq"], atol=1e-9)
        assert 0.0 <= state["gripper_pos"] <= 1.0
        return state


@contextmanager
def served(*options: str) -> Iterator[SerlClient]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "serl_rt.cli", "http", "--port", str(port), *options],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            end = time.monotonic() + 60
            while True:
                try:
                    http.get("/status")
                    break
                except httpx.ConnectError:
                    assert process.poll() is None, process.communicate()[1]
                    assert time.monotonic() < end
                    time.sleep(0.1)
            yield SerlClient(http)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_an_episode_of_serls_environment() -> None:
    with served("--start", "sim", "--task", "reach") as client:
        # reset(): compliant, precise, joint reset, interpolated to the reset pose, compliant.
        client.post("update_param", COMPLIANCE)
        client.post("update_param", PRECISION)
        assert client.post("jointreset").text == "Reset Joint"
        start = client.state()["pose"]
        reset_pose = start.copy()
        reset_pose[:3] += [0.03, -0.02, 0.01]
        for pose in np.linspace(start, reset_pose, HZ):
            client.send_pose(pose)
            time.sleep(1 / HZ)
        assert client.post("update_param", COMPLIANCE).text == "Updated compliance parameters"
        assert client.post("clearerr").text == "Clear"
        pose = client.state()["pose"]
        assert np.max(np.abs(pose[:3] - reset_pose[:3])) < 0.015

        # step(): a delta on the measured pose, ten times a second; the gripper closes meanwhile.
        for step in range(12):
            begin = time.monotonic()
            if step == 3:
                assert client.post("close_gripper").text == "Closed"
            target = pose.copy()
            target[2] -= 0.01
            client.send_pose(target)
            time.sleep(max(0.0, 1 / HZ - (time.monotonic() - begin)))
            state = client.state()
            pose = state["pose"]
        assert pose[2] < reset_pose[2] - 0.03
        assert state["gripper_pos"] < 0.5

        # The client goes away: the arm holds.
        status = client.http.get("/status").json()
        assert status["mode"] == "cartesian_impedance"
        end = time.monotonic() + 10
        while client.http.get("/status").json()["mode"] != "hold":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert client.http.get("/status").json()["stopped"] is False

        # A load: control ends and begins anew where the arm is; then it follows poses again.
        pose = client.state()["pose"]
        load = {"mass": 0.5, "F_x_center_load": [0, 0, 0.1], "load_inertia": [0.001, 0, 0] * 3}
        assert "symmetric" in client.http.post("/set_load", json=load).text
        load["load_inertia"] = np.diag([0.001, 0.001, 0.001]).ravel().tolist()
        assert client.post("set_load", load).text == "Set Load"
        assert np.max(np.abs(client.state()["pose"] - pose)) < 0.002
        assert client.http.get("/status").json()["stopped"] is True
        client.send_pose(client.state()["pose"])
        end = time.monotonic() + 10
        while client.http.get("/status").json()["mode"] != "cartesian_impedance":
            assert time.monotonic() < end


def test_a_controller_that_does_not_start_is_a_sentence() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "serl_rt.cli", "http", "--start", "sim", "--task", "no_such_task"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "no_such_task" in result.stderr
    assert "Traceback" not in result.stderr


@contextmanager
def controlled(commands: str, state: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "serl_rt.cli", "control", "--manual", "--task", "reach",
         "--commands", commands, "--state", state],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_server_outlives_controllers(tmp_path: Path) -> None:
    commands, state = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))

    def wait_for(
        client: SerlClient, status: int, route: str = "/getstate", body: object = None
    ) -> httpx.Response:
        end = time.monotonic() + 60
        while True:
            reply = client.http.post(route, json=body)
            if reply.status_code == status:
                return reply
            assert time.monotonic() < end, reply.text

    with served("--controller", commands, "--state", state) as client:
        assert "is the controller running" in wait_for(client, 503).json()["detail"]
        for _ in range(2):
            with controlled(commands, state, tmp_path):
                wait_for(client, 200)
                pose = client.state()["pose"]
                client.send_pose(pose)
            assert "is the controller running" in wait_for(client, 503).json()["detail"]
            wait_for(client, 503, "/pose", {"arr": pose.tolist()})
