"""The network card that the robot hangs on: route, link, interrupts."""

import socket
import struct

from serl_rt.controller.doctor.ethtool import Ethtool
from serl_rt.controller.doctor.finding import Finding, Status
from serl_rt.controller.doctor.system import System, parse_cores, show_cores

_RTF_UP = 1
_RTF_GATEWAY = 2


def interface_towards(system: System, address: str) -> tuple[str, bool] | None:
    """Return the interface that /proc/net/route sends an IPv4 address through, and whether by a
    gateway; None when there is no route or no /proc."""
    if address.startswith("127."):
        return "lo", False
    (target,) = struct.unpack("=I", socket.inet_aton(address))
    best: tuple[int, int, str, bool] | None = None
    for line in (system.text("/proc/net/route") or "").splitlines()[1:]:
        columns = line.split()
        if len(columns) < 8:
            continue
        destination, mask = int(columns[1], 16), int(columns[7], 16)
        flags, metric = int(columns[3], 16), int(columns[6])
        if not flags & _RTF_UP or target & mask != destination:
            continue
        # The longest prefix wins, then the smallest metric.
        route = (bin(mask).count("1"), -metric, columns[0], bool(flags & _RTF_GATEWAY))
        if best is None or route[:2] > best[:2]:
            best = route
    return (best[2], best[3]) if best else None


def interrupts_of(system: System, interface: str) -> dict[int, frozenset[int]]:
    """Return the interrupts of a network card -> the cores that may serve each."""
    numbers = {
        int(name)
        for name in system.names(f"/sys/class/net/{interface}/device/msi_irqs")
        if name.isdecimal()
    }
    for line in (system.text("/proc/interrupts") or "").splitlines():
        head, _, rest = line.strip().partition(":")
        words = rest.replace(",", " ").split()
        if head.isdecimal() and any(w == interface or w.startswith(f"{interface}-") for w in words):
            numbers.add(int(head))
    cores: dict[int, frozenset[int]] = {}
    for number in sorted(numbers):
        allowed = system.text(f"/proc/irq/{number}/smp_affinity_list")
        if allowed is not None:
            cores[number] = parse_cores(allowed)
    return cores


def network_findings(system: System, address: str, ethtool: Ethtool) -> list[Finding]:
    """Return what is known of the way to a robot's IPv4 address."""
    wanted = "a cable straight to the robot's control unit, no gateway"
    route = interface_towards(system, address)
    if route is None:
        remedy = "give the card that the robot is on an address in its network (nmtui)"
        value = f"no route to {address}"
        return [Finding("network", "route", Status.FAIL, value, wanted, remedy)]
    interface, gateway = route
    value = f"{address} by {interface}" + (", through a gateway" if gateway else "")
    status = Status.WARN if gateway else Status.OK
    remedy = "connect the robot to a network card of its own, without a router" if gateway else ""
    findings = [Finding("network", "route", status, value, wanted, remedy)]
    if interface == "lo":
        return findings
    return [
        *findings,
        _link(system, interface),
        _interrupts(system, interface),
        *_coalescing(interface, ethtool),
    ]


def _link(system: System, interface: str) -> Finding:
    wanted = "a wired link that is up, 1000 Mbit/s"
    folder = f"/sys/class/net/{interface}"
    state = system.text(f"{folder}/operstate") or "unknown"
    speed = system.number(f"{folder}/speed")
    if system.path(f"{folder}/wireless").exists():
        value, remedy = f"{interface} is wireless", "use a cable: no radio link keeps 1 ms"
        return Finding("network", "link", Status.FAIL, value, wanted, remedy)
    value = f"{state}, {f'{speed} Mbit/s' if speed and speed > 0 else 'speed not known'}"
    if state == "down":
        remedy = f"plug the cable in, then sudo ip link set {interface} up"
        return Finding("network", "link", Status.FAIL, value, wanted, remedy)
    if speed is None or speed <= 0:
        return Finding("network", "link", Status.UNKNOWN, value, wanted)
    if speed < 1000:
        remedy = f"try another cable; sudo ethtool -s {interface} autoneg on"
        return Finding("network", "link", Status.WARN, value, wanted, remedy)
    return Finding("network", "link", Status.OK, value, wanted)


def _interrupts(system: System, interface: str) -> Finding:
    wanted = "interrupts served on a core that is not isolated for the control thread"
    interrupts = interrupts_of(system, interface)
    if not interrupts:
        value = f"the interrupts of {interface} are not listed"
        return Finding("network", "interrupts", Status.UNKNOWN, value, wanted)
    isolated = parse_cores(system.text("/sys/devices/system/cpu/isolated") or "")
    value = "; ".join(f"{number} on {show_cores(cores)}" for number, cores in interrupts.items())
    disturbing = [number for number, cores in interrupts.items() if cores & isolated]
    if not disturbing:
        return Finding("network", "interrupts", Status.OK, value, wanted)
    free = min(parse_cores(system.text("/sys/devices/system/cpu/online") or "0") - isolated)
    remedy = " && ".join(
        f"echo {free} | sudo tee /proc/irq/{number}/smp_affinity_list" for number in disturbing
    )
    return Finding("network", "interrupts", Status.WARN, value, wanted, remedy)


def _coalescing(interface: str, ethtool: Ethtool) -> list[Finding]:
    """How long the card may collect packets before it interrupts."""
    wanted = "each packet is delivered at once (rx-usecs at most 10, not adaptive)"
    coalescing = ethtool.coalescing(interface)
    findings = []
    if coalescing is None:
        value = f"the driver of {interface} does not say"
        findings.append(Finding("network", "coalescing", Status.UNKNOWN, value, wanted))
    else:
        adaptive, rx_usecs = coalescing
        value = f"rx-usecs {rx_usecs}, adaptive {'on' if adaptive else 'off'}"
        well = rx_usecs <= 10 and not adaptive
        remedy = "" if well else f"sudo ethtool -C {interface} adaptive-rx off rx-usecs 0"
        status = Status.OK if well else Status.WARN
        findings.append(Finding("network", "coalescing", status, value, wanted, remedy))
    wanted = "off: it waits for more packets to merge"
    offload = ethtool.receive_offload(interface)
    if offload is None:
        value = f"the driver of {interface} does not say"
        findings.append(Finding("network", "receive offload", Status.UNKNOWN, value, wanted))
    else:
        remedy = f"sudo ethtool -K {interface} gro off" if offload else ""
        status = Status.WARN if offload else Status.OK
        value = "on" if offload else "off"
        findings.append(Finding("network", "receive offload", status, value, wanted, remedy))
    return findings
