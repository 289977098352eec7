"""SERL's wrappers around FrankaEnv, in their usual order.

env = FrankaEnv(robot, task)
env = FixedGripper(env)            # actions without the gripper
env = Intervention(env, device)    # a person may take over
env = RelativeFrame(env)           # actions and poses in the tool's frame
env = EulerPose(env)               # tcp_pose (6,) instead of (7,)
env = FlatState(env)               # one vector `state` beside the images
"""

from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray

from serl_rt.controller import rotations

Observation = dict[str, Any]
Action = NDArray[np.float32]
Env = gymnasium.Env[Observation, Action]
Step = tuple[Observation, float, bool, bool, dict[str, Any]]


class FixedGripper(gymnasium.ActionWrapper[Observation, Action, Action]):
    """The gripper stays as it is: actions are (6,)."""

    def __init__(self, env: Env) -> None:
        """Leave out the last component of the action."""
        super().__init__(env)
        space = env.action_space
        assert isinstance(space, Box)
        self.action_space = Box(space.low[:-1], space.high[:-1], dtype=np.float32)

    def action(self, action: Action) -> Action:
        """Return the environment's action."""
        return np.append(action, np.float32(0.0)).astype(np.float32)


class Device(Protocol):
    """Something that a person moves, a SpaceMouse for example."""

    def read(self) -> NDArray[np.float64] | None:
        """Return what the person wants, as an action in [-1, 1]; None while hands are off."""
        ...


class Intervention(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """A person's action takes the place of the policy's; it is in info["intervene_action"]."""

    def __init__(self, env: Env, device: Device) -> None:
        """Ask `device` before each step."""
        super().__init__(env)
        self._device = device

    def step(self, action: Action) -> Step:
        """Execute the person's action if there is one."""
        wanted = self._device.read()
        if wanted is None:
            observation, reward, terminated, truncated, info = self.env.step(action)
            return observation, float(reward), terminated, truncated, info
        assert self.action_space.shape is not None
        if np.shape(wanted) != self.action_space.shape:
            raise ValueError(
                f"the device gave {np.shape(wanted)} numbers; an action has "
                f"{self.action_space.shape}"
            )
        replaced = np.clip(wanted, -1.0, 1.0).astype(np.float32)
        observation, reward, terminated, truncated, info = self.env.step(replaced)
        info = {**info, "intervene_action": replaced}
        return observation, float(reward), terminated, truncated, info


class RelativeFrame(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Actions and velocities in the tool's frame, poses relative to the reset pose.

    With the adjoint of the last measured pose, as SERL has it: its lower left block couples a
    translation into a rotation of the base frame; `couple=False` leaves that out.
    """

    def __init__(self, env: Env, *, couple: bool = True) -> None:
        """Wrap an environment whose observation has state/tcp_pose (7,) and state/tcp_vel."""
        super().__init__(env)
        self._couple = couple
        self._map = np.eye(6)
        self._start = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])

    def step(self, action: Action) -> Step:
        """Execute an action given in the tool's frame."""
        moved = np.array(action, dtype=np.float64)
        moved[:6] = self._map @ moved[:6]
        observation, reward, terminated, truncated, info = self.env.step(moved.astype(np.float32))
        if "intervene_action" in info:  # a person moves in the base frame
            given = np.array(info["intervene_action"], dtype=np.float64)
            given[:6] = np.linalg.solve(self._map, given[:6])
            info = {**info, "intervene_action": given.astype(np.float32)}
        return self._relative(observation), float(reward), terminated, truncated, info

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: poses count from here."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._start = np.array(observation["state"]["tcp_pose"], dtype=np.float64)
        return self._relative(observation), info

    def _relative(self, observation: Observation) -> Observation:
        state = dict(observation["state"])
        pose = np.array(state["tcp_pose"], dtype=np.float64)
        self._map = rotations.adjoint(pose)
        if not self._couple:
            self._map[3:, :3] = 0.0
        back = rotations.inverse(self._start[3:])
        position = rotations.to_matrix(back) @ (pose[:3] - self._start[:3])
        turned = rotations.multiply(back, pose[3:])
        state["tcp_pose"] = np.concatenate([position, turned]).astype(np.float32)
        velocity = np.linalg.solve(self._map, np.asarray(state["tcp_vel"], np.float64))
        state["tcp_vel"] = velocity.astype(np.float32)
        return {**observation, "state": state}


class EulerPose(gymnasium.ObservationWrapper[Observation, Action, Observation]):
    """tcp_pose as xyz and Euler angles, (6,)."""

    def __init__(self, env: Env) -> None:
        """Wrap an environment whose tcp_pose is (7,)."""
        super().__init__(env)
        assert isinstance(env.observation_space, Dict)
        state = env.observation_space["state"]
        assert isinstance(state, Dict)
        pose = Box(-np.inf, np.inf, (6,), np.float32)
        self.observation_space = Dict(
            {**env.observation_space.spaces, "state": Dict({**state.spaces, "tcp_pose": pose})}
        )

    def observation(self, observation: Observation) -> Observation:
        """Return the observation with Euler angles."""
        pose = observation["state"]["tcp_pose"]
        euler = np.concatenate([pose[:3], rotations.to_euler(pose[3:])]).astype(np.float32)
        return {**observation, "state": {**observation["state"], "tcp_pose": euler}}


class FlatState(gymnasium.ObservationWrapper[Observation, Action, Observation]):
    """The state's fields, in alphabetic order, as one vector; images beside it by their names."""

    def __init__(self, env: Env) -> None:
        """Wrap an environment whose observation has `state` and perhaps `images`."""
        super().__init__(env)
        assert isinstance(env.observation_space, Dict)
        state = env.observation_space["state"]
        assert isinstance(state, Dict)
        self._names = sorted(state.spaces)
        size = sum(int(np.prod(state[name].shape or ())) for name in self._names)
        images = env.observation_space.spaces.get("images", Dict({}))
        assert isinstance(images, Dict)
        self.observation_space = Dict(
            {"state": Box(-np.inf, np.inf, (size,), np.float32), **images.spaces}
        )

    def observation(self, observation: Observation) -> Observation:
        """Return {"state": vector, camera name: picture}."""
        parts = [np.ravel(observation["state"][name]) for name in self._names]
        return {
            "state": np.concatenate(parts).astype(np.float32),
            **observation.get("images", {}),
        }
