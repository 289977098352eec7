"""`serl-rt control`: start the C++ controller in this process.

Python only finds the files; then its main thread sleeps in C++ with the GIL released. The native
executable `serl-rt-controller` takes the same options.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path


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


def main(argv: Sequence[str]) -> int:
    """Run the controller until it is done or interrupted; returns the exit status."""
    from serl_rt.controller._core import run_controller

    return run_controller(
        list(argv),
        tasks_dir=Path(__file__).parent / "tasks",
        assets_dir=assets_dir(),
        onnxruntime=onnxruntime_library(),
    )
