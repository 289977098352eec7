"""The routes: SERL's names, payloads and replies, all POST, over a RobotService."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import FiniteFloat

from serl_rt.controller.http import models
from serl_rt.controller.http.service import RobotService
from serl_rt.controller.robot import RobotConnectionError, RobotError
from serl_rt.controller.rotations import to_euler

_LOG = logging.getLogger(__name__)
_DESCRIPTION = """The robot server of SERL and HIL-SERL, over a running `serl-rt control`.

All of their routes are POST. Errors are `{"detail": ...}`: 422 a body that is wrong, 409 what the
robot may not do now, 503 no controller runs.
"""
_ERRORS: dict[int | str, dict[str, Any]] = {
    409: {"model": models.ErrorReply, "description": "the robot may not do that now"},
    503: {"model": models.ErrorReply, "description": "no controller runs"},
}


def make_app(service: RobotService) -> FastAPI:
    """Return the ASGI application that serves a robot; it disconnects when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="serl-rt http", description=_DESCRIPTION, lifespan=lifespan, responses=_ERRORS
    )
    app.add_exception_handler(RobotConnectionError, _not_running)
    app.add_exception_handler(RobotError, _not_now)
    app.add_exception_handler(ValueError, _not_allowed)
    app.add_exception_handler(RequestValidationError, _wrong_body)
    app.add_exception_handler(Exception, _failed)
    _add_state(app, service)
    _add_motion(app, service)
    _add_gripper(app, service)
    _add_wrench(app, service)
    return app


def _add_state(app: FastAPI, service: RobotService) -> None:
    @app.post("/getpos", tags=["state"])
    def getpos() -> models.PoseReply:
        return models.PoseReply(pose=service.state()["tcp_pose"].tolist())

    @app.post("/getpos_euler", tags=["state"])
    def getpos_euler() -> models.EulerReply:
        pose = service.state()["tcp_pose"]
        return models.EulerReply(pose=[*pose[:3].tolist(), *to_euler(pose[3:]).tolist()])

    @app.post("/getvel", tags=["state"])
    def getvel() -> models.VelocityReply:
        return models.VelocityReply(vel=service.state()["tcp_vel"].tolist())

    @app.post("/getforce", tags=["state"])
    def getforce() -> models.ForceReply:
        return models.ForceReply(force=service.state()["tcp_force"].tolist())

    @app.post("/gettorque", tags=["state"])
    def gettorque() -> models.TorqueReply:
        return models.TorqueReply(torque=service.state()["tcp_torque"].tolist())

    @app.post("/getq", tags=["state"])
    def getq() -> models.JointReply:
        return models.JointReply(q=service.state()["joint_positions"].tolist())

    @app.post("/getdq", tags=["state"])
    def getdq() -> models.JointVelocityReply:
        return models.JointVelocityReply(dq=service.state()["joint_velocities"].tolist())

    @app.post("/getjacobian", tags=["state"])
    def getjacobian() -> models.JacobianReply:
        return models.JacobianReply(jacobian=service.state()["jacobian"].tolist())

    @app.post("/getstate", tags=["state"])
    def getstate() -> models.StateReply:
        state = service.state()
        return models.StateReply(
            pose=state["tcp_pose"].tolist(),
            vel=state["tcp_vel"].tolist(),
            force=state["tcp_force"].tolist(),
            torque=state["tcp_torque"].tolist(),
            q=state["joint_positions"].tolist(),
            dq=state["joint_velocities"].tolist(),
            jacobian=state["jacobian"].tolist(),
            gripper_pos=service.gripper_position(),
        )

    @app.get("/status", tags=["not SERL's"])
    def status() -> models.StatusReply:
        state = service.state()
        return models.StatusReply(
            mode=state["mode"],
            in_charge=state["in_charge"],
            stopped=state["stopped"],
            halted=state["halted"],
            faults=state["faults"],
        )


