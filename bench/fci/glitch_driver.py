"""A driver with a fault: one torque is 5 Nm off, which the robot answers with a reflex."""

from serl_rt.controller.driver import RobotSettings
from serl_rt.controller.pylibfranka_driver import PylibfrankaDriver

GLITCH_CYCLE = 6000  # after some seconds, when the arm follows the policy


class GlitchDriver(PylibfrankaDriver):
    """Sends one wrong torque in its life."""

    def __init__(self, settings: RobotSettings) -> None:
        """See PylibfrankaDriver."""
        super().__init__(settings)
        self._cycles = 0

    def write(self) -> None:
        """See Driver."""
        self._cycles += 1
        if self._cycles == GLITCH_CYCLE:
            self._tau[1] += 5.0
        super().write()
