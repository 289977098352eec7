"""SERL's HTTP routes over a robot that only remembers: replies, units, refusals."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from remembering_robot import (
    POSE,
    RememberingGripper,
    RememberingRobot,
    serve,
)

from serl_rt.controller.gripper_dialect import (
    Dialect,
    GripperDialect,
    GripperType,
    gripper_dialect,
)
from serl_rt.controller.http.parameters import RANGES, merge
from serl_rt.controller.http.service import RobotService
from serl_rt.controller.robot import (
    RobotState,
)

# The 23 routes of SERL's and HIL-SERL's servers -> a body, and the text they answer (None: JSON).
ROUTES: dict[str, tuple[dict[str, Any] | None, str | None]] = {
    "startimp": (None, "Started impedance"),
    "stopimp": (None, "Stopped impedance"),
    "pose": ({"arr": POSE}, "Moved"),
    "getpos": (None, None),
    "getpos_euler": (None, None),
    "getvel": (None, None),
    "getforce": (None, None),
    "gettorque": (None, None),
    "getq": (None, None),
    "getdq": (None, None),
    "getjacobian": (None, None),
    "getstate": (None, None),
    "jointreset": (None, "Reset Joint"),
    "activate_gripper": (None, "Activated"),
    "reset_gripper": (None, "Reset"),
    "open_gripper": (None, "Opened"),
    "close_gripper": (None, "Closed"),
    "close_gripper_slow": (None, "Closed"),
    "move_gripper": ({"gripper_pos": 100}, "Moved Gripper"),
    "get_gripper": (None, None),
    "clearerr": (None, "Clear"),
    "update_param": ({"translational_stiffness": 1500}, "Updated compliance parameters"),
    "set_load": (
        {"mass": 0.5, "F_x_center_load": [0, 0, 0.1], "load_inertia": [1e-3, 0, 0, 0] * 2 + [1e-3]},
        "Set Load",
    ),
}


@pytest.fixture
def robot() -> RememberingRobot:
    return RememberingRobot(RememberingGripper())


@pytest.fixture
def client(robot: RememberingRobot) -> Iterator[TestClient]:
    with serve(robot) as client:
        yield client


@pytest.mark.parametrize("route", ROUTES)
def test_each_of_serls_routes_answers(route: str, client: TestClient) -> None:
    body, text = ROUTES[route]
    reply = client.post(f"/{route}", json=body)
    assert reply.status_code == 200, reply.text
    if text is None:
        assert reply.headers["content-type"] == "application/json"
        assert isinstance(reply.json(), dict)
    else:
        assert reply.text == text
        assert reply.headers["content-type"].startswith("text/")


def test_the_openapi_page_lists_serls_23_routes(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert len(ROUTES) == 23
    assert {f"/{route}" for route in ROUTES} <= set(paths)
    assert all("post" in paths[f"/{route}"] for route in ROUTES)
    assert client.get("/docs").status_code == 200


def test_state_has_serls_names_shapes_and_units(client: TestClient) -> None:
    state = client.post("/getstate").json()
    shapes = {name: np.shape(value) for name, value in state.items()}
    assert shapes == {
        "pose": (7,), "vel": (6,), "force": (3,), "torque": (3,), "q": (7,), "dq": (7,),
        "jacobian": (6, 7), "gripper_pos": (),
    }  # fmt: skip
    assert state["pose"] == POSE
    # The tool points down: about x by half a turn, so y and z of a wrench change their sign.
    np.testing.assert_allclose(state["force"], [1, -2, -3], atol=1e-12)
    np.testing.assert_allclose(state["torque"], [0.1, -0.2, -0.3], atol=1e-12)
    for route, name in {
        "getpos": "pose", "getvel": "vel", "getforce": "force", "gettorque": "torque",
        "getq": "q", "getdq": "dq", "getjacobian": "jacobian",
    }.items():  # fmt: skip
        assert client.post(f"/{route}").json() == {name: state[name]}


def test_euler_angles_are_extrinsic_xyz(client: TestClient, robot: RememberingRobot) -> None:
    yaw = 0.4
    robot.pose = np.array([0.5, 0.0, 0.2, 0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    pose = client.post("/getpos_euler").json()["pose"]
    np.testing.assert_allclose(pose, [0.5, 0.0, 0.2, 0.0, 0.0, yaw], atol=1e-9)


def test_a_pose_is_followed_with_its_quaternion_normalised(
    client: TestClient, robot: RememberingRobot
) -> None:
    assert client.post("/pose", json={"arr": [0.4, 0, 0.2, 0.8, 0, 0, 0]}).text == "Moved"
    np.testing.assert_allclose(robot.poses, [[0.4, 0, 0.2, 1, 0, 0, 0]])


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ('{"arr": [0.5, 0, 0.3, 1, 0, 0]}', 422, "at least 7"),
        ('{"arr": [NaN, 0, 0.3, 1, 0, 0, 0]}', 422, "finite"),
        ('{"arr": [1e999, 0, 0.3, 1, 0, 0, 0]}', 422, "finite"),
        ('{"arr": ["left", 0, 0.3, 1, 0, 0, 0]}', 422, "valid number"),
        ('{"arr": [0.5, 0, 0.3, 0.01, 0, 0, 0]}', 422, "unit quaternion"),
        ('{"pose": [0.5, 0, 0.3, 1, 0, 0, 0]}', 422, "arr"),
        ('{"arr": [0.5', 422, "JSON"),
        ("", 422, "required"),
        ('{"arr": [0.71, 0, 0.3, 1, 0, 0, 0]}', 409, "x = 0.7100 m is outside"),
        ('{"arr": [0.5, 0, -0.01, 1, 0, 0, 0]}', 409, "z = -0.0100 m is outside"),
    ],
)
def test_a_wrong_pose_is_refused_by_name(
    body: str, status: int, says: str, client: TestClient, robot: RememberingRobot
) -> None:
    reply = client.post("/pose", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == status
    assert says in reply.text
    assert "Traceback" not in reply.text
    assert robot.poses == []


def test_a_persons_stop_is_not_undone_by_a_clients_loop(
    client: TestClient, robot: RememberingRobot
) -> None:
    robot.stop()
    for route, body in (("clearerr", None), ("pose", {"arr": POSE}), ("jointreset", None)):
        reply = client.post(f"/{route}", json=body)
        assert reply.status_code == 409
        assert "/startimp" in reply.json()["detail"]
    assert robot.poses == []
    assert client.post("/startimp").status_code == 200
    assert client.post("/pose", json={"arr": POSE}).status_code == 200


def test_clearing_recovers_from_a_limit_and_is_free_otherwise(
    client: TestClient, robot: RememberingRobot
) -> None:
    client.post("/clearerr")
    assert robot.recovered == 0
    robot.stopped = True
    assert client.post("/pose", json={"arr": POSE}).status_code == 409
    assert client.post("/clearerr").text == "Clear"
    assert robot.recovered == 1
    assert client.post("/pose", json={"arr": POSE}).status_code == 200


def test_while_a_policy_acts_a_pose_is_refused(client: TestClient, robot: RememberingRobot) -> None:
    robot.in_charge = "policy"
    reply = client.post("/pose", json={"arr": POSE})
    assert reply.status_code == 409
    assert "policy" in reply.json()["detail"]


def test_without_a_controller_every_route_says_so(
    client: TestClient, robot: RememberingRobot
) -> None:
    robot.lost = True
    for route in ("getstate", "pose", "clearerr", "getq"):
        reply = client.post(f"/{route}", json=ROUTES[route][0])
        assert reply.status_code == 503
        assert "no state from" in reply.json()["detail"]
    robot.lost = False
    assert client.post("/getstate").status_code == 200


def test_a_mistake_of_the_server_shows_no_traceback(
    client: TestClient, robot: RememberingRobot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> RobotState:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(robot, "get_state", fail)
    reply = client.post("/getstate")
    assert reply.status_code == 500
    assert "secret" not in reply.text


def test_during_a_joint_reset_others_see_the_state_may_stop_and_move_nothing(
    client: TestClient, robot: RememberingRobot
) -> None:
    robot.may_arrive.clear()
    replies = []
    resetting = threading.Thread(target=lambda: replies.append(client.post("/jointreset")))
    resetting.start()
    assert robot.moving.wait(10)
    busy = client.post("/pose", json={"arr": POSE})
    assert busy.status_code == 409
    assert "another request" in busy.json()["detail"]
    assert client.post("/getstate").status_code == 200
    assert client.post("/stopimp").text == "Stopped impedance"
    resetting.join(10)
    assert replies[0].status_code == 409
    assert "ended early" in replies[0].json()["detail"]
    assert robot.poses == []


def test_a_joint_reset_may_have_a_target_of_its_own(robot: RememberingRobot) -> None:
    target = [0, 0, 0, -1.9, 0, 2, 0]
    with serve(robot, reset_q=target) as client:
        client.post("/jointreset")
    assert robot.resets == [target]


def test_parameters_are_mapped_and_bounded(client: TestClient, robot: RememberingRobot) -> None:
    reply = client.post(
        "/update_param",
        json={
            "translational_stiffness": 3000,
            "translational_clip_y": 0.003,
            "translational_clip_neg_x": 0.002,
            "rotational_clip_z": 0.5,  # HIL-SERL's RAM task; its controller bounds it, too
        },
    )
    assert reply.text == "Updated compliance parameters"
    assert reply.headers["x-clamped"] == "rotational_clip_z=0.1"
    assert robot.gains["translational_stiffness"] == 3000
    assert robot.gains["translational_clip"] == [0.01, 0.003, 0.01]
    assert robot.gains["translational_clip_neg"] == [0.002, 0.01, 0.01]
    assert robot.gains["rotational_clip"] == [0.05, 0.05, 0.1]


@pytest.mark.parametrize("body", ['{"stiffness": 1}', '{"rotational_damping": NaN}', "[]", "3"])
def test_wrong_parameters_are_refused(body: str, client: TestClient) -> None:
    reply = client.post("/update_param", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422
    assert reply.json()["detail"]


def test_no_value_leaves_its_range() -> None:
    rng = np.random.default_rng(0)
    clips = {name: [0.05] * 3 for name in ("translational_clip", "translational_clip_neg",
                                           "rotational_clip", "rotational_clip_neg")}  # fmt: skip
    for _ in range(200):
        names = rng.choice(sorted(RANGES), 5, replace=False)
        wanted = {str(name): float(rng.normal(0, 1000)) for name in names}
        gains, clamped = merge(wanted, dict(clips))
        for name, value in wanted.items():
            low, high = RANGES[name]
            stem, _, axis = name.rpartition("_")
            got = gains[stem]["xyz".index(axis)] if stem in clips else gains[name]  # type: ignore[index]
            assert got == min(high, max(low, value))
            assert (name in clamped) == (got != value)


@pytest.mark.parametrize(
    ("type_", "dialect", "open_", "half", "closed", "position_of_half"),
    [
        ("Franka", "hil-serl", 1.0, 0.5, 0.0, 102),
        ("Franka", "serl", 0.08, 0.04, 0.0, 102),
        ("Robotiq", "hil-serl", 1.0, 0.5, 0.0, 127.5),
        ("Robotiq", "serl", 0, 128, 255, 127.5),
        ("Robotiq", "metres", 0.08, 0.04, 0.0, 0.04),
    ],
)
def test_the_gripper_counts_as_in_serl(
    type_: str,
    dialect: str,
    open_: float,
    half: float,
    closed: float,
    position_of_half: float,
    robot: RememberingRobot,
) -> None:
    assert robot.gripper is not None
    with serve(robot, GripperDialect(GripperType(type_), Dialect(dialect))) as client:

        def reported() -> float:
            value = client.post("/get_gripper").json()["gripper"]
            assert client.post("/getstate").json()["gripper_pos"] == value
            return float(value)

        client.post("/close_gripper")
        assert reported() == closed
        client.post("/open_gripper")
        assert reported() == open_
        client.post("/move_gripper", json={"gripper_pos": position_of_half})
        assert reported() == pytest.approx(half, rel=0.01)
        client.post("/move_gripper", json={"gripper_pos": -5})
        backwards = type_ == "Robotiq" and dialect != "metres"
        assert reported() == (open_ if backwards else closed)


def test_the_task_says_how_the_gripper_counts_unless_an_option_does(
    robot: RememberingRobot,
) -> None:
    about = robot.describe()  # a Robotiq, SERL's numbers
    assert gripper_dialect(about) == GripperDialect(GripperType.ROBOTIQ, Dialect.SERL)
    assert gripper_dialect(about, dialect=Dialect.METRES).type is GripperType.ROBOTIQ
    service = RobotService(lambda: robot)
    service.close_gripper()
    assert service.gripper_position() == 255
    service = RobotService(lambda: robot, dialect=Dialect.HIL_SERL)
    assert service.gripper_position() == 0.0


def test_without_a_gripper_states_have_zero_and_commands_are_refused() -> None:
    with serve(RememberingRobot(), GripperDialect(GripperType.NONE, Dialect.SERL)) as client:
        assert client.post("/getstate").json()["gripper_pos"] == 0.0
        assert client.post("/get_gripper").json() == {"gripper": 0.0}
        reply = client.post("/close_gripper")
        assert reply.status_code == 409
        assert "no gripper" in reply.json()["detail"]


def test_a_load_reaches_the_robot(client: TestClient, robot: RememberingRobot) -> None:
    body = ROUTES["set_load"][0]
    assert body is not None
    assert client.post("/set_load", json=body).text == "Set Load"
    assert robot.load == (0.5, [0, 0, 0.1], np.diag([0.001] * 3).tolist())
    assert client.post("/set_load", json=body | {"mass": -1}).status_code == 422


def test_a_wrench_reaches_the_robot(client: TestClient, robot: RememberingRobot) -> None:
    assert client.post("/wrench", json={"arr": [1, 2, 3, 0, 0, 1]}).text == "Moved"
    np.testing.assert_array_equal(robot.wrenches, [[1, 2, 3, 0, 0, 1]])
    assert client.post("/reset").text == "Reset"
