"""The simulated arm in lock-step as a `Robot`: time passes only where a caller lets it."""

from collections.abc import Mapping
from pathlib import Path

from numpy.typing import ArrayLike

from serl_rt.controller._core import ControllerError, SimRobotCore
from serl_rt.controller.commanded_robot import CommandedRobot
from serl_rt.controller.robot import RobotConnectionError, RobotError, UnsupportedError
from serl_rt.export.operator_messages import StateSample, StreamTarget
from serl_rt.export.task import find_task
from serl_rt.export.wire_header import Value, pack_header

ASSETS = Path(__file__).parent / "assets"


class SimRobot(CommandedRobot):
    """The same controller as on an arm, on a simulated one, as fast as the CPU allows.

    Blocking motions and wait_period() let simulated time pass; everything else is instantaneous,
    so the same calls give the same motion, bit for bit.

    >>> robot = SimRobot("reach")
    >>> robot.joint_reset()
    """

    def __init__(self, task: str = "reach", *, target_timeout: float = 0.5) -> None:
        """Load a bundled task by name, or a task file by path. Raises ControllerError."""
        super().__init__(
            LockStep(SimRobotCore(find_task(task), ASSETS)), target_timeout=target_timeout
        )

    def set_load(self, mass: float, center_of_mass: ArrayLike, inertia: ArrayLike) -> None:
        """Raise UnsupportedError: what this arm carries is in its model."""
        raise UnsupportedError("the simulated arm carries what its MuJoCo model says")


class LockStep:
    """Commands to a simulation in this process."""

    def __init__(self, core: SimRobotCore) -> None:
        """Use a simulation."""
        self._core = core
        self._sequence = 0

    def command(self, name: str, args: Mapping[str, Value]) -> Value:
        """Do something; whatever it asks of the 1 kHz loop happens in the next tick."""
        try:
            result: Value = self._core.command(name, dict(args))
        except ControllerError as error:
            raise RobotError(str(error)) from None
        return result

    def send_target(self, target: StreamTarget) -> None:
        """Hand over a target."""
        self._core.follow(bytes(pack_header(target)))

    def sample(self) -> StateSample:
        """Return the state of the last tick."""
        self._sequence += 1
        return StateSample(
            sequence=self._sequence,
            time_ns=self._core.time_ns,
            status=self._core.report(),
            **self._core.arrays(),
        )

    def wait(self, seconds: float) -> None:
        """Run the simulation."""
        try:
            self._core.advance(max(0, round(1000 * seconds)))
        except ControllerError as error:
            raise RobotConnectionError(str(error)) from None

    def now(self) -> float:
        """Return the robot's clock [s]."""
        return 1e-9 * self._core.time_ns

    def close(self) -> None:
        """Nothing to do."""