def _add_motion(app: FastAPI, service: RobotService) -> None:
    @app.post("/pose", tags=["motion"], response_class=PlainTextResponse)
    def pose(body: models.PoseRequest) -> str:
        service.follow_pose(body.arr)
        return "Moved"

    @app.post("/jointreset", tags=["motion"], response_class=PlainTextResponse)
    def jointreset() -> str:
        service.joint_reset()
        return "Reset Joint"

    @app.post("/startimp", tags=["motion"], response_class=PlainTextResponse)
    def startimp() -> str:
        service.start()
        return "Started impedance"

    @app.post("/stopimp", tags=["motion"], response_class=PlainTextResponse)
    def stopimp() -> str:
        service.stop()
        return "Stopped impedance"

    @app.post("/clearerr", tags=["motion"], response_class=PlainTextResponse)
    def clearerr() -> str:
        service.clear_errors()
        return "Clear"

    @app.post("/update_param", tags=["motion"], response_class=PlainTextResponse)
    def update_param(body: Annotated[dict[str, FiniteFloat], Body()], response: Response) -> str:
        clamped = service.set_parameters(body)
        if clamped:
            text = ", ".join(f"{name}={value:g}" for name, value in clamped.items())
            response.headers["X-Clamped"] = text
            _LOG.warning("parameters moved into their range: %s", text)
        return "Updated compliance parameters"

    @app.post("/set_load", tags=["motion"], response_class=PlainTextResponse)
    def set_load(body: models.LoadRequest) -> str:
        service.set_load(body.mass, body.F_x_center_load, body.load_inertia)
        return "Set Load"


def _add_gripper(app: FastAPI, service: RobotService) -> None:
    @app.post("/get_gripper", tags=["gripper"])
    def get_gripper() -> models.GripperReply:
        return models.GripperReply(gripper=service.gripper_position())

    @app.post("/activate_gripper", tags=["gripper"], response_class=PlainTextResponse)
    def activate_gripper() -> str:
        service.activate_gripper()
        return "Activated"

    @app.post("/reset_gripper", tags=["gripper"], response_class=PlainTextResponse)
    def reset_gripper() -> str:
        service.activate_gripper()
        return "Reset"

    @app.post("/open_gripper", tags=["gripper"], response_class=PlainTextResponse)
    def open_gripper() -> str:
        service.open_gripper()
        return "Opened"

    @app.post("/close_gripper", tags=["gripper"], response_class=PlainTextResponse)
    def close_gripper() -> str:
        service.close_gripper()
        return "Closed"

    @app.post("/close_gripper_slow", tags=["gripper"], response_class=PlainTextResponse)
    def close_gripper_slow() -> str:
        service.close_gripper(slow=True)
        return "Closed"

    @app.post("/move_gripper", tags=["gripper"], response_class=PlainTextResponse)
    def move_gripper(body: models.GripperRequest) -> str:
        service.move_gripper(body.gripper_pos)
        return "Moved Gripper"


def _add_wrench(app: FastAPI, service: RobotService) -> None:
    """HIL-SERL's second server, for tasks that push instead of following a pose."""

    @app.post("/wrench", tags=["wrench"], response_class=PlainTextResponse)
    def wrench(body: models.WrenchRequest) -> str:
        service.push(body.arr)
        return "Moved"

    @app.post("/startwrench", tags=["wrench"], response_class=PlainTextResponse)
    def startwrench() -> str:
        service.start()
        return "Started wrench"

    @app.post("/stopwrench", tags=["wrench"], response_class=PlainTextResponse)
    def stopwrench() -> str:
        service.stop()
        return "Stopped wrench"

    @app.post("/reset", tags=["wrench"], response_class=PlainTextResponse)
    def reset() -> str:
        service.joint_reset()
        return "Reset"


def _not_running(_: Request, error: Exception) -> JSONResponse:
    return _reply(503, str(error))


def _not_now(_: Request, error: Exception) -> JSONResponse:
    return _reply(409, str(error))


def _not_allowed(_: Request, error: Exception) -> JSONResponse:
    return _reply(422, str(error))


def _wrong_body(_: Request, error: Exception) -> JSONResponse:
    """Answer with place and reason of each mistake, without the input: it may be no valid JSON."""
    assert isinstance(error, RequestValidationError)
    mistakes = [
        {"loc": list(mistake["loc"]), "msg": mistake["msg"], "type": mistake["type"]}
        for mistake in error.errors()
    ]
    return _reply(422, mistakes)


def _failed(request: Request, error: Exception) -> JSONResponse:
    _LOG.error("%s failed", request.url.path, exc_info=error)
    return _reply(500, "the server made a mistake; its log says which")


def _reply(status: int, detail: object) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
