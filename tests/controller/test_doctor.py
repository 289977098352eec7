"""The doctor's parsers and judgements, on trees like /proc and /sys and on a robot that is none."""

import json
import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serl_rt.controller.doctor import report, wakeup
from serl_rt.controller.doctor.command import main
from serl_rt.controller.doctor.cpu import cpu_findings
from serl_rt.controller.doctor.ethtool import KernelEthtool
from serl_rt.controller.doctor.fci import FciError, ask_robot
from serl_rt.controller.doctor.finding import Finding, Status
from serl_rt.controller.doctor.kernel import kernel_findings
from serl_rt.controller.doctor.limits import limit_findings
from serl_rt.controller.doctor.network import interface_towards, interrupts_of, network_findings
from serl_rt.controller.doctor.ping import echo_request
from serl_rt.controller.doctor.robot import robot_findings
from serl_rt.controller.doctor.software import disk_finding, version_findings
from serl_rt.controller.doctor.system import System, parse_cores, show_cores

# A robot PC as it should be: real-time kernel, core 3 isolated, the robot on enp2s0.
GOOD_PC = {
    "/proc/sys/kernel/osrelease": "6.1.0-28-rt-amd64",
    "/proc/sys/kernel/version": "#1 SMP PREEMPT_RT Debian 6.1.119-1 (2024-11-22)",
    "/sys/kernel/realtime": "1",
    "/proc/sys/kernel/sched_rt_runtime_us": "950000",
    "/proc/sys/kernel/sched_rt_period_us": "1000000",
    "/sys/devices/system/cpu/isolated": "3",
    "/sys/devices/system/cpu/nohz_full": "3",
    "/sys/devices/system/cpu/present": "0-3",
    "/sys/devices/system/cpu/online": "0-3",
    "/sys/devices/system/cpu/smt/active": "0",
    "/sys/devices/system/cpu/cpuidle/current_driver": "intel_idle",
    **{f"/sys/devices/system/cpu/cpu{i}/cpufreq/scaling_governor": "performance" for i in range(4)},
    **{f"/sys/devices/system/cpu/cpu{i}/cpuidle/state0/latency": "2" for i in range(4)},
    **{f"/sys/devices/system/cpu/cpu{i}/cpuidle/state0/name": "C1" for i in range(4)},
    "/proc/loadavg": "0.31 0.20 0.10 1/300 4242",
    "/proc/self/status": "Name:\tpython\nCapEff:\t0000000000000000\n",
    "/dev/cpu_dma_latency": "",
    # 10.0.0.0/24 on enp1s0 with the default route, 172.16.0.0/24 on enp2s0.
    "/proc/net/route": (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "enp1s0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        "enp1s0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
        "enp2s0\t000010AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    ),
    "/sys/class/net/enp2s0/operstate": "up",
    "/sys/class/net/enp2s0/speed": "1000",
    "/sys/class/net/enp2s0/device/msi_irqs/130": "msix",
    "/proc/interrupts": (
        "           CPU0       CPU1\n"
        " 130:       1012        990   PCI-MSI 524288-edge      enp2s0\n"
        " 131:        100         20   PCI-MSI 524289-edge      enp2s0-TxRx-0\n"
        " 140:          5          5   PCI-MSI 524290-edge      enp20s0\n"
        " NMI:          0          0   Non-maskable interrupts\n"
    ),
    "/proc/irq/130/smp_affinity_list": "0",
    "/proc/irq/131/smp_affinity_list": "1",
    "/proc/irq/140/smp_affinity_list": "0-3",
}

DEEP = "/sys/devices/system/cpu/cpu0/cpuidle/state3"


class Card:
    """A network card with known settings."""

    def __init__(self, coalescing: tuple[bool, int] | None, offload: bool | None) -> None:
        self._coalescing = coalescing
        self._offload = offload

    def coalescing(self, interface: str) -> tuple[bool, int] | None:
        assert interface == "enp2s0"
        return self._coalescing

    def receive_offload(self, interface: str) -> bool | None:
        assert interface == "enp2s0"
        return self._offload


@pytest.fixture
def make_system(tmp_path: Path) -> Callable[..., System]:
    def make(changes: dict[str, str | None] | None = None) -> System:
        for name, text in (GOOD_PC | (changes or {})).items():
            file = tmp_path / name.lstrip("/")
            if text is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text + "\n")
        return System(tmp_path)

    return make


