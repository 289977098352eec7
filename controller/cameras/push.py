"""Pushes images into the controller's slots (docs/architecture.md section 5, Cameras)."""

import msgpack
import zmq

from serl_rt.controller.cameras.camera import Picture
from serl_rt.export.keys import check_address

CAMERA_ADDRESS = "tcp://127.0.0.1:5592"


class ImagePusher:
    """Sends images to a controller on this machine. One thread uses it.

    What cannot be sent now is dropped: only the newest image is of use.
    """

    def __init__(self, address: str = CAMERA_ADDRESS) -> None:
        """Connect in the background. Raises KeysError for an address of another machine."""
        check_address(address, None)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.set(zmq.SNDHWM, 2)
        self._socket.set(zmq.IMMEDIATE, 1)
        self._socket.connect(address)
        self.sent = 0
        self.dropped = 0

    def push(self, name: str, image: Picture, time_ns: int) -> None:
        """Send the contract's image of a name, taken at `time_ns` of the monotonic clock."""
        header = {
            "type": "image",
            "image": name,
            "height": image.shape[0],
            "width": image.shape[1],
            "dtype": "u1",
            "channels": "rgb",
            "time_ns": time_ns,
        }
        try:
            self._socket.send_multipart([msgpack.packb(header), image.data], zmq.DONTWAIT)
            self.sent += 1
        except zmq.Again:
            self.dropped += 1

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()
        self._context.term()
