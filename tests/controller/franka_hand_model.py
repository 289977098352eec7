"""A Franka hand as its network protocol shows it: the peer of the tests.

A stop aborts what runs, as the real hand does (the simulated robots only answer it afterwards).
"""

import select
import socket
import struct
import threading
import time
from types import TracebackType

HEADER = struct.Struct("<HII")
CONNECT, HOMING, GRASP, MOVE, STOP = range(5)
SUCCESS, FAIL, UNSUCCESSFUL, ABORTED = range(4)
VERSION = 3
MAX_WIDTH = 0.08


class FrankaHandModel:
    """Listens on port 1338 of a loopback address of its own; one client at a time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.object_width: float | None = None
        self.max_width = MAX_WIDTH
        self.version = VERSION
        self.reported_width: float | None = None
        """What the state says instead of the width."""
        self.noise: list[bytes] = []
        """Datagrams that are sent along with each state."""
        self.requests: list[tuple[int, tuple[float, ...]]] = []
        self._width = 0.04
        self._grasped = False
        self._motion: tuple[int, int, float, float] | None = None  # request, id, goal, speed
        self._listener = socket.create_server((address, 1338))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            client, peer = self._listener.accept()
            with client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as states:
                try:
                    self._talk(client, states, peer[0])
                except (ConnectionError, struct.error):
                    pass

    def _talk(self, client: socket.socket, states: socket.socket, host: str) -> None:
        port, number, before = 0, 0, time.monotonic()
        while not self._stop.is_set():
            if select.select([client], [], [], 0.01)[0]:
                header = client.recv(HEADER.size, socket.MSG_WAITALL)
                request, identity, size = HEADER.unpack(header)
                body = client.recv(size - HEADER.size, socket.MSG_WAITALL) if size > 10 else b""
                if request == CONNECT:
                    version, port = struct.unpack("<HH", body)
                    bad = int(version != self.version)
                    answer = struct.pack("<HH", bad, self.version)
                    client.sendall(HEADER.pack(CONNECT, identity, 14) + answer)
                else:
                    self._begin(client, request, identity, body)
            now = time.monotonic()
            self._advance(client, now - before)
            before = now
            number += 1
            if port:
                width = self._width if self.reported_width is None else self.reported_width
                state = struct.pack("<IddBH", number, width, self.max_width, self._grasped, 30)
                for datagram in (*self.noise, state):
                    states.sendto(datagram, (host, port))

    def _begin(self, client: socket.socket, request: int, identity: int, body: bytes) -> None:
        values = struct.unpack(f"<{len(body) // 8}d", body)
        self.requests.append((request, values))
        if self._motion is not None:
            self._answer(client, self._motion[0], self._motion[1], ABORTED)
            self._motion = None
        if request == STOP:
            self._answer(client, STOP, identity, SUCCESS)
        elif request == HOMING:
            self.max_width = MAX_WIDTH
            self._motion = (request, identity, MAX_WIDTH, 0.1)
        elif request == GRASP:
            self._motion = (request, identity, 0.0, values[3])
        else:
            self._motion = (request, identity, values[0], values[1])

    def _advance(self, client: socket.socket, elapsed: float) -> None:
        if self._motion is None:
            return
        request, identity, goal, speed = self._motion
        step = min(speed * elapsed, abs(goal - self._width))
        self._width += step if goal > self._width else -step
        blocked = self.object_width is not None and goal < self.object_width >= self._width
        if blocked:
            self._width = self.object_width or 0.0
        if not blocked and abs(self._width - goal) > 1e-9:
            return
        self._motion = None
        self._grasped = request == GRASP and blocked
        failed = request == GRASP and not blocked
        self._answer(client, request, identity, UNSUCCESSFUL if failed else SUCCESS)

    @staticmethod
    def _answer(client: socket.socket, request: int, identity: int, status: int) -> None:
        client.sendall(HEADER.pack(request, identity, 12) + struct.pack("<H", status))

    def __enter__(self) -> "FrankaHandModel":
        """Already listening."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        self._stop.set()
        self._thread.join(10)
        self._listener.close()
