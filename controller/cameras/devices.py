"""The kinds of cameras: RealSense, anything that OpenCV opens, video files, a moving pattern.

Their packages are imported when one is opened, and named when they are missing.
"""

import importlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from serl_rt.controller.cameras.camera import Camera, CameraError, Picture, checked
from serl_rt.controller.cameras.config import CameraSource

PICTURE_TIMEOUT_S = 1.0
"""A camera that gives nothing for so long is taken to be unplugged."""


def open_camera(source: CameraSource) -> Camera:
    """Open a device. Raises CameraError: it is not there, or a package is missing."""
    kinds: dict[str, Callable[[CameraSource], Camera]] = {
        "realsense": RealSense,
        "uvc": Uvc,
        "video": Video,
        "pattern": Pattern,
    }
    return kinds[source.kind](source)


class RealSense:
    """An Intel RealSense's colour stream; `device` is its serial number, empty: any."""

    def __init__(self, source: CameraSource) -> None:
        """Open it. Raises CameraError."""
        rs = _package("pyrealsense2", "pyrealsense2", source)
        self._name = source.label
        self._pipeline: Any = rs.pipeline()
        config: Any = rs.config()
        if source.device:
            config.enable_device(source.device)
        config.enable_stream(
            rs.stream.color, source.width, source.height, rs.format.rgb8, round(source.fps)
        )
        try:
            self._pipeline.start(config)
        except RuntimeError as error:
            known = [d.get_info(rs.camera_info.serial_number) for d in rs.context().devices]
            raise CameraError(
                f"{self._name}: {error}; connected are {', '.join(known) or 'none'}"
            ) from error

    def read(self) -> Picture:
        """Wait for the next picture."""
        try:
            frames = self._pipeline.wait_for_frames(round(PICTURE_TIMEOUT_S * 1000))
        except RuntimeError as error:
            raise CameraError(f"{self._name}: {error}") from error
        return checked(np.asanyarray(frames.get_color_frame().get_data()), self._name)

    def close(self) -> None:
        """Stop the stream."""
        self._pipeline.stop()


class Uvc:
    """Any camera that OpenCV opens: `device` is a number or a path like /dev/video0."""

    def __init__(self, source: CameraSource) -> None:
        """Open it. Raises CameraError."""
        self._cv2: Any = _package("cv2", "opencv-python-headless", source)
        self._name = source.label
        device = source.device or "0"
        self._capture: Any = self._cv2.VideoCapture(int(device) if device.isdigit() else device)
        if not self._capture.isOpened():
            raise CameraError(f"{self._name}: cannot be opened; is it plugged in and not in use?")
        for key, value in (
            ("FRAME_WIDTH", source.width),
            ("FRAME_HEIGHT", source.height),
            ("FPS", source.fps),
            ("BUFFERSIZE", 1),  # old pictures are of no use
        ):
            self._capture.set(getattr(self._cv2, f"CAP_PROP_{key}"), value)

    def read(self) -> Picture:
        """Wait for the next picture."""
        taken, picture = self._capture.read()
        if not taken:
            raise CameraError(f"{self._name}: gives no pictures any more")
        return checked(self._cv2.cvtColor(picture, self._cv2.COLOR_BGR2RGB), self._name)

    def close(self) -> None:
        """Free the device."""
        self._capture.release()


class Video:
    """A video file at its own size and the source's rate, again and again."""

    def __init__(self, source: CameraSource) -> None:
        """Open it. Raises CameraError."""
        self._cv2: Any = _package("cv2", "opencv-python-headless", source)
        self._name = source.label
        self._period = 1.0 / source.fps
        self._due = time.monotonic()
        self._capture: Any = self._cv2.VideoCapture(source.device)
        if not self._capture.isOpened():
            raise CameraError(f"{self._name}: is not a video file that OpenCV can read")

    def read(self) -> Picture:
        """Wait for the next picture."""
        _wait_until(self._due)
        self._due = max(self._due + self._period, time.monotonic())
        taken, picture = self._capture.read()
        if not taken:  # its end
            self._capture.set(self._cv2.CAP_PROP_POS_FRAMES, 0)
            taken, picture = self._capture.read()
        if not taken:
            raise CameraError(f"{self._name}: holds no pictures")
        return checked(self._cv2.cvtColor(picture, self._cv2.COLOR_BGR2RGB), self._name)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class Pattern:
    """A moving pattern of the asked size and rate: a camera that every machine has."""

    def __init__(self, source: CameraSource) -> None:
        """Prepare it."""
        self._period = 1.0 / source.fps
        self._due = time.monotonic()
        rows = np.linspace(0, 255, source.height).astype(np.uint8)
        columns = np.linspace(0, 255, source.width).astype(np.uint8)
        self._base = np.zeros((source.height, source.width, 3), np.uint8)
        self._base[..., 0] = rows[:, None]
        self._base[..., 1] = columns[None, :]
        self._count = 0

    def read(self) -> Picture:
        """Wait for the next picture: blue counts up."""
        _wait_until(self._due)
        self._due = max(self._due + self._period, time.monotonic())
        self._count += 1
        picture = self._base.copy()
        picture[..., 2] = self._count % 256
        return picture

    def close(self) -> None:
        """Nothing is open."""


def _package(module: str, distribution: str, source: CameraSource) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CameraError(
            f"{source.label}: needs the package {distribution}: pip install '{distribution}'"
        ) from error


def _wait_until(due: float) -> None:
    time.sleep(max(0.0, due - time.monotonic()))
