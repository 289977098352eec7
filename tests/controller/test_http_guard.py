"""Who may use SERL's HTTP routes: tokens, web pages, other machines; wrong options."""

import base64
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from remembering_robot import HIL_FRANKA, RememberingGripper, RememberingRobot, serve

from serl_rt.controller.http.app import make_app
from serl_rt.controller.http.command import UsageError, main, read_token
from serl_rt.controller.http.guard import Guard
from serl_rt.controller.http.service import RobotService

TOKEN = "0123456789abcdef"


def test_a_token_is_needed_where_there_is_one() -> None:
    robot = RememberingRobot(RememberingGripper())
    service = RobotService(lambda: robot, HIL_FRANKA)
    with TestClient(Guard(make_app(service), TOKEN), base_url="http://robot:5000") as client:  # type: ignore[arg-type]
        assert client.post("/getstate").status_code == 401
        assert client.post("/getstate", headers={"authorization": "Bearer no"}).status_code == 401
        assert client.post("/getstate", headers={"authorization": "Basic =="}).status_code == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert client.post("/getstate", headers=bearer).status_code == 200
        # What requests makes of http://serl:TOKEN@robot:5000/
        basic = base64.b64encode(f"serl:{TOKEN}".encode()).decode()
        reply = client.post("/getstate", headers={"authorization": f"Basic {basic}"})
        assert reply.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"host": "evil.example"}, 403),  # a name that was pointed at 127.0.0.1
        ({"origin": "http://127.0.0.1:5000"}, 200),
        ({"host": "localhost:5000"}, 200),
        ({"content-length": "100000000"}, 413),
        ({"content-length": "many"}, 411),
    ],
)
def test_web_pages_and_endless_bodies_are_kept_out(headers: dict[str, str], status: int) -> None:
    with serve(RememberingRobot(RememberingGripper())) as client:
        assert client.post("/getstate", headers=headers).status_code == status


def test_other_machines_need_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERL_RT_HTTP_TOKEN", raising=False)
    assert read_token("127.0.0.1", None) is None
    with pytest.raises(UsageError, match="needs a token"):
        read_token("0.0.0.0", None)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token("0.0.0.0", file) == TOKEN
    file.write_text("short")
    with pytest.raises(UsageError, match="at least 16"):
        read_token("0.0.0.0", file)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "needs a token"),
        (["--token-file", "/nonexistent"], "cannot be read"),
        (["--start", "franka"], "needs --robot-ip"),
        (["--robot-ip", "172.16.0.2"], "add --start franka"),
    ],
)
def test_wrong_options_are_sentences(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SERL_RT_HTTP_TOKEN", raising=False)
    assert main(arguments) == 1
    assert says in capsys.readouterr().err