def found(findings: list[Finding], name: str) -> Finding:
    (finding,) = (finding for finding in findings if finding.name == name)
    return finding


def unlimited(_: int) -> tuple[int, int]:
    return resource.RLIM_INFINITY, resource.RLIM_INFINITY


def everything(system: System) -> list[Finding]:
    return [
        *kernel_findings(system),
        *limit_findings(system, unlimited),
        *cpu_findings(system),
        *network_findings(system, "172.16.0.2", Card((False, 0), False)),
    ]


def test_a_good_robot_pc_is_all_ok(make_system: Callable[..., System]) -> None:
    findings = everything(make_system())
    assert {finding.status for finding in findings} == {Status.OK}
    assert all(not finding.remedy for finding in findings)


def test_a_container_without_files_is_unknown_and_never_crashes(tmp_path: Path) -> None:
    findings = everything(System(tmp_path / "nothing"))
    bad = {f.name for f in findings if f.status in (Status.WARN, Status.FAIL)}
    assert bad == {"route"}  # no way to the robot is a failure wherever it is asked


@pytest.mark.parametrize(
    ("changes", "name", "status", "says"),
    [
        ({"/sys/kernel/realtime": None,
          "/proc/sys/kernel/version": "#1 SMP PREEMPT_DYNAMIC"},
         "preemption", "fail", "PREEMPT_DYNAMIC"),
        ({"/sys/kernel/realtime": None}, "preemption", "warn", "no /sys/kernel/realtime"),
        ({"/proc/sys/kernel/sched_rt_runtime_us": "-1"}, "throttling", "ok", "off"),
        ({"/proc/sys/kernel/sched_rt_runtime_us": "500000"}, "throttling", "warn", "500000"),
        ({"/sys/devices/system/cpu/isolated": ""}, "isolated cores", "warn", "none"),
        ({"/sys/devices/system/cpu/nohz_full": "(null)"},
         "isolated cores", "warn", "nohz_full none"),
        ({"/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor": "powersave"},
         "governor", "warn", "performance, powersave"),
        ({"/sys/devices/system/cpu/smt/active": "1"}, "hyper-threads", "warn", "on"),
        ({"/proc/loadavg": "9.0 1 1 1/1 1"}, "load", "warn", "9.0 on 4 cores"),
        ({"/dev/cpu_dma_latency": None, f"{DEEP}/latency": "890",
          f"{DEEP}/name": "C6"},
         "sleep states", "warn", "C6, 890 us"),
        ({f"{DEEP}/latency": "890",
          f"{DEEP}/name": "C6"},
         "sleep states", "ok", "the controller holds"),
        ({"/dev/cpu_dma_latency": None, f"{DEEP}/latency": "890",
          f"{DEEP}/disable": "1"},
         "sleep states", "ok", "C1, 2 us"),
        ({"/sys/class/net/enp2s0/speed": "100"}, "link", "warn", "100 Mbit/s"),
        ({"/sys/class/net/enp2s0/operstate": "down"}, "link", "fail", "down"),
        ({"/sys/class/net/enp2s0/speed": "-1"}, "link", "unknown", "speed not known"),
        ({"/sys/class/net/enp2s0/wireless/status": "0"}, "link", "fail", "wireless"),
        ({"/proc/irq/130/smp_affinity_list": "0-3"}, "interrupts", "warn", "130 on 0-3"),
    ],
)  # fmt: skip
def test_each_defect_is_found(
    changes: dict[str, str | None],
    name: str,
    status: str,
    says: str,
    make_system: Callable[..., System],
) -> None:
    finding = found(everything(make_system(changes)), name)
    assert finding.status.value == status
    assert says in finding.value
    if finding.status in (Status.WARN, Status.FAIL):
        assert finding.wanted
        assert finding.remedy


