"""The robot itself: how far away it is, whether it answers, and with which version."""

import math

from serl_rt.controller.doctor.fci import NEWEST_VERSION, PORT, FciError, ask_robot
from serl_rt.controller.doctor.finding import Finding, Status
from serl_rt.controller.doctor.ping import PingNotAllowedError, ping

_LONGEST_PING_MS = 0.5
"""Round trip, computing and the robot's own time share 1 ms."""
_LEAST_STATES = 0.98
"""Of one a millisecond."""


def robot_findings(address: str, port: int = PORT) -> list[Finding]:
    """Return how a robot answers. It connects and reads; nothing moves."""
    return [_round_trip(address), *_control_interface(address, port)]


def _round_trip(address: str) -> Finding:
    wanted = f"99 % below {_LONGEST_PING_MS} ms"
    remedy = "connect the robot's control unit by a cable to a card of its own"
    try:
        times = sorted(1e3 * seconds for seconds in ping(address))
    except PingNotAllowedError as error:
        remedy = "sudo sysctl net.ipv4.ping_group_range='0 2147483647'"
        return Finding("robot", "ping", Status.UNKNOWN, str(error), wanted, remedy)
    except OSError as error:
        value = error.strerror or str(error)
        return Finding("robot", "ping", Status.FAIL, value, wanted, remedy)
    if not times:
        # Some robots do not answer; the control interface decides.
        return Finding("robot", "ping", Status.WARN, "no answer", wanted, remedy)
    p99 = times[math.ceil(0.99 * len(times)) - 1]
    value = f"p50 {times[len(times) // 2]:.3f} ms, p99 {p99:.3f} ms"
    if p99 <= _LONGEST_PING_MS:
        return Finding("robot", "ping", Status.OK, value, wanted)
    return Finding("robot", "ping", Status.WARN, value, wanted, remedy)


def _control_interface(address: str, port: int) -> list[Finding]:
    wanted = "the robot answers"
    remedy = (
        f"open https://{address} in a browser: unlock the brakes, activate FCI, and end other "
        "programs that control the robot"
    )
    try:
        answer = ask_robot(address, port=port)
    except FciError as error:
        return [Finding("robot", "FCI", Status.FAIL, str(error), wanted, remedy)]
    value = f"protocol {answer.version}, TCP round trip {answer.connect_ms:.2f} ms"
    if not answer.accepted:
        remedy = (
            f"this robot speaks protocol {answer.version}, not {NEWEST_VERSION}: build the native "
            "driver with the libfranka of the robot's system version (franka.de, compatibility)"
        )
        return [Finding("robot", "FCI", Status.WARN, value, wanted, remedy)]
    found = [Finding("robot", "FCI", Status.OK, value, wanted)]
    wanted = "one a millisecond, no gap above 5 ms"
    rate = answer.states / answer.seconds
    value = f"{rate:.0f}/s, longest gap {answer.longest_gap_ms:.1f} ms"
    if not answer.states:
        remedy = "a firewall may drop UDP packets from the robot: sudo ufw allow from " + address
        return [*found, Finding("robot", "states", Status.FAIL, "none came", wanted, remedy)]
    if rate >= _LEAST_STATES * 1000 and answer.longest_gap_ms <= 5:
        return [*found, Finding("robot", "states", Status.OK, value, wanted)]
    remedy = "see kernel, cpu and network above: packets come late or get lost"
    return [*found, Finding("robot", "states", Status.WARN, value, wanted, remedy)]
