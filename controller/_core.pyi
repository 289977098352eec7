"""Types of the C++ extension (controller/cpp/app/bindings.cpp)."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from serl_rt.controller.driver import Driver, RobotSettings

class ControllerError(ValueError):
    """Something from outside is wrong; the message says what is allowed."""

class SimEnv:
    """The simulated arm in lockstep, one episode at a time."""

    def __init__(
        self,
        task_file: str | PathLike[str],
        reward: str,
        assets_dir: str | PathLike[str],
        classifier: str | PathLike[str],
        onnxruntime: str | PathLike[str] | None,
    ) -> None: ...
    def reset(self, seed: int) -> dict[str, NDArray[Any]]:
        """The contract's fields, float32, and its images, uint8 (height, width, 3)."""
    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, bool, float]:
        """Observation, reward, terminated, truncated, success, grasp penalty."""
    @property
    def truth(self) -> dict[str, NDArray[np.float32]]:
        """The task's own fields, whether the contract shows them or not."""
    @property
    def contract_json(self) -> str: ...
    @property
    def ticks(self) -> int: ...
    @property
    def qpos(self) -> NDArray[np.float64]: ...

class SimRobotCore:
    """The simulated arm in lockstep, under commands."""

    def __init__(self, task_file: str | PathLike[str], assets_dir: str | PathLike[str]) -> None: ...
    def command(self, name: str, arguments: dict[str, Any]) -> Any: ...
    def follow(self, message: bytes) -> None: ...
    def advance(self, ticks: int) -> None: ...
    @property
    def time_ns(self) -> int: ...
    def arrays(self) -> dict[str, NDArray[np.float64]]: ...
    def report(self) -> dict[str, Any]: ...

def run_controller(
    arguments: Sequence[str],
    tasks_dir: str | PathLike[str],
    assets_dir: str | PathLike[str] | None,
    onnxruntime: str | PathLike[str] | None,
    drivers: Mapping[str, Callable[[RobotSettings], Driver]],
) -> int: ...

class Wakeup(TypedDict):
    """How late a thread woke; durations in ns."""

    count: int
    p50: int
    p99: int
    p999: int
    max: int
    above: list[int]
    not_granted: list[str]

def measure_wakeup(seconds: float, priority: int, cpu: int, edges: Sequence[int]) -> Wakeup: ...
def franka_failure(exception: str, text: str, ip: str) -> tuple[str, str]: ...
def franka_mode(mode: str) -> tuple[str, str]: ...
