"""SERL's names of the impedance parameters, with their ranges, and ours.

SERL has one number for each axis and sign of a clip, "translational_clip_neg_x"; here a clip is one
vector, `translational_clip_neg`. What lies outside its range is moved to the bound, as
dynamic_reconfigure does it: configurations in use rely on it.
"""

import math
from collections.abc import Mapping

_AXES = "xyz"
RANGES: dict[str, tuple[float, float]] = {
    "translational_stiffness": (0.0, 6000.0),  # [N/m]
    "translational_damping": (0.0, 400.0),  # [N s/m]
    "rotational_stiffness": (0.0, 300.0),  # [Nm]
    "rotational_damping": (0.0, 30.0),  # [Nm s]
    "nullspace_stiffness": (0.0, 100.0),
    "joint1_nullspace_stiffness": (0.0, 100.0),
    "translational_Ki": (0.0, 100.0),
    "rotational_Ki": (0.0, 100.0),
}
"""Name -> smallest and largest value, of SERL's dynamic_reconfigure server."""
_CLIPS = (
    "translational_clip",  # [m]
    "translational_clip_neg",
    "rotational_clip",
    "rotational_clip_neg",
)
_CLIP_RANGE = (0.0, 0.1)
RANGES |= {f"{clip}_{axis}": _CLIP_RANGE for clip in _CLIPS for axis in _AXES}

Gains = dict[str, float | list[float]]
"""Names and values of Robot.set_gains()."""


def merge(parameters: Mapping[str, float], current: Gains) -> tuple[Gains, dict[str, float]]:
    """Return the gains to set, and those of SERL's parameters that were moved to a bound.

    current: the gains in force, for the axes of a clip that `parameters` leaves out.
    Raises ValueError naming what is unknown or not a finite number.
    """
    gains: Gains = {}
    clamped: dict[str, float] = {}
    for name, value in parameters.items():
        if name not in RANGES:
            raise ValueError(f"'{name}' is no impedance parameter; choose from {', '.join(RANGES)}")
        if not math.isfinite(value):
            raise ValueError(f"{name} = {value} is not a finite number")
        low, high = RANGES[name]
        bounded = min(high, max(low, float(value)))
        if bounded != value:
            clamped[name] = bounded
        stem, _, axis = name.rpartition("_")
        if stem not in _CLIPS:
            gains[name] = bounded
            continue
        vector = gains.get(stem, current[stem])
        assert isinstance(vector, list)
        index = _AXES.index(axis)
        gains[stem] = [*vector[:index], bounded, *vector[index + 1 :]]
    return gains, clamped
