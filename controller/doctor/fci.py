"""Talks to a robot over the Franka Control Interface: connects, and counts its state packets.

Only the first command of the protocol is needed (libfranka-common, research_interface/robot):
TCP, little-endian, packed: header {u32 command, u32 id, u32 size}, request {u16 version, u16 udp
port}; answer: the same header, {u8 status, u16 version}. Then one state a millisecond comes by UDP.
"""

import socket
import struct
import time
from dataclasses import dataclass

PORT = 1337
_CONNECT = 0
_HEADER = struct.Struct("<III")
_REQUEST = struct.Struct("<HH")
_ANSWER = struct.Struct("<BH")
_SUCCESS = 0
_LARGEST_DATAGRAM = 65536
NEWEST_VERSION = 10
"""Of the protocol: libfranka 0.18 and later, FR3."""


class FciError(RuntimeError):
    """The robot did not answer as a Franka does; the text says how."""


@dataclass(frozen=True)
class FciAnswer:
    """What a robot said and sent."""

    version: int
    """Protocol version of the robot."""
    accepted: bool
    """Whether it took NEWEST_VERSION."""
    connect_ms: float
    """TCP handshake: one round trip to the control unit [ms]."""
    states: int
    """State packets received."""
    seconds: float
    """How long they were counted [s]."""
    longest_gap_ms: float
    """Between two packets [ms]."""


def ask_robot(
    address: str, seconds: float = 1.0, *, port: int = PORT, timeout: float = 3.0
) -> FciAnswer:
    """Connect to a robot, read its states for a while, and disconnect. It does not move.

    Raises FciError: unreachable, refused, no Franka, or used by another program.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as states:
        states.settimeout(timeout)
        states.bind(("", 0))
        begin = time.perf_counter()
        try:
            command = socket.create_connection((address, port), timeout)
        except OSError as error:
            raise FciError(f"no connection to port {port} of {address}: {_reason(error)}") from None
        connect_ms = 1e3 * (time.perf_counter() - begin)
        with command:
            version, accepted = _connect(command, states.getsockname()[1])
            count, longest = _count(states, seconds) if accepted else (0, 0.0)
    return FciAnswer(version, accepted, connect_ms, count, seconds, 1e3 * longest)


def _connect(command: socket.socket, udp_port: int) -> tuple[int, bool]:
    size = _HEADER.size + _REQUEST.size
    try:
        command.sendall(_HEADER.pack(_CONNECT, 1, size) + _REQUEST.pack(NEWEST_VERSION, udp_port))
        answer = b""
        while len(answer) < _HEADER.size + _ANSWER.size:
            part = command.recv(_HEADER.size + _ANSWER.size - len(answer))
            if not part:
                raise FciError(
                    "the robot closed the connection: is another program connected to it, and is "
                    "FCI activated in Desk?"
                )
            answer += part
    except OSError as error:
        raise FciError(f"the robot did not answer: {_reason(error)}") from None
    kind, identifier, _ = _HEADER.unpack_from(answer)
    if (kind, identifier) != (_CONNECT, 1):
        raise FciError("what answers there is not a Franka robot")
    status, version = _ANSWER.unpack_from(answer, _HEADER.size)
    return version, status == _SUCCESS


def _count(states: socket.socket, seconds: float) -> tuple[int, float]:
    """Return how many packets came and the longest gap between two [s]."""
    count, longest = 0, 0.0
    last = begin = time.perf_counter()
    while last - begin < seconds:
        try:
            states.recv(_LARGEST_DATAGRAM)
        except OSError:
            break
        now = time.perf_counter()
        if count:
            longest = max(longest, now - last)
        last = now
        count += 1
    return count, longest


def _reason(error: OSError) -> str:
    return "timed out" if isinstance(error, TimeoutError) else (error.strerror or str(error))
