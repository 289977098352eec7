"""The life of a connection: what is lost comes back by itself, and a killed controller frees it."""

import signal
import time
from collections.abc import Callable
from typing import Any

from bench.fci.arm import Controller
from bench.fci.case import Context, Result
from bench.fci.servers import Server, franka_sim

LIMIT_S = 3.0  # from the server being back to control running again


def _recovers(
    context: Context, provoke: Callable[[Server], None], name: str, *options: str
) -> Result:
    """Provoke an absence; `provoke` returns when the robot is back. `name`: what it must be called.

    By that name it must be in the status and in the name of the flight recorder's file.
    """
    with (
        franka_sim(context.folder, timing=context.timing) as robot,
        Controller(context, robot.address, *options) as arm,
    ):
        before = arm.wait_until_moving()
        provoke(robot)
        back = time.monotonic()
        status = arm.wait_for(lambda s: s["robot"]["recoveries"] >= 1, "a recovery")
        took = time.monotonic() - back
        arm.wait_for(lambda s: s["steps"] > before["steps"] + 5, "the policy to act again")
        recovery = status["robot"]["recent_recoveries"][-1]
        reflexes = list(status["robot"]["reflexes"])
    measured: dict[str, Any] = {
        "back_to_control_s": round(took, 2),
        "away_s": round(recovery["duration_s"], 2),
        "name": recovery["name"],
        "cause": recovery["cause"],
        "reflexes": reflexes,
        "violations": robot.violations(),
        "recordings": [path.name for path in arm.recordings()],
    }
    named = recovery["name"] == name and any(name in file for file in measured["recordings"])
    return Result(took <= LIMIT_S and named, measured)


def server_restarted(context: Context) -> Result:
    """The robot is switched off and on: control runs again within 3 s, with the cause named."""
    return _recovers(context, Server.restart, "driver_lost_network")


def cable_cut(context: Context) -> Result:
    """The robot is silent for 2 s: control runs again within 3 s, with the cause named."""

    def cut(robot: Server) -> None:
        robot.pause()
        time.sleep(2.0)
        robot.resume()

    return _recovers(context, cut, "driver_lost_network")


def torque_glitch(context: Context) -> Result:
    """A wrong torque makes the robot stop itself: control runs again within 3 s, by name."""

    def wait_for_reflex(robot: Server) -> None:
        deadline = time.monotonic() + 30.0
        while not robot.reflexes() and time.monotonic() < deadline:
            time.sleep(0.02)

    return _recovers(
        context,
        wait_for_reflex,
        "controller_torque_discontinuity",
        "--driver",
        "bench.fci.glitch_driver:GlitchDriver",
    )


def killed(context: Context) -> Result:
    """Kill -9 during motion: the robot sees the end, and the next controller works at once."""
    with franka_sim(context.folder, timing=context.timing) as robot:
        with Controller(context, robot.address) as arm:
            arm.wait_until_moving()
            arm.process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10.0
        while robot.sessions_ended() == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        ended, reflexes = robot.sessions_ended(), robot.reflexes()  # commands that did not come
        begin = time.monotonic()
        with Controller(context, robot.address) as arm:
            arm.wait_for(lambda s: s["robot"]["present"], "control")
            took = time.monotonic() - begin
            arm.wait_until_moving()
        measured = {
            "sessions_ended": ended,
            "start_s": round(took, 2),
            "reflexes": robot.reflexes(),
        }
        return Result(ended == 1 and robot.reflexes() == reflexes, measured)


CASES = {
    "server_restarted": server_restarted,
    "cable_cut": cable_cut,
    "torque_glitch": torque_glitch,
    "killed": killed,
}