def test_remedies_name_the_core_and_the_interrupt(make_system: Callable[..., System]) -> None:
    system = make_system({"/proc/irq/130/smp_affinity_list": "0-3"})
    remedy = found(everything(system), "interrupts").remedy
    assert remedy == "echo 0 | sudo tee /proc/irq/130/smp_affinity_list"
    remedy = found(
        everything(make_system({"/sys/devices/system/cpu/isolated": ""})), "isolated cores"
    ).remedy
    assert "isolcpus=3 nohz_full=3" in remedy


def test_limits_of_an_ordinary_user_fail(make_system: Callable[..., System]) -> None:
    def limit(which: int) -> tuple[int, int]:
        return {resource.RLIMIT_RTPRIO: (0, 0), resource.RLIMIT_MEMLOCK: (8 << 20, 8 << 20)}[which]

    findings = limit_findings(make_system(), limit)
    assert found(findings, "rtprio").status is Status.FAIL
    assert "rtprio 99" in found(findings, "rtprio").remedy
    assert found(findings, "memlock").status is Status.FAIL
    assert found(findings, "memlock").value == "8 MiB"
    manual = limit_findings(make_system(), lambda _: (102400 << 10, 102400 << 10))
    assert found(manual, "memlock").status is Status.WARN


def test_capabilities_lift_the_limits(make_system: Callable[..., System]) -> None:
    def none(_: int) -> tuple[int, int]:
        return 0, 0

    system = make_system({"/proc/self/status": "CapEff:\t0000000000804000"})  # IPC_LOCK, SYS_NICE
    assert found(limit_findings(system, none), "rtprio").status is Status.OK
    assert found(limit_findings(system, none), "memlock").status is Status.OK


def test_coalescing_and_offload_are_judged(make_system: Callable[..., System]) -> None:
    system = make_system()
    slow = network_findings(system, "172.16.0.2", Card((True, 3), True))
    assert found(slow, "coalescing").status is Status.WARN
    assert "ethtool -C enp2s0" in found(slow, "coalescing").remedy
    assert "ethtool -K enp2s0 gro off" in found(slow, "receive offload").remedy
    silent = network_findings(system, "172.16.0.2", Card(None, None))
    assert found(silent, "coalescing").status is Status.UNKNOWN
    assert found(silent, "receive offload").status is Status.UNKNOWN


def test_the_longest_prefix_decides_the_interface(make_system: Callable[..., System]) -> None:
    system = make_system()
    assert interface_towards(system, "172.16.0.2") == ("enp2s0", False)
    assert interface_towards(system, "10.0.0.7") == ("enp1s0", False)
    assert interface_towards(system, "192.168.1.1") == ("enp1s0", True)
    assert interface_towards(system, "127.0.0.1") == ("lo", False)
    gateway = network_findings(system, "192.168.1.1", KernelEthtool())
    assert found(gateway, "route").status is Status.WARN


def test_only_the_cards_own_interrupts_are_listed(make_system: Callable[..., System]) -> None:
    assert interrupts_of(make_system(), "enp2s0") == {130: frozenset({0}), 131: frozenset({1})}


@pytest.mark.parametrize(
    ("text", "cores"),
    [("0-2,5", {0, 1, 2, 5}), ("", set()), ("3", {3}), ("(null)", set()), ("1-x", set())],
)
def test_core_lists(text: str, cores: set[int]) -> None:
    assert parse_cores(text) == cores
    assert parse_cores(show_cores(frozenset(cores))) == cores


def test_an_echo_request_has_a_valid_checksum() -> None:
    packet = echo_request(0x1234, 7)
    words = struct.unpack(f"!{len(packet) // 2}H", packet)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF  # RFC 1071: the sum over everything, checksum included


