"""A robot whose controller runs in another process, perhaps on another machine."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from serl_rt.controller.client import (
    COMMAND_ADDRESS,
    STATE_ADDRESS,
    CommandError,
    ControllerClient,
    NoAnswerError,
    StateSubscriber,
)
from serl_rt.controller.commanded_robot import CommandedRobot
from serl_rt.controller.robot import NotInChargeError, RobotConnectionError, RobotError
from serl_rt.export.operator_messages import StateSample, StreamTarget
from serl_rt.export.wire_header import Value

OLDEST_S = 0.5
"""A controller that has published nothing for this long is gone [s]."""


class RobotClient(CommandedRobot):
    """A robot under a controller that runs, by its sockets (docs/architecture.md section 5).

    >>> with RobotClient() as robot:
    ...     robot.move_to_joint_positions(robot.get_state()["joint_positions"])
    """

    def __init__(
        self,
        command_address: str = COMMAND_ADDRESS,
        state_address: str = STATE_ADDRESS,
        *,
        keys: Path | None = None,
        timeout: float = 2.0,
        target_timeout: float = 0.5,
    ) -> None:
        """Connect to a controller.

        keys: this machine's key folder, for a controller on another machine. timeout: longest wait
        for an answer [s]. target_timeout: see CommandedRobot.
        Raises RobotConnectionError, KeysError.
        """
        connection = Connection(command_address, state_address, keys, timeout)
        try:
            super().__init__(connection, target_timeout=target_timeout)
        except BaseException:
            connection.close()
            raise


class Connection:
    """The sockets of one controller; commands from any thread, one at a time but for `stop`."""

    def __init__(
        self, command_address: str, state_address: str, keys: Path | None, timeout: float
    ) -> None:
        """Connect in the background."""
        self._client = ControllerClient(command_address, keys=keys, timeout=timeout)
        self._stopper = ControllerClient(command_address, keys=keys, timeout=timeout)
        self._states = StateSubscriber(state_address, keys=keys)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._stop_lock = threading.Lock()
        self._state_lock = threading.Lock()
        self._newest: StateSample | None = None
        self._received = float("-inf")

    def command(self, name: str, args: Mapping[str, Value]) -> Value:
        """Have the controller do something. Raises RobotError, RobotConnectionError."""
        # A stop has a connection of its own: it waits for no command of another thread.
        urgent = name == "stop"
        client, lock = (self._stopper, self._stop_lock) if urgent else (self._client, self._lock)
        try:
            with lock:
                return client.command(name, **args)
        except CommandError as error:
            if "a policy moves the arm" in str(error):
                raise NotInChargeError(str(error)) from None
            raise RobotError(str(error)) from None
        except NoAnswerError as error:
            raise RobotConnectionError(str(error)) from None

    def send_target(self, target: StreamTarget) -> None:
        """Send a target; if the controller does not take it at once, it is lost."""
        with self._lock:
            self._client.send(target)

    def sample(self) -> StateSample:
        """Return the newest state that was published. Raises RobotConnectionError."""
        with self._state_lock:
            newest = self._states.newest()
            if newest is None and time.monotonic() - self._received > OLDEST_S:
                try:
                    newest = self._states.receive(self._timeout)
                except NoAnswerError as error:
                    raise RobotConnectionError(str(error)) from None
            if newest is not None:
                self._newest, self._received = newest, time.monotonic()
            assert self._newest is not None
            return self._newest

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(max(0.0, seconds))

    def now(self) -> float:
        """Return the wall clock's time [s]."""
        return time.monotonic()

    def close(self) -> None:
        """Disconnect."""
        for socket in (self._client, self._stopper, self._states):
            socket.close()
