"""Drivers with a fault: a torque is 5 Nm off, which the robot answers with a reflex."""

from serl_rt.controller.driver import RobotSettings
from serl_rt.controller.pylibfranka_driver import PylibfrankaDriver


class GlitchDriver(PylibfrankaDriver):
    """Sends one wrong torque in its life."""

    first_cycle = 6000  # after some seconds, when the arm follows the policy
    period_cycles = 0  # of further ones; 0: none

    def __init__(self, settings: RobotSettings) -> None:
        """See PylibfrankaDriver."""
        super().__init__(settings)
        self._cycles_left = self.first_cycle

    def write(self) -> None:
        """See Driver."""
        self._cycles_left -= 1
        if self._cycles_left == 0:
            self._tau[1] += 5.0
            self._cycles_left = self.period_cycles
        super().write()


class RepeatedGlitchDriver(GlitchDriver):
    """Sends one every 25 s, less often than a robot may have reflexes without a person."""

    first_cycle = period_cycles = 25_000
