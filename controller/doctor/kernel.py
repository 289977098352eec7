"""The kernel: is it a real-time one, and does it leave a core to the control thread."""

import re

from serl_rt.controller.doctor.finding import Finding, Status
from serl_rt.controller.doctor.system import System, parse_cores, show_cores

_INSTALL_KERNEL = (
    "sudo apt install linux-image-rt-amd64 (Debian) or sudo pro enable realtime-kernel (Ubuntu), "
    "then reboot"
)
_WITHOUT = (
    "without it a tick may come milliseconds late under load; the arm goes on with the torque "
    "before, and stops itself (communication_constraints_violation) after 20 such cycles in a row"
)
_BOOT = "add {0} to GRUB_CMDLINE_LINUX in /etc/default/grub, then sudo update-grub and reboot"
_NEEDED_SHARE = 0.95
"""Of each period of a real-time thread; a tick needs about a twentieth of that."""


def kernel_findings(system: System) -> list[Finding]:
    """Return what the kernel's own files say."""
    return [_preemption(system), _throttling(system), _isolation(system)]


def _preemption(system: System) -> Finding:
    wanted = "PREEMPT_RT, announced in /sys/kernel/realtime"
    release = system.text("/proc/sys/kernel/osrelease") or "unknown release"
    version = system.text("/proc/sys/kernel/version") or ""
    kind = re.search(r"PREEMPT\w*", version)
    value = f"{release}, {kind.group() if kind else 'no preemption announced'}"
    if system.number("/sys/kernel/realtime") == 1:
        return Finding("kernel", "preemption", Status.OK, value, wanted)
    if not version:
        return Finding("kernel", "preemption", Status.UNKNOWN, "no /proc", wanted)
    if kind and kind.group() == "PREEMPT_RT":
        # libfranka looks only for the file, which for example XanMod's RT kernels do not have.
        return Finding(
            "kernel",
            "preemption",
            Status.WARN,
            f"{value}, but no /sys/kernel/realtime",
            wanted,
            "libfranka takes this kernel for an ordinary one (RealtimeConfig kEnforce refuses it): "
            f"{_INSTALL_KERNEL}",
        )
    wanted = f"{wanted}: {_WITHOUT}"
    return Finding("kernel", "preemption", Status.FAIL, value, wanted, _INSTALL_KERNEL)


def _throttling(system: System) -> Finding:
    """The kernel stops real-time threads that use more than their share of each period."""
    wanted = f"real-time threads may run {_NEEDED_SHARE:.0%} of the time or without limit (-1)"
    runtime = system.number("/proc/sys/kernel/sched_rt_runtime_us")
    period = system.number("/proc/sys/kernel/sched_rt_period_us")
    if runtime is None or not period:
        value = "no /proc/sys/kernel/sched_rt_runtime_us"
        return Finding("kernel", "throttling", Status.UNKNOWN, value, wanted)
    if runtime < 0:
        return Finding("kernel", "throttling", Status.OK, "off", wanted)
    value = f"{runtime} of {period} us"
    if runtime >= _NEEDED_SHARE * period:
        return Finding("kernel", "throttling", Status.OK, value, wanted)
    return Finding(
        "kernel",
        "throttling",
        Status.WARN,
        value,
        wanted,
        "sudo sysctl kernel.sched_rt_runtime_us=950000",
    )


def _isolation(system: System) -> Finding:
    wanted = "a core for the control thread alone (isolcpus and nohz_full), given with --cpu"
    isolated_text = system.text("/sys/devices/system/cpu/isolated")
    present = parse_cores(system.text("/sys/devices/system/cpu/present") or "")
    if isolated_text is None:
        value = "no /sys/devices/system/cpu/isolated"
        return Finding("kernel", "isolated cores", Status.UNKNOWN, value, wanted)
    isolated = parse_cores(isolated_text)
    tickless = parse_cores(system.text("/sys/devices/system/cpu/nohz_full") or "")
    value = f"isolated {show_cores(isolated)}, nohz_full {show_cores(tickless)}"
    if isolated & tickless:
        return Finding("kernel", "isolated cores", Status.OK, value, wanted)
    if len(present) < 3:
        remedy = "this machine has too few cores to give one away"
    else:
        core = max(present)
        remedy = _BOOT.format(f"'isolcpus={core} nohz_full={core} rcu_nocbs={core}'")
    return Finding("kernel", "isolated cores", Status.WARN, value, wanted, remedy)
