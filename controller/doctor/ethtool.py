"""Settings of a network card, asked of the kernel as ethtool does (linux/ethtool.h)."""

import array
import fcntl
import socket
import struct
from typing import Protocol

_SIOCETHTOOL = 0x8946
_GET_COALESCE = 0x0E
_GET_GRO = 0x2B
_COALESCE_WORDS = 23  # of struct ethtool_coalesce
_RX_USECS = 1
_USE_ADAPTIVE_RX = 10


class Ethtool(Protocol):
    """What the doctor asks of a network card."""

    def coalescing(self, interface: str) -> tuple[bool, int] | None:
        """Return (adaptive, microseconds that a received packet may wait); None if not told."""
        ...

    def receive_offload(self, interface: str) -> bool | None:
        """Return whether received packets are merged (GRO); None if not told."""
        ...


class KernelEthtool:
    """Asks the running kernel."""

    def coalescing(self, interface: str) -> tuple[bool, int] | None:
        """See Ethtool."""
        words = self._ask(interface, [_GET_COALESCE, *[0] * (_COALESCE_WORDS - 1)])
        return None if words is None else (bool(words[_USE_ADAPTIVE_RX]), words[_RX_USECS])

    def receive_offload(self, interface: str) -> bool | None:
        """See Ethtool."""
        words = self._ask(interface, [_GET_GRO, 0])
        return None if words is None else bool(words[1])

    @staticmethod
    def _ask(interface: str, words: list[int]) -> list[int] | None:
        buffer = array.array("I", words)
        address, _ = buffer.buffer_info()
        request = struct.pack("16sP", interface.encode(), address).ljust(40, b"\0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            try:
                fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
            except OSError:
                return None
        return buffer.tolist()
