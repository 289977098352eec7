"""Numbers computed by SERL and HIL-SERL themselves: outputs, losses and updated parameters.

Every file of the folder is checked by the entry of its name; a file without an entry fails.
"""

from pathlib import Path

import numpy as np
import pytest
import reference_agents
import reference_networks
import reference_vision

CHECKS = reference_networks.CHECKS | reference_agents.CHECKS | reference_vision.CHECKS


def test_reference(golden_file: Path) -> None:
    check = CHECKS.get(golden_file.stem)
    if check is None:
        pytest.fail(f"{golden_file.name}: no check of this name; known: {', '.join(CHECKS)}")
    with np.load(golden_file) as arrays:
        check(dict(arrays))
