"""Versions of what runs here, and the space on the disk."""

import platform
import shutil
from importlib import metadata
from pathlib import Path

from serl_rt.controller.doctor.finding import Finding, Status
from serl_rt.controller.doctor.system import System

_GIB = 2**30
_WANTED_FREE = 5 * _GIB
"""A run's transition log, policies and recordings."""
# package -> (what it is for, how it is installed)
_PACKAGES = {
    "serl-rt": ("", ""),
    "numpy": ("", ""),
    "pyzmq": ("", ""),
    "onnxruntime": ("the policy", "pip install 'serl-rt[controller]'"),
    "mujoco": ("the simulated arm", "pip install 'serl-rt[controller]'"),
    "pylibfranka": ("a Franka arm", "pip install pylibfranka"),
    "torch": ("learning on this machine", "pip install 'serl-rt[learner]'"),
}


def version_findings(system: System) -> list[Finding]:
    """Return the versions that a report of a problem should carry."""
    findings = [Finding("versions", "python", Status.OK, platform.python_version())]
    for package, (purpose, command) in _PACKAGES.items():
        try:
            findings.append(Finding("versions", package, Status.OK, metadata.version(package)))
        except metadata.PackageNotFoundError:
            findings.append(
                Finding(
                    "versions",
                    package,
                    Status.OK,
                    "not installed",
                    f"only for {purpose}",
                    command,
                )
            )
    gpu = system.text("/proc/driver/nvidia/version")
    value = gpu.splitlines()[0] if gpu else "no NVIDIA driver"
    return [*findings, Finding("versions", "gpu", Status.OK, value)]


def disk_finding(folder: Path) -> Finding:
    """Return how much room there is for recordings and logs."""
    wanted = f"{_WANTED_FREE // _GIB} GiB for logs and recordings"
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    value = f"{free / _GIB:.1f} GiB free at {folder.resolve()}"
    if free >= _WANTED_FREE:
        return Finding("disk", "free", Status.OK, value, wanted)
    return Finding(
        "disk", "free", Status.WARN, value, wanted, "delete old runs: du -sh runs/* | sort -h"
    )
