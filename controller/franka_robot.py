"""An arm and its controller as one object: started, used, and cleaned up in a `with` block."""

import atexit
import ctypes
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from serl_rt.controller.commanded_robot import CommandedRobot
from serl_rt.controller.robot import Gripper, RobotConnectionError, RobotError
from serl_rt.controller.robot_client import Connection

SIMULATED = "sim"
GRIPPERS = ("robotiq", "franka", "sim", "none")
"""What the controller drives itself, by name; the first two are devices of their own."""
GRIPPER_READY_S = 15.0
"""How long a gripper may take to connect and to activate [s]."""
START_S = 30.0
"""How long a controller may take until it answers [s]: it connects to the arm first."""
END_S = 5.0
"""How long it may take to brake and end."""


class FrankaRobot(CommandedRobot):
    """A Franka arm with a controller of its own.

    >>> with FrankaRobot("172.16.0.2", gripper="franka") as robot:
    ...     q = robot.get_state()["joint_positions"]
    ...     robot.move_to_joint_positions(q)

    The controller is a process of its own, so that nothing in this one, Python's garbage collector
    or a busy script, disturbs the 1 kHz loop. It holds the arm while nothing is asked, and brakes
    and ends with the block, also after an exception or Ctrl-C, and when this process dies.
    """

    def __init__(
        self,
        robot_ip: str = SIMULATED,
        gripper: str | Gripper | None = None,
        *,
        gripper_address: str | None = None,
        task: str = "reach",
        driver: str | None = None,
        options: Sequence[str] = (),
        target_timeout: float = 0.5,
    ) -> None:
        """Start a controller and connect; returns when the arm is under control.

        robot_ip: the arm's address, or "sim" for a simulated arm (no network, no robot).
        gripper: "robotiq" (it activates, which moves its fingers), "franka" (the hand), "sim",
        "none"; None: the task file's, which for a simulated arm is a simulated one; or a Gripper
        that is not the controller's. gripper_address: of a Robotiq, "tcp://HOST[:PORT]" or
        "rtu:DEVICE", or of a hand that is not at the arm's address; default: the task file's.
        task: whose workspace, gains and limits apply: a bundled one or a task file.
        driver: "pylibfranka" (default for an address), "franka", or what `serl-rt control
        --driver` knows. options: more of `serl-rt control`'s options.
        Raises RobotConnectionError with what the controller said, or why the gripper is not ready,
        and ValueError for names that there are not.
        """
        named = gripper if isinstance(gripper, str) else None
        self._own_gripper = gripper if not isinstance(gripper, str) else None
        if self._own_gripper is not None and gripper_address is not None:
            raise ValueError("gripper_address is for a gripper that is given by its name")
        command = command_line(robot_ip, task, driver, options)
        command += gripper_options(named, gripper_address)
        self._process = ControllerProcess(command)
        try:
            connection = self._process.connect()
            if named in ("robotiq", "franka"):
                await_gripper(connection)
            super().__init__(connection, target_timeout=target_timeout)
        except BaseException:
            self._process.end()
            raise

    @property
    def gripper(self) -> Gripper | None:
        """The gripper: that which was given, or the controller's."""
        return self._own_gripper if self._own_gripper is not None else super().gripper

    @property
    def log(self) -> str:
        """What the controller has printed."""
        return self._process.log()

    def close(self) -> None:
        """Brake, hold, and end the controller."""
        try:
            super().close()
        finally:
            self._process.end()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def command_line(robot_ip: str, task: str, driver: str | None, options: Sequence[str]) -> list[str]:
    """Return the command that runs a controller for operators, without its sockets."""
    if robot_ip == SIMULATED:
        if driver not in (None, SIMULATED):
            raise ValueError(f'robot_ip = "sim" needs no driver, but driver = {driver!r}')
        where = ["--driver", SIMULATED]
    else:
        where = ["--driver", driver or "pylibfranka", "--robot-ip", robot_ip]
    return [
        sys.executable, "-m", "serl_rt.cli", "control", "--manual", "--task", task, *where, *options
    ]  # fmt: skip


def gripper_options(kind: str | None, address: str | None) -> list[str]:
    """Return the controller's options for a gripper; None: as the task file says."""
    if kind is not None and kind not in GRIPPERS:
        raise ValueError(f"gripper = {kind!r} is none of {', '.join(GRIPPERS)}")
    options = [] if kind is None else ["--gripper", kind]
    return options if address is None else [*options, "--gripper-address", address]


def await_gripper(connection: Connection) -> None:
    """Wait until the controller's gripper may be used. Raises RobotConnectionError."""
    end = time.monotonic() + GRIPPER_READY_S
    while True:
        state = connection.command("gripper_state", {})
        assert isinstance(state, dict)
        if state["connected"] and not state["moving"]:
            if state["failure"]:
                raise RobotConnectionError(f"the gripper: {state['failure']}")
            return
        if time.monotonic() > end:
            raise RobotConnectionError(
                f"the gripper is not ready after {GRIPPER_READY_S} s: "
                f"{state['failure'] or 'it still moves'}"
            )
        time.sleep(0.05)


_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM to this (child) process when the thread that made it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class ControllerProcess:
    """A controller in a process of its own, reached by sockets in a private folder."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it."""
        self._folder = Path(tempfile.mkdtemp(prefix="serl-rt-"))
        self._commands = f"ipc://{self._folder}/commands"
        self._states = f"ipc://{self._folder}/state"
        self._log = self._folder / "log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--commands", self._commands, "--state", self._states],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process, which ends the other
                preexec_fn=_end_with_parent,
            )
        atexit.register(self.end)

    def connect(self) -> Connection:
        """Wait until it answers and publishes. Raises RobotConnectionError."""
        connection = Connection(self._commands, self._states, None, timeout=0.5)
        end = time.monotonic() + START_S
        try:
            while True:
                if self._process.poll() is not None:
                    raise RobotConnectionError(f"the controller has ended:\n{self.log()}")
                try:
                    connection.command("describe", {})
                    connection.sample()
                    return Connection(self._commands, self._states, None, timeout=2.0)
                except RobotError:
                    if time.monotonic() > end:
                        raise RobotConnectionError(
                            f"the controller is not ready after {START_S} s:\n{self.log()}"
                        ) from None
        finally:
            connection.close()

    def log(self) -> str:
        """Return what it has printed."""
        if not self._log.exists():
            return ""
        return self._log.read_text(errors="replace").strip()

    def end(self) -> None:
        """End it: first politely, so that the arm is at rest, then not."""
        atexit.unregister(self.end)
        try:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            shutil.rmtree(self._folder, ignore_errors=True)
