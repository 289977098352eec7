"""`serl-rt doctor`: look at everything, print the findings."""

import argparse
import math
import socket
from collections.abc import Sequence
from pathlib import Path

from serl_rt.controller.doctor import report, wakeup
from serl_rt.controller.doctor.cpu import cpu_findings
from serl_rt.controller.doctor.ethtool import KernelEthtool
from serl_rt.controller.doctor.fci import PORT
from serl_rt.controller.doctor.finding import Finding
from serl_rt.controller.doctor.kernel import kernel_findings
from serl_rt.controller.doctor.limits import limit_findings
from serl_rt.controller.doctor.network import network_findings
from serl_rt.controller.doctor.robot import robot_findings
from serl_rt.controller.doctor.software import disk_finding, version_findings
from serl_rt.controller.doctor.system import System


def main(argv: Sequence[str]) -> int:
    """Print what was found; returns 1 if an arm should not be run like this, else 0."""
    arguments = _parse(argv)
    system = System()
    findings: list[Finding] = [
        *kernel_findings(system),
        *limit_findings(system),
        *cpu_findings(system),
    ]
    histogram: dict[str, int] = {}
    if arguments.seconds > 0:
        if not arguments.json:
            print(f"measuring wake-ups for {arguments.seconds:g} s ...", flush=True)
        measured, histogram = wakeup.measure(
            arguments.seconds, arguments.rt_priority, arguments.cpu
        )
        findings += measured
    if arguments.robot is not None:
        findings += network_findings(system, arguments.robot, KernelEthtool())
        findings += robot_findings(arguments.robot, arguments.robot_port)
    findings += [*version_findings(system), disk_finding(arguments.runs)]
    write = report.as_json if arguments.json else report.table
    print(write(findings, histogram))
    return report.exit_status(findings)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="serl-rt doctor",
        description="Check whether this machine can run the 1 kHz controller, and say what mends "
        "it if not. Exit status 1: something failed. Nothing is changed, and no robot moves.",
    )
    parser.add_argument(
        "--robot", metavar="IP", type=_address, help="also look at the way to this Franka robot"
    )
    parser.add_argument(
        "--robot-port", type=int, default=PORT, help="of its control interface (%(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=10.0,
        help="how long wake-ups are measured (%(default)s); 0: not at all",
    )
    parser.add_argument(
        "--rt-priority",
        type=int,
        choices=range(100),
        default=80,
        metavar="0..99",
        help="of the measuring thread (%(default)s)",
    )
    parser.add_argument("--cpu", type=int, default=-1, help="its core; -1: any (%(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are written")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def _address(text: str) -> str:
    try:
        return socket.gethostbyname(text)
    except OSError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no IPv4 address and no known name of a machine"
        ) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"'{text}' is no duration from 0 to 3600 seconds")
    return seconds
