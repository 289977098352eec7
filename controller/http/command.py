"""`serl-rt http`: serve SERL's routes over a controller that runs, or over one of its own."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from serl_rt.controller.client import COMMAND_ADDRESS, STATE_ADDRESS
from serl_rt.controller.commanded_robot import CommandedRobot
from serl_rt.controller.franka_robot import ControllerProcess, command_line
from serl_rt.controller.gripper_dialect import Dialect, GripperType
from serl_rt.controller.http.guard import Guard, is_loopback
from serl_rt.controller.http.service import RobotService
from serl_rt.controller.robot import Robot, RobotConnectionError
from serl_rt.controller.robot_client import RobotClient
from serl_rt.export.keys import KeysError

PORT = 5000
TOKEN_VARIABLE = "SERL_RT_HTTP_TOKEN"
_SHORTEST_TOKEN = 16


class UsageError(ValueError):
    """An option that cannot be; the text says what is allowed."""


def main(argv: Sequence[str]) -> int:
    """Serve until interrupted; returns the exit status."""
    import uvicorn

    from serl_rt.controller.http.app import make_app

    arguments = _parse(argv)
    # The server ends by itself on this signal and then raises it again; what was started must end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        token = read_token(arguments.host, arguments.token_file)
        with ExitStack() as stack:
            service = RobotService(
                _connector(arguments, stack),
                arguments.gripper_type,
                arguments.dialect,
                reset_q=arguments.reset_joint_target,
            )
            app = Guard(make_app(service), token)
            print(
                f"[http] http://{arguments.host}:{arguments.port}/ ; its routes: /docs",
                file=sys.stderr,
            )
            uvicorn.run(
                app,
                host=arguments.host,
                port=arguments.port,
                log_level="warning",
                access_log=False,
            )
    except (UsageError, KeysError, RobotConnectionError) as error:
        print(f"serl-rt http: error: {error}", file=sys.stderr)
        return 1
    return 0


def read_token(host: str, file: Path | None) -> str | None:
    """Return the token that requests need: of the file, or of the environment; None: none.

    Raises UsageError: no such file, too short, or none for an address that others can reach.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    if file is not None:
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the token cannot be read from {file}: {error}") from None
    if token is None and not is_loopback(host):
        raise UsageError(
            f"--host {host} lets other machines move the robot, so it needs a token: write one "
            "with 'openssl rand -hex 16 > token' and give --token-file token"
        )
    if token is not None and (len(token) < _SHORTEST_TOKEN or not token.isascii()):
        raise UsageError(f"a token has at least {_SHORTEST_TOKEN} ASCII characters")
    return token


def _connector(arguments: argparse.Namespace, stack: ExitStack) -> Callable[[], Robot]:
    """Return what connects to the controller, which is started here if that was asked for."""
    timeout: float = arguments.hold_after
    if arguments.start != "franka" and (arguments.robot_ip or arguments.driver):
        raise UsageError("--robot-ip and --driver say which arm to start: add --start franka")
    if arguments.start is None:
        return lambda: RobotClient(
            arguments.controller,
            arguments.state,
            keys=arguments.keys,
            target_timeout=timeout,
        )
    if arguments.start == "franka" and arguments.robot_ip is None:
        raise UsageError("--start franka needs --robot-ip")
    address = "sim" if arguments.start == "sim" else arguments.robot_ip
    command = command_line(address, arguments.task, arguments.driver, ())
    process = ControllerProcess(command)
    stack.callback(process.end)
    process.connect().close()  # says at once why it does not start
    return lambda: CommandedRobot(process.connect(), target_timeout=timeout)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="serl-rt http",
        description="SERL's and HIL-SERL's robot server: their environments work with it as they "
        "are. It talks to a controller that runs (serl-rt control --manual), or starts one.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at (%(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="%(default)s")
    parser.add_argument(
        "--token-file",
        type=Path,
        help=f"file with the token that requests need (or {TOKEN_VARIABLE})",
    )
    parser.add_argument("--controller", default=COMMAND_ADDRESS, help="%(default)s")
    parser.add_argument("--state", default=STATE_ADDRESS, help="%(default)s")
    parser.add_argument("--keys", type=Path, help="key folder, for a controller elsewhere")
    parser.add_argument("--start", choices=["sim", "franka"], help="start the controller, too")
    parser.add_argument("--robot-ip", help="of the arm, with --start franka")
    parser.add_argument("--driver", help="of the arm, with --start franka")
    parser.add_argument("--task", default="reach", help="with --start (%(default)s)")
    parser.add_argument(
        "--gripper-type",
        type=_gripper_type,
        metavar="Franka|Robotiq|None",
        help="which of SERL's gripper servers is imitated (as kind in [gripper] of the task)",
    )
    parser.add_argument(
        "--dialect",
        type=Dialect,
        choices=list(Dialect),
        metavar="hil-serl|serl|metres",
        help="whose unit the gripper's position has (as convention in [gripper] of the task)",
    )
    parser.add_argument(
        "--reset-joint-target",
        type=_joints,
        metavar="Q1,...,Q7",
        help="where /jointreset ends [rad] (where the task's episodes begin)",
    )
    parser.add_argument(
        "--hold-after",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="the arm holds this long after the last pose (%(default)s)",
    )
    arguments = parser.parse_args(argv)
    if not 0.02 <= arguments.hold_after <= 5.0:
        parser.error(f"--hold-after {arguments.hold_after}: 0.02 to 5 seconds are allowed")
    return arguments


def _gripper_type(text: str) -> GripperType:
    for kind in GripperType:
        if text.lower() == kind.value.lower():
            return kind
    raise argparse.ArgumentTypeError(f"'{text}': choose from Franka, Robotiq, None")


def _joints(text: str) -> list[float]:
    try:
        joints = [float(part) for part in text.split(",")]
    except ValueError:
        joints = []
    if len(joints) != 7:
        raise argparse.ArgumentTypeError(f"'{text}': seven numbers [rad] with commas are needed")
    return joints
