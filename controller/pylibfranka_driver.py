"""A Franka arm through pylibfranka, the manufacturer's package: no compiler, no libfranka needed.

pylibfranka has no forward kinematics, so the pose is the one that the robot reports, and the
Jacobian is the model's. They belong to the same point on a robot; franka-sim reports the pose of
the last link instead, 107 mm before the flange, so that there the native driver is the better test.
"""

import gc
from typing import Any

from serl_rt.controller._core import franka_failure, franka_mode
from serl_rt.controller.driver import Array, RobotAbsent, RobotSettings, Sample


class PylibfrankaDriver:
    """Implements serl_rt.controller.driver.LoadDriver."""

    def __init__(self, settings: RobotSettings) -> None:
        """Does not connect yet. Raises ModuleNotFoundError without pylibfranka."""
        try:
            import pylibfranka
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "--driver pylibfranka needs the package pylibfranka: pip install 'serl-rt[franka]'"
            ) from error
        self._fci = pylibfranka
        self._settings = settings
        self._ip: str = settings["ip"]
        self._robot: Any = None
        self._model: Any = None
        self._control: Any = None

    def attach(self, sample: dict[str, Array], tau: Array) -> None:
        """See Driver."""
        self._sample = Sample(**sample)
        self._tau = tau
        self._torques = self._fci.Torques([0.0] * 7)

    def start(self) -> None:
        """See Driver."""
        self._control = None
        try:
            if self._robot is None:
                # An ordinary kernel is reported by the program, not refused by the library.
                robot = self._fci.Robot(self._ip, self._fci.RealtimeConfig.kIgnore)
                self._model = robot.load_model()
                self._robot = robot
            absence, what = self._mode()
            if absence == "reflex":
                self._robot.automatic_error_recovery()
                absence, what = self._mode()
            if absence != "none":
                raise RobotAbsent(absence, what)
            self._set_up()
            self._control = self._robot.start_torque_control()
        except RobotAbsent:
            raise
        except Exception as error:
            raise self._lost(error) from error
        gc.collect()
        gc.disable()  # nothing in a cycle makes reference cycles; a collection would delay one

    def read(self) -> None:
        """See Driver."""
        try:
            state, _ = self._control.readOnce()
        except Exception as error:
            raise self._lost(error) from error
        model, sample = self._model, self._sample
        sample.time_s[0] = state.time.to_sec()
        sample.success_rate[0] = state.control_command_success_rate
        sample.q[:] = state.q
        sample.dq[:] = state.dq
        sample.tau_J[:] = state.tau_J
        sample.tau_J_d[:] = state.tau_J_d
        sample.O_T_EE[:] = state.O_T_EE
        sample.zero_jacobian[:] = model.zero_jacobian(state)
        sample.coriolis[:] = model.coriolis(state)
        sample.gravity[:] = model.gravity(state)
        sample.O_F_ext[:] = state.O_F_ext_hat_K

    def write(self) -> None:
        """See Driver."""
        torques = self._torques
        torques.tau_J = self._tau.tolist()
        try:
            self._control.writeOnce(torques)
        except Exception as error:
            raise self._lost(error) from error

    def stop(self) -> None:
        """See Driver."""
        if self._control is None:
            return
        last = self._fci.Torques(self._tau.tolist())
        last.motion_finished = True
        self._control.writeOnce(last)
        self._control = None

    def set_load(self, load: RobotSettings) -> None:
        """See LoadDriver."""
        rest = {k: v for k, v in self._settings.items() if not k.startswith("load_")}
        self._settings = {**rest, **load}

    def _mode(self) -> tuple[str, str]:
        """Return whether control can begin, and if not, why."""
        return franka_mode(self._robot.read_once().robot_mode.name.removeprefix("k"))

    def _set_up(self) -> None:
        settings = self._settings
        self._robot.set_collision_behavior(
            settings["contact_torque"],
            settings["collision_torque"],
            settings["contact_force"],
            settings["collision_force"],
        )
        if "NE_T_EE" in settings:
            self._robot.set_EE(settings["NE_T_EE"])
        if "load_mass" in settings:
            self._robot.set_load(
                settings["load_mass"], settings["load_centre"], settings["load_inertia"]
            )

    def _lost(self, error: Exception) -> RobotAbsent:
        """Say what an exception means; a connection that may be broken is given up."""
        absence, what = franka_failure(type(error).__name__, str(error), self._ip)
        self._control = None
        if absence in {"network", "unusable"}:
            self._robot = self._model = None
        return RobotAbsent(absence, what)
