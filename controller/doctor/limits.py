"""What this user's processes may ask for: real-time priority and locked memory."""

import resource
from collections.abc import Callable

from serl_rt.controller.doctor.finding import Finding, Status
from serl_rt.controller.doctor.system import System

Limit = Callable[[int], tuple[int, int]]
"""A resource -> its soft and hard limit; resource.getrlimit, or a test's."""

_COMMAND = (
    'echo "$USER - {0}" | sudo tee -a /etc/security/limits.d/serl-rt.conf, then log in again '
    "(in a container: docker run --cap-add SYS_NICE --ulimit {1})"
)
_LATENCY_COMMAND = (
    """echo 'KERNEL=="cpu_dma_latency", MODE="0666"' | sudo tee """
    "/etc/udev/rules.d/99-cpu-dma-latency.rules && sudo udevadm trigger "
    "--name-match=cpu_dma_latency"
)
_MIB = 2**20
_CAP_IPC_LOCK = 14
_CAP_SYS_NICE = 23


def limit_findings(system: System, limit: Limit = resource.getrlimit) -> list[Finding]:
    """Return the limits of this process, which a controller started from here inherits."""
    capabilities = _capabilities(system)
    return [_priority(capabilities, limit), _memory(capabilities, limit), _latency_file(system)]


def _priority(capabilities: int, limit: Limit) -> Finding:
    wanted = "at least 80 (SCHED_FIFO)"
    if capabilities >> _CAP_SYS_NICE & 1:
        return Finding("limits", "rtprio", Status.OK, "any (CAP_SYS_NICE)", wanted)
    soft, _ = limit(resource.RLIMIT_RTPRIO)
    if soft == resource.RLIM_INFINITY or soft >= 80:
        value = "any" if soft == resource.RLIM_INFINITY else str(soft)
        return Finding("limits", "rtprio", Status.OK, value, wanted)
    remedy = _COMMAND.format("rtprio 99", "rtprio=99")
    return Finding("limits", "rtprio", Status.FAIL, str(soft), wanted, remedy)


def _memory(capabilities: int, limit: Limit) -> Finding:
    wanted = "unlimited: memory that is locked is never waited for"
    if capabilities >> _CAP_IPC_LOCK & 1:
        return Finding("limits", "memlock", Status.OK, "unlimited (CAP_IPC_LOCK)", wanted)
    soft, _ = limit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        return Finding("limits", "memlock", Status.OK, "unlimited", wanted)
    # libfranka's manual gives 100 MiB, which is enough for a small program.
    status = Status.WARN if soft >= 100 * _MIB else Status.FAIL
    remedy = _COMMAND.format("memlock unlimited", "memlock=-1")
    return Finding("limits", "memlock", status, f"{soft // _MIB} MiB", wanted, remedy)


def _latency_file(system: System) -> Finding:
    """Whoever holds this file open keeps the cores out of deep sleep; the controller does."""
    name, wanted = "cpu_dma_latency", "/dev/cpu_dma_latency can be written"
    if not system.path("/dev/cpu_dma_latency").exists():
        value = "no /dev/cpu_dma_latency"
        return Finding("limits", name, Status.UNKNOWN, value, wanted)
    reason = system.not_writable("/dev/cpu_dma_latency")
    if reason:
        return Finding("limits", name, Status.WARN, reason, wanted, _LATENCY_COMMAND)
    return Finding("limits", name, Status.OK, "can be written", wanted)


def _capabilities(system: System) -> int:
    """Return the effective capabilities of this process as bits; 0 when not known."""
    for line in (system.text("/proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key == "CapEff":
            return int(value, 16)
    return 0
