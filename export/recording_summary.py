"""What a recording says, in a few lines and in a picture."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.recording import Recording, load_recording

LATE_PERIOD_NS = 2_000_000
"""A tick this long after the one before has missed one [ns]."""
POINTS = 4000
"""Drawn of each curve; of more, the extremes of equal parts are drawn."""


def position_error(recording: Recording) -> NDArray[np.float64]:
    """Return (n, 3): measured minus reference position [m]; zero in joint modes."""
    difference = recording.ticks["pose"][:, :3] - recording.ticks["pose_reference"][:, :3]
    return np.asarray(difference, dtype=np.float64)


def rotation_error(recording: Recording) -> NDArray[np.float64]:
    """Return (n,): angle between measured and reference orientation [rad]."""
    dot = np.abs(
        np.sum(recording.ticks["pose"][:, 3:] * recording.ticks["pose_reference"][:, 3:], axis=1)
    )
    angle: NDArray[np.float64] = 2.0 * np.arccos(np.clip(dot, 0.0, 1.0))
    return angle


def describe_recording(path: Path) -> str:
    """Say what happened: duration, timing, faults, modes, policies, errors, torques."""
    recording = load_recording(path)
    rows = {"recording": str(path)}
    if not recording.complete:
        rows["incomplete"] = "the controller was killed while it wrote; read up to there"
    told = ("cause", "causes", "what", "task", "driver")
    rows |= {key: recording.about[key] for key in told if key in recording.about}
    rows |= _timing(recording) | _behaviour(recording) | _motion(recording)
    return "\n".join(f"{name:<14} {value}" for name, value in rows.items())


def _timing(recording: Recording) -> dict[str, str]:
    ticks = recording.ticks
    seconds = recording.time_s[-1]
    period = ticks["period_ns"][1:] if len(ticks) > 1 else np.zeros(1)
    compute = ticks["compute_ns"] * 1e-3
    missing = int(np.sum(np.diff(ticks["robot_time_ns"]) > 1_500_000))
    return {
        "duration": f"{seconds:.3f} s, {len(ticks)} ticks",
        "rate": f"{(len(ticks) - 1) / seconds:.1f} Hz" if seconds > 0 else "-",
        "period": f"p50 {np.percentile(period, 50) * 1e-3:.0f}, p99 "
        f"{np.percentile(period, 99) * 1e-3:.0f}, worst {period.max() * 1e-3:.0f} us; "
        f"{int(np.sum(period > LATE_PERIOD_NS))} late",
        "compute": f"p50 {np.percentile(compute, 50):.1f}, p99 {np.percentile(compute, 99):.1f}, "
        f"worst {compute.max():.1f} us",
        "gaps": f"{missing} in the robot's clock",
    }


def _behaviour(recording: Recording) -> dict[str, str]:
    ticks = recording.ticks
    values, counts = np.unique(ticks["mode"], return_counts=True)
    modes = [
        f"{recording.modes.get(int(v), int(v))} {100 * n / len(ticks):.0f} %"
        for v, n in zip(values, counts, strict=True)
    ]
    versions = [int(v) for v in np.unique(ticks["policy_version"]) if v > 0]
    in_ticks = {
        name: int(np.sum(ticks["faults"] & bit != 0)) for bit, name in recording.fault_bits.items()
    }
    elsewhere = Counter(fault.name for fault in recording.faults)
    faults = [f"{name} in {n} ticks" for name, n in in_ticks.items() if n]
    faults += [name for name in elsewhere if not in_ticks.get(name)]
    return {
        "modes": ", ".join(modes),
        "policies": ", ".join(f"v{v}" for v in versions) or "none",
        "faults": ", ".join(faults) or "none",
    }


def _motion(recording: Recording) -> dict[str, str]:
    ticks = recording.ticks
    rows = {}
    cartesian = np.isin(
        ticks["mode"], [v for v, name in recording.modes.items() if name.startswith("cartesian")]
    )
    if cartesian.any():
        distance = np.linalg.norm(position_error(recording)[cartesian], axis=1) * 1e3
        angle = np.degrees(rotation_error(recording)[cartesian])
        rows["pose error"] = (
            f"rms {_rms(distance):.2f}, max {np.nanmax(distance):.2f} mm; "
            f"rms {_rms(angle):.2f}, max {np.nanmax(angle):.2f} deg"
        )
    rows["torque max"] = _joints(np.nanmax(np.abs(ticks["tau"]), axis=0)) + " Nm"
    rows["velocity max"] = _joints(np.nanmax(np.abs(ticks["dq"]), axis=0)) + " rad/s"
    force = np.linalg.norm(ticks["wrench"][:, :3], axis=1)
    rows["force max"] = f"{np.nanmax(force):.1f} N"
    return rows


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.nanmean(values**2)))


def _joints(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def plot_recording(path: Path, picture: Path) -> None:
    """Draw pose error, torque, force and timing over time.

    Raises RecordingError, OSError, and ModuleNotFoundError without matplotlib.
    """
    from matplotlib.figure import Figure

    recording = load_recording(path)
    ticks = recording.ticks
    joints = [f"joint {i + 1}" for i in range(7)]
    panels: list[tuple[str, NDArray[Any], list[str]]] = [
        ("position error [mm]", position_error(recording) * 1e3, ["x", "y", "z"]),
        ("rotation error [deg]", np.degrees(rotation_error(recording))[:, None], [""]),
        ("torque [Nm]", ticks["tau"], joints),
        ("velocity [rad/s]", ticks["dq"], joints),
        ("force [N]", ticks["wrench"][:, :3], ["x", "y", "z"]),
        ("period [us]", ticks["period_ns"][:, None] * 1e-3, [""]),
        ("compute [us]", ticks["compute_ns"][:, None] * 1e-3, [""]),
    ]
    figure = Figure(figsize=(11, 2.0 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True)
    for axis, (label, values, names) in zip(axes, panels, strict=True):
        for column, name in zip(values.T, names, strict=True):
            axis.plot(*_thinned(recording.time_s, column), label=name, linewidth=0.8)
        for time_s in sorted({round(fault.time_s, 2) for fault in recording.faults}):
            axis.axvline(time_s, color="red", alpha=0.25, linewidth=0.8)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend(loc="upper right", ncols=len(names), fontsize="x-small")
    axes[-1].set_xlabel("time [s]; red: a fault was counted")
    axes[0].set_title(f"{path.name}: {recording.about.get('cause', '')}")
    figure.savefig(picture, dpi=110)


def _thinned(
    time_s: NDArray[np.float64], values: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Keep the extremes of equal parts: a peak of one tick stays visible."""
    size = 2 * len(values) // POINTS
    if size < 4:
        return time_s, values
    parts = len(values) // size
    blocks = values[: parts * size].reshape(parts, size)
    rows = np.arange(parts) * size
    # A NaN counts as an extreme, so that it leaves a gap.
    pairs = np.stack([rows + blocks.argmin(axis=1), rows + blocks.argmax(axis=1)], axis=1)
    kept = np.sort(pairs, axis=1).ravel()
    return time_s[kept], values[kept]
