"""What a case is, and how cases are found: any module in bench/fci/cases with a table CASES.

def my_case(context: Context) -> Result:
    '''One sentence: what must hold.'''
    with franka_sim(context.folder) as robot:
        ...
    return Result(passed=..., measured={"reflexes": robot.reflexes()})

CASES = {"my_case": my_case}
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.fci import cases


@dataclass(frozen=True)
class Context:
    """Where and how a case runs."""

    folder: Path  # of this case: logs, recordings
    seconds: float  # of the longest phases
    driver: str  # pylibfranka | franka
    timing: bool = True  # the robot also stops after 20 cycles without a command


@dataclass(frozen=True)
class Result:
    """What a case found: numbers and texts that fit into JSON."""

    passed: bool
    measured: dict[str, Any] = field(default_factory=dict)


Case = Callable[[Context], Result]


def find_cases() -> dict[str, Case]:
    """Return all cases by name, module by module."""
    found: dict[str, Case] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(cases.__path__)):
        table: dict[str, Case] = importlib.import_module(f"bench.fci.cases.{module}").CASES
        twice = found.keys() & table.keys()
        if twice:
            raise ValueError(f"two cases are called {', '.join(sorted(twice))}")
        found |= table
    return found
