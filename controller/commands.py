"""What a script needs of a controller, wherever it runs: commands, targets, the state, the time."""

from collections.abc import Mapping
from typing import Protocol

from serl_rt.export.operator_messages import StateSample, StreamTarget
from serl_rt.export.wire_header import Value


class Commands(Protocol):
    """A controller that takes commands."""

    def command(self, name: str, args: Mapping[str, Value]) -> Value:
        """Do something. Raises RobotError with the controller's reason."""
        ...

    def wait(self, seconds: float) -> None:
        """Let the robot's time pass."""
        ...

    def now(self) -> float:
        """Return the clock by which wait() waits [s]."""
        ...


class ArmCommands(Commands, Protocol):
    """A controller that takes targets as well, and tells its state."""

    def send_target(self, target: StreamTarget) -> None:
        """Hand over a target; does not wait."""
        ...

    def sample(self) -> StateSample:
        """Return the newest state. Raises RobotConnectionError."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...
