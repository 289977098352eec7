"""One thing the doctor looked at."""

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """How a finding is judged."""

    OK = "ok"
    WARN = "warn"
    """An arm runs, but less reliably than it could."""
    FAIL = "fail"
    """Do not run an arm like this."""
    UNKNOWN = "unknown"
    """It could not be found out here, for the reason in the value."""


@dataclass(frozen=True)
class Finding:
    """What was found, what is wanted, and the command that gets from one to the other."""

    topic: str
    """Group in the table: kernel, limits, cpu, network, robot, wakeup, versions, disk."""
    name: str
    status: Status
    value: str
    """What is there, with its unit."""
    wanted: str = ""
    remedy: str = ""
    """A command, or what a person has to do; empty when nothing is to be mended."""
