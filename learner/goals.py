"""Pictures of reached goals, out of demonstrations: what a VICE agent's classifier is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.data.image_rows import ImageRows
from serl_rt.learner.data.transitions import Transitions


def goal_pictures(
    transitions: Transitions, success: NDArray[Any], origin: str, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Return what the cameras saw at the end of each successful step, {camera: (n, h, w, 3)} uint8.

    `success` is (transitions,), 0 or 1; `origin` is named in the error.
    Raises ConfigError when no step was successful, ValueError when there are not as many of each.
    """
    if len(success) != transitions.size:
        raise ValueError(f"{len(success)} successes for {transitions.size} transitions")
    reached = np.flatnonzero(success)
    if len(reached) == 0:
        raise ConfigError(
            f"--demos {origin}: none of its {transitions.size} transitions has success = 1, and "
            "those are the goals of an agent of kind vice: demonstrate the task to its end"
        )
    return {
        name: torch.from_numpy(np.asarray(rows[reached])).to(device)
        for name, rows in transitions.next_observations.items()
        if isinstance(rows, ImageRows)
    }
