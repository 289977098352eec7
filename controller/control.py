"""`serl-rt control`: start the C++ controller in this process.

Python only finds the files; then its main thread sleeps in C++ with the GIL released. The native
executable `serl-rt-controller` takes the same options.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from serl_rt.controller.driver import Driver, RobotSettings

PYLIBFRANKA = "serl_rt.controller.pylibfranka_driver:PylibfrankaDriver"


def onnxruntime_library() -> Path | None:
    """Return the library inside the onnxruntime wheel, which is not imported; None without it."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("capi/libonnxruntime.so.*"))
    return found[-1] if found else None


def assets_dir() -> Path | None:
    """Return the folder of the simulated arm's model; None when it is not installed."""
    spec = importlib.util.find_spec("serl_rt.sim")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "assets"


def driver_factory(name: str) -> Callable[[RobotSettings], Driver]:
    """Return what makes the driver `module:Class`; its module is imported when it is called.

    The result raises ImportError or AttributeError when there is no such class.
    """
    module, _, attribute = name.partition(":")

    def make(settings: RobotSettings) -> Driver:
        driver: Driver = getattr(importlib.import_module(module), attribute)(settings)
        return driver

    return make


def python_drivers(argv: Sequence[str]) -> dict[str, Callable[[RobotSettings], Driver]]:
    """Return the drivers that are written in Python, by name: ours, and `--driver module:Class`."""
    drivers = {"pylibfranka": driver_factory(PYLIBFRANKA)}
    for option, value in zip([*argv, ""], [*argv[1:], "", ""], strict=True):
        name = option.removeprefix("--driver=") if option.startswith("--driver=") else value
        if option.startswith("--driver") and ":" in name:
            drivers[name] = driver_factory(name)
    return drivers


def main(argv: Sequence[str]) -> int:
    """Run the controller until it is done or interrupted; returns the exit status."""
    from serl_rt.controller._core import run_controller

    return run_controller(
        list(argv),
        tasks_dir=Path(__file__).parent / "tasks",
        assets_dir=assets_dir(),
        onnxruntime=onnxruntime_library(),
        drivers=python_drivers(argv),
    )
