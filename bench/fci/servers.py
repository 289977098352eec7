"""Start, stop, pause and question the simulated robots.

    with franka_sim(folder) as robot:            # enforces FCI's timing and motion limits
        ... connect a client to robot.address, ports 1337 and 1338 ...
        robot.pause(); robot.resume()            # SIGSTOP, SIGCONT: the cable
        robot.restart()                          # the robot was switched off and on
        assert robot.violations() == [] and robot.reflexes() == []

libfranka knows no other ports than 1337 (arm) and 1338 (hand), so each server gets a loopback
address of its own, 127.0.x.y: many can run side by side, and nothing outside reaches them.
`violations` are the motion limits that the server saw broken, `reflexes` the motions that it
aborted; both are empty for franky-sim, which checks nothing.
"""

import os
import random
import signal
import socket
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from serl_rt.sim.processes import Process

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-fci"
FCI_PORT, GRIPPER_PORT = 1337, 1338

_VIOLATION = "motion limit violated: "
_REFLEX = " -- aborting the motion"


@dataclass(frozen=True)
class Event:
    """One line of a server's log."""

    time_s: float  # Unix time
    level: str
    text: str


class Server:
    """A simulated robot in a process of its own; use it as a context manager."""

    def __init__(self, name: str, command: Sequence[str], address: str, folder: Path) -> None:
        """`command` is completed with `--host address`; logs go to `folder`."""
        self.name = name
        self.address = address
        self._command = [*command, "--host", address]
        self._folder = folder
        self._process: Process | None = None
        self._logs: list[Path] = []

    def start(self, patience_s: float = 60.0) -> None:
        """Start it; returns when it listens."""
        log = self._folder / f"{self.name}-{len(self._logs)}.log"
        self._logs.append(log)
        environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")
        self._process = Process(self.name, self._command, log, environment)
        deadline = time.monotonic() + patience_s
        while not any("Server ready" in e.text for e in _events(log)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} is not ready:\n{self._process.tail()}")
            self._process.running()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        process, self._process = self._process, None
        if process is not None:
            process.__exit__(None, None, None)

    def kill(self) -> None:
        """End it without a goodbye."""
        self._signal(signal.SIGKILL)
        self.stop()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze it: to its client the cable is cut."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def events(self) -> list[Event]:
        """Return all that it has logged, over restarts."""
        return [event for log in self._logs for event in _events(log)]

    def violations(self) -> list[str]:
        """Return the motion limits that it saw broken."""
        texts = (e.text for e in self.events())
        return [t.split(_VIOLATION, 1)[1] for t in texts if _VIOLATION in t]

    def reflexes(self) -> list[str]:
        """Return the motions that it aborted."""
        return [e.text.replace(_REFLEX, "") for e in self.events() if _REFLEX in e.text]

    def sessions_ended(self) -> int:
        """Return how many connections of clients it has seen end."""
        texts = (e.text for e in self.events())
        return sum("Client session ended" in t or "disconnected." in t for t in texts)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        self._process.send_signal(number)

    def __enter__(self) -> "Server":
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self.stop()


def franka_sim(folder: Path, *, timing: bool = True, object_width: float | None = None) -> Server:
    """Return a server of franka-sim, not started. FileNotFoundError: `make setup-fci` first.

    It aborts motions that break a limit, with `timing` also after 20 cycles without a command.
    """
    python = VENV / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"{python} is missing: run scripts/setup_fci.sh")
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        str(python),
        str(Path(__file__).with_name("run_franka_sim.py")),
        "--mjcf",
        str(_arm_model(folder)),
        "--limits",
    ]
    if timing:
        command.append("--timing")
    if object_width is not None:
        command += ["--object-width", str(object_width)]
    return Server("franka-sim", command, free_address(), folder)


def franky_sim(folder: Path) -> Server:
    """Return a server of franky-sim, not started."""
    script = Path(__file__).with_name("run_franky_sim.py")
    return Server("franky-sim", [sys.executable, str(script)], free_address(), folder)


def free_address() -> str:
    """Return a loopback address on whose robot ports nobody listens now."""
    for _ in range(100):
        address = f"127.0.{random.randint(1, 254)}.{random.randint(2, 254)}"
        try:
            for port in (FCI_PORT, GRIPPER_PORT):
                with socket.socket() as probe:
                    probe.bind((address, port))
        except OSError:
            continue
        return address
    raise OSError("no loopback address is free for a simulated robot")


def _events(log: Path) -> list[Event]:
    events = []
    for line in log.read_text(errors="replace").splitlines():
        stamp, _, rest = line.partition("|")
        level, _, text = rest.partition("|")
        try:
            events.append(Event(float(stamp), level, text))
        except ValueError:  # a traceback, a print
            events.append(Event(0.0, "", line))
    return events


def _arm_model(folder: Path) -> Path:
    """Write the arm of franky-sim's model, without the hand, as a file that stands by itself.

    franka-sim would fetch its model from the network. Its clients get the URDF of the bare arm.
    """
    spec = find_spec("franky_sim")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("franky-sim is missing: run 'make setup'")
    assets = Path(spec.origin).parent / "assets"
    root = ElementTree.parse(assets / "fr3.xml").getroot()
    compiler = root.find("compiler")
    assert compiler is not None
    compiler.set("meshdir", str(assets / "meshes"))
    for parent in list(root.iter()):
        for child in list(parent):
            named = child.get("name", "") + child.get("file", "")
            if child.tag in {"body", "mesh"} and ("hand" in named or "finger" in named):
                parent.remove(child)
    for table in ("actuator", "tendon", "equality", "contact", "keyframe", "sensor"):
        for element in root.findall(table):
            root.remove(element)
    path = folder / "fr3_arm.xml"
    ElementTree.ElementTree(root).write(path)
    return path.resolve()
