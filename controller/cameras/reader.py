"""Reads one camera on a thread of its own: the newest frame, and a camera that comes back."""

import logging
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from serl_rt.controller.cameras.camera import Camera, CameraError, Frame, now_ns

log = logging.getLogger(__name__)

FROZEN_S = 0.8
"""A camera whose pictures are all the same for so long is frozen: real ones have noise."""
REOPEN_S = 0.5
"""Pause before a lost camera is opened again."""


@dataclass(frozen=True)
class ReaderStats:
    """A snapshot; counts are since the start."""

    frames: int = 0
    losses: int = 0
    """Times that the camera was unplugged, frozen, or could not be opened."""
    problem: str = ""
    """Why there are no frames now; empty: there are."""


class CameraReader:
    """Keeps the newest frame of a camera; opens it again when it is lost."""

    def __init__(
        self, name: str, open_camera: Callable[[], Camera], on_frame: Callable[[Frame], None]
    ) -> None:
        """Start reading. `on_frame` is called on the reader's thread, for every fresh frame."""
        self.name = name
        self.stats = ReaderStats()
        self._open = open_camera
        self._on_frame = on_frame
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading and free the camera."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                camera = self._open()
            except CameraError as error:
                self._lost(str(error))
                continue
            try:
                self._read(camera)
            except CameraError as error:
                self._lost(str(error))
            finally:
                camera.close()

    def _read(self, camera: Camera) -> None:
        """Read until asked to stop. Raises CameraError when the camera is lost or frozen."""
        last, changed_ns = -1, now_ns()
        while not self._stopping.is_set():
            picture = camera.read()
            time_ns = now_ns()
            mark = zlib.adler32(picture.data)
            if mark != last:
                last, changed_ns = mark, time_ns
            elif time_ns - changed_ns > FROZEN_S * 1e9:
                seconds = (time_ns - changed_ns) * 1e-9
                raise CameraError(f"{self.name}: frozen: the same picture for {seconds:.1f} s")
            else:
                continue  # not newer than what was passed on: let it age
            self.stats = ReaderStats(self.stats.frames + 1, self.stats.losses)
            self._on_frame(Frame(picture, time_ns))

    def _lost(self, problem: str) -> None:
        if problem != self.stats.problem:
            log.warning("%s", problem)
        self.stats = ReaderStats(self.stats.frames, self.stats.losses + 1, problem)
        self._stopping.wait(REOPEN_S)
