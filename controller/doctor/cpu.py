"""The cores: clock frequency, sleep states, hyper-threads, other programs."""

from serl_rt.controller.doctor.finding import Finding, Status
from serl_rt.controller.doctor.system import System

_CPUS = "/sys/devices/system/cpu"
_DEEP_US = 20
"""A sleep state that takes longer to leave [us] than a tick's share for waking up."""


def cpu_findings(system: System) -> list[Finding]:
    """Return what /sys says about every core."""
    return [_governor(system), _sleep_states(system), _threads(system), _load(system)]


def _cores(system: System) -> list[str]:
    return [n for n in system.names(_CPUS) if n.startswith("cpu") and n[3:].isdecimal()]


def _governor(system: System) -> Finding:
    wanted = "performance on every core"
    governors = {system.text(f"{_CPUS}/{c}/cpufreq/scaling_governor") for c in _cores(system)}
    found = sorted(governor for governor in governors if governor)
    if not found:
        value = "no frequency scaling here (a virtual machine, or switched off)"
        return Finding("cpu", "governor", Status.UNKNOWN, value, wanted)
    if found == ["performance"]:
        return Finding("cpu", "governor", Status.OK, "performance", wanted)
    remedy = "sudo cpupower frequency-set -g performance (package linux-cpupower)"
    return Finding("cpu", "governor", Status.WARN, ", ".join(found), wanted, remedy)


def _sleep_states(system: System) -> Finding:
    wanted = f"no state that takes more than {_DEEP_US} us to leave, or a held cpu_dma_latency"
    driver = system.text(f"{_CPUS}/cpuidle/current_driver")
    deepest, name = -1, ""
    for core in _cores(system):
        for state in system.names(f"{_CPUS}/{core}/cpuidle"):
            folder = f"{_CPUS}/{core}/cpuidle/{state}"
            latency = system.number(f"{folder}/latency")
            disabled = system.number(f"{folder}/disable")
            if latency is not None and not disabled and latency > deepest:
                deepest, name = latency, system.text(f"{folder}/name") or state
    if deepest < 0:
        value = f"no sleep states (driver {driver or 'none'})"
        status = Status.OK if driver == "none" else Status.UNKNOWN
        return Finding("cpu", "sleep states", status, value, wanted)
    value = f"down to {name}, {deepest} us to leave ({driver})"
    if deepest <= _DEEP_US:
        return Finding("cpu", "sleep states", Status.OK, value, wanted)
    if not system.not_writable("/dev/cpu_dma_latency"):
        value += "; the controller holds /dev/cpu_dma_latency while it runs"
        return Finding("cpu", "sleep states", Status.OK, value, wanted)
    remedy = f"sudo cpupower idle-set -D {_DEEP_US}, or give the user /dev/cpu_dma_latency"
    return Finding("cpu", "sleep states", Status.WARN, value, wanted, remedy)


def _threads(system: System) -> Finding:
    wanted = "off: a sibling takes the control thread's execution units"
    active = system.number(f"{_CPUS}/smt/active")
    if active is None:
        value = f"no {_CPUS}/smt/active"
        return Finding("cpu", "hyper-threads", Status.UNKNOWN, value, wanted)
    if active == 0:
        return Finding("cpu", "hyper-threads", Status.OK, "off", wanted)
    remedy = f"echo off | sudo tee {_CPUS}/smt/control"
    return Finding("cpu", "hyper-threads", Status.WARN, "on", wanted, remedy)


def _load(system: System) -> Finding:
    wanted = "below the number of cores"
    text = system.text("/proc/loadavg")
    cores = len(_cores(system))
    if not text or not cores:
        return Finding("cpu", "load", Status.UNKNOWN, "no /proc/loadavg", wanted)
    load = float(text.split()[0])
    value = f"{load:.1f} on {cores} cores"
    if load < cores:
        return Finding("cpu", "load", Status.OK, value, wanted)
    return Finding("cpu", "load", Status.WARN, value, wanted, "end other programs; top names them")
