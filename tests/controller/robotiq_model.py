"""A Robotiq 2F-85 as its registers show it, on a Modbus server; the peer of the tests.

From Robotiq's instruction manual: activation takes a while and needs rACT to be seen at 0 before;
gOBJ says how a motion ended; an object stops the fingers while they close.
"""

import asyncio
import os
import select
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

ACTIVATION_S = 0.3
FULL_STROKE_S = 1.0
"""At full speed; ten times as long at the lowest."""


class RobotiqModel:
    """The gripper. `object_at`: position (0 open .. 255 closed) where an object blocks it."""

    def __init__(self, *, active: bool = False) -> None:
        self.object_at: int | None = None
        self.fault = 0
        self.activations = 0
        self.writes: list[tuple[int, ...]] = []
        self.position = 100.0
        self._act = active
        self._active_at = 0.0 if active else float("inf")
        self._go = False
        self._target = 100
        self._speed = 255
        self._force = 0
        self._object = 3
        self._time = time.monotonic()

    def write(self, values: list[int]) -> None:
        """Take the three output registers."""
        self._advance()
        self.writes.append(tuple(values))
        act = bool(values[0] & 0x0100)
        if act and not self._act:
            self._active_at = time.monotonic() + ACTIVATION_S
            self.activations += 1
        if not act:
            self._active_at = float("inf")
            self.fault = 0
        self._act = act
        self._go = bool(values[0] & 0x0800)
        if self._go:
            target = values[1] & 0xFF
            if target != self._target or self._object == 0:
                self._object = 0
            if target != round(self.position) and self._object != 0:
                self._object = 0
            self._target = target
            self._speed, self._force = values[2] >> 8, values[2] & 0xFF

    def read(self) -> list[int]:
        """Return the three input registers."""
        self._advance()
        active = time.monotonic() >= self._active_at
        phase = 3 if active else 1 if self._act else 0
        flags = self._act | self._go << 3 | phase << 4 | self._object << 6
        return [flags << 8, self.fault << 8 | self._target, round(self.position) << 8]

    def _advance(self) -> None:
        now = time.monotonic()
        elapsed, self._time = now - self._time, now
        if not self._go or now < self._active_at or self.fault or self._object in (1, 2):
            return
        rate = 255 / FULL_STROKE_S * (0.1 + 0.9 * self._speed / 255)
        step = min(rate * elapsed, abs(self._target - self.position))
        closing = self._target > self.position
        self.position += step if closing else -step
        blocked = self.object_at is not None and closing and self.position >= self.object_at
        if blocked:
            self.position = float(self.object_at or 0)
            self._object = 2
        elif self.position == self._target:
            self._object = 3

    async def access(
        self, code: int, start: int, address: int, count: int, registers: list[int], values: Any
    ) -> None:
        """Answer a request of the Modbus server."""
        if values is not None:
            self.write(list(values))
        elif address in (0, 2000):
            registers[address - start : address - start + 3] = self.read()


class _Running:
    """A Modbus server on an event loop of its own thread."""

    def __init__(self, make: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

        async def begin() -> Any:
            server = make()
            await server.serve_forever(background=True)
            return server

        self._server = asyncio.run_coroutine_threadsafe(begin(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def tcp_server(model: RobotiqModel, port: int) -> Iterator[None]:
    """Serve the gripper as Robotiq's controller does: both register blocks begin at 0."""
    block = [SimData(0, count=3, datatype=DataType.REGISTERS)]
    bits = [SimData(0, count=16, datatype=DataType.BITS)]

    def make() -> ModbusTcpServer:
        device = SimDevice(0, simdata=(bits, bits, block, block), action=model.access)
        return ModbusTcpServer(device, address=("127.0.0.1", port))

    server = _Running(make)
    try:
        yield
    finally:
        server.stop()


@contextmanager
def rtu_server(model: RobotiqModel) -> Iterator[str]:
    """Serve the gripper on a serial line; yields the name of the other end."""
    near, near_name = _terminal()
    far, far_name = _terminal()
    stop = threading.Event()
    cable = threading.Thread(target=_connect, args=(near, far, stop))
    cable.start()

    def make() -> ModbusSerialServer:
        blocks = [
            SimData(1000, count=3, datatype=DataType.REGISTERS),
            SimData(2000, count=3, datatype=DataType.REGISTERS),
        ]
        device = SimDevice(9, simdata=blocks, action=model.access)
        return ModbusSerialServer(device, framer=FramerType.RTU, port=far_name, baudrate=115200)

    server = _Running(make)
    try:
        yield near_name
    finally:
        server.stop()
        stop.set()
        cable.join(10)
        for descriptor in (near, far):
            os.close(descriptor)


def _terminal() -> tuple[int, str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    return master, name


def _connect(a: int, b: int, stop: threading.Event) -> None:
    while not stop.is_set():
        for source in select.select([a, b], [], [], 0.05)[0]:
            try:
                os.write(b if source == a else a, os.read(source, 256))
            except OSError:  # nobody has opened the other end
                time.sleep(0.01)