@contextmanager
def robot(status: int, version: int, states: int) -> Iterator[int]:
    """A control unit that answers one connection and then sends states; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                request = connection.recv(16)
                command, number, size, wanted, port = struct.unpack("<IIIHH", request)
                assert (command, size, wanted) == (0, 16, 10)
                connection.sendall(struct.pack("<IIIBH", 0, number, 15, status, version))
                for _ in range(states):
                    udp.sendto(b"state", ("127.0.0.1", port))
                connection.recv(1)  # until the doctor hangs up

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


def test_a_robot_is_asked_and_its_states_are_counted() -> None:
    with robot(0, 10, 50) as port:
        answer = ask_robot("127.0.0.1", 0.2, port=port, timeout=0.5)
    assert answer.accepted
    assert answer.version == 10
    assert answer.states == 50
    assert answer.connect_ms > 0


def test_a_robot_of_another_version_is_named() -> None:
    with robot(1, 5, 0) as port:
        findings = robot_findings("127.0.0.1", port)
    assert found(findings, "FCI").status is Status.WARN
    assert "protocol 5" in found(findings, "FCI").remedy


def test_a_robot_whose_states_do_not_come_fails() -> None:
    with robot(0, 10, 0) as port:
        findings = robot_findings("127.0.0.1", port)
    assert found(findings, "states").status is Status.FAIL
    assert "firewall" in found(findings, "states").remedy


def test_what_is_no_robot_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        with pytest.raises(FciError, match="closed the connection|did not answer"):
            ask_robot("127.0.0.1", port=server.getsockname()[1], timeout=1)
        thread.join()
        port = server.getsockname()[1]
    with pytest.raises(FciError, match="refused"):
        ask_robot("127.0.0.1", port=port, timeout=1)


@pytest.mark.parametrize(
    ("p999_us", "status"), [(150, Status.OK), (400, Status.WARN), (4000, Status.FAIL)]
)
def test_latencies_are_judged_by_their_tail(p999_us: int, status: Status) -> None:
    finding = wakeup.judge(20_000, 50_000, 1000 * p999_us, 5_000_000, 10_000)
    assert finding.status is status
    assert f"p99.9 {p999_us}" in finding.value


def test_the_histogram_counts_every_wake_up() -> None:
    counts = wakeup.histogram(100, [90, 40, 10, 0, 0, 0, 0, 0, 0])
    assert list(counts.values()) == [10, 50, 30, 10, 0, 0, 0, 0, 0, 0]
    assert list(counts)[0] == "<= 10 us"
    lines = report.bars(counts)
    assert [line.count("#") for line in lines] == [8, 40, 24, 8, 0, 0, 0, 0, 0, 0]


def test_versions_and_disk(tmp_path: Path) -> None:
    versions = version_findings(System(tmp_path))
    assert found(versions, "numpy").value != "not installed"
    assert found(versions, "gpu").value == "no NVIDIA driver"
    assert "GiB free" in disk_finding(tmp_path / "not" / "yet").value


def test_the_report_says_what_mends_it() -> None:
    findings = [
        Finding("kernel", "preemption", Status.FAIL, "bad", "good", "do this"),
        Finding("disk", "free", Status.OK, "much", "some"),
    ]
    text = report.table(findings, {})
    assert "FAIL  preemption  bad" in text
    assert "mend:   do this" in text
    assert "some" not in text
    assert "1 ok, 1 fail" in text
    assert report.exit_status(findings) == 1
    assert report.exit_status(findings[1:]) == 0


def test_json_and_exit_status_agree(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--seconds", "0.2", "--json", "--rt-priority", "0"])
    document = json.loads(capsys.readouterr().out)
    assert document["exit_status"] == status
    names = {finding["name"] for finding in document["findings"]}
    assert {"preemption", "rtprio", "governor", "latency", "serl-rt", "free"} <= names
    histogram = document["wakeup_histogram"]
    assert 0 < sum(histogram.values()) <= 200
    failed = [f for f in document["findings"] if f["status"] == "fail"]
    assert status == int(bool(failed))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--robot", "no such robot"], "no IPv4 address"), (["--seconds", "nan"], "0 to 3600")],
)
def test_wrong_arguments_are_sentences(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert says in capsys.readouterr().err
