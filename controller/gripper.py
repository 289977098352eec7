"""A controller's gripper for scripts and servers."""

from collections.abc import Mapping

from serl_rt.controller.commands import Commands
from serl_rt.controller.robot import GripperError, GripperState
from serl_rt.export.wire_header import Value

POLL_S = 0.02
TIMEOUT_S = 15.0
"""The longest command is a homing or an activation."""


class ControllerGripper:
    """The gripper of a controller. Implements the Gripper protocol; not thread safe but for stop().

    Commands run in the controller, whoever gives them; a newer one ends those before.
    """

    def __init__(self, commands: Commands) -> None:
        """Use the gripper of a controller that runs."""
        self._commands = commands
        self._newest = 0
        self._max_width = self._number(self._state_values()["max_width"])

    @property
    def max_width(self) -> float:
        """Distance between the fingers when fully open [m]."""
        return self._max_width

    def open(self, *, wait: bool = True) -> None:
        """Open fully."""
        self.move(self._max_width, wait=wait)

    def close(self, *, wait: bool = True) -> None:
        """Close on whatever is between the fingers; no failure if that is nothing."""
        self.grasp(wait=wait)

    def move(self, width: float, *, speed: float | None = None, wait: bool = True) -> None:
        """Move the fingers to a distance [m], at a speed [m/s]. Raises ValueError, GripperError."""
        if not 0.0 <= width <= self._max_width:
            raise ValueError(f"width = {width} m is outside [0, {self._max_width}]")
        self._request("gripper_move", {"width": width, "speed": speed}, wait)

    def grasp(
        self,
        width: float = 0.0,
        *,
        speed: float | None = None,
        force: float | None = None,
        wait: bool = True,
    ) -> bool:
        """Close until something is held; True if it is (False without `wait`)."""
        if not 0.0 <= width <= self._max_width:
            raise ValueError(f"width = {width} m is outside [0, {self._max_width}]")
        self._request("gripper_grasp", {"width": width, "speed": speed, "force": force}, wait)
        return wait and self.is_grasped()

    def is_grasped(self) -> bool:
        """Whether the fingers hold something."""
        return self.state().is_grasped

    def state(self) -> GripperState:
        """Return the newest state; does not wait for the gripper."""
        values = self._state_values()
        return GripperState(
            width=self._number(values["width"]),
            opening=self._number(values["opening"]),
            moving=bool(values["moving"]),
            is_grasped=bool(values["grasped"]),
            failure=str(values["failure"]),
        )

    def stop(self) -> None:
        """Stop the fingers where they are."""
        self._request("gripper_stop", {}, wait=False)

    def activate(self) -> None:
        """Make the gripper ready; the fingers move. Blocks until it is."""
        self._request("gripper_activate", {}, wait=True)

    def disconnect(self) -> None:
        """Nothing to release: the controller has the device."""

    def _request(self, name: str, arguments: Mapping[str, float | None], wait: bool) -> None:
        given = {key: value for key, value in arguments.items() if value is not None}
        number = self._commands.command(name, given)
        assert isinstance(number, int)
        self._newest = number
        if not wait:
            return
        end = self._commands.now() + TIMEOUT_S
        while self._number((values := self._state_values())["done"]) < number:
            if self._commands.now() > end:
                raise GripperError(f"the gripper still moves after {TIMEOUT_S} s")
            self._commands.wait(POLL_S)
        if self._newest != number:
            raise GripperError("another command has interrupted this one")
        if values["failure"]:
            raise GripperError(str(values["failure"]))

    def _state_values(self) -> Mapping[str, Value]:
        values = self._commands.command("gripper_state", {})
        assert isinstance(values, dict)
        return values

    @staticmethod
    def _number(value: Value) -> float:
        assert isinstance(value, int | float)
        return float(value)
