"""`serl-rt cameras`: read the cell's cameras and push their images into the controller."""

import argparse
import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial

from serl_rt.controller.cameras.camera import CameraError, Frame
from serl_rt.controller.cameras.config import CameraSource, camera_sources
from serl_rt.controller.cameras.devices import open_camera
from serl_rt.controller.cameras.preprocess import preprocess
from serl_rt.controller.cameras.push import CAMERA_ADDRESS, ImagePusher
from serl_rt.controller.cameras.reader import CameraReader
from serl_rt.export.contract import ImageField
from serl_rt.export.keys import KeysError
from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError

REPORT_S = 5.0


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    p = argparse.ArgumentParser(
        prog="serl-rt cameras",
        description="Read the cameras that a task file names ([[cameras.sources]]), crop and "
        "resize their pictures, push them to 'serl-rt control --cameras ADDRESS' on this machine.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("--task", required=True, help="bundled task's name, or a .toml file")
    p.add_argument("--controller", default=CAMERA_ADDRESS, help="where the controller listens")
    p.add_argument("--seconds", type=float, default=0.0, help="stop after; 0: when interrupted")
    p.add_argument("--quiet", action="store_true", help="print problems only")
    return p


class Cell:
    """All cameras of a task: their readers, and the newest frame of each that was not sent yet."""

    def __init__(self, sources: Sequence[tuple[ImageField, CameraSource]]) -> None:
        """Start reading."""
        self._sources = {image.name: (image, source) for image, source in sources}
        self._newest: dict[str, Frame] = {}
        self._lock = threading.Lock()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.times_ns: dict[str, int] = {}
        self.readers = [
            CameraReader(
                source.label, partial(open_camera, source), partial(self._take, image.name)
            )
            for image, source in sources
        ]

    def _take(self, name: str, frame: Frame) -> None:
        with self._lock:
            self._newest[name] = frame
        self._wake.put(None)

    def send_newest(self, pusher: ImagePusher, timeout: float) -> None:
        """Wait for a frame, at most `timeout` [s], and push what is new. Raises CameraError."""
        try:
            self._wake.get(timeout=timeout)
            while True:
                self._wake.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            newest, self._newest = self._newest, {}
        for name, frame in newest.items():
            image, source = self._sources[name]
            picture = preprocess(frame.picture, source.crop, image.height, image.width)
            pusher.push(name, picture, frame.time_ns)
            self.times_ns[name] = frame.time_ns

    def close(self) -> None:
        """Stop all readers."""
        for reader in self.readers:
            reader.close()


def skew_ms(times_ns: Mapping[str, int]) -> float:
    """Return how far the newest frames of the cameras are apart in time [ms]."""
    return (max(times_ns.values()) - min(times_ns.values())) * 1e-6 if times_ns else 0.0


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(format="serl-rt cameras: %(message)s", level=logging.WARNING)
    try:
        sources = camera_sources(load_task(arguments.task))
        pusher = ImagePusher(arguments.controller)
    except (ConfigError, KeysError) as error:
        print(f"serl-rt cameras: {error}", file=sys.stderr)
        return 2
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    cell = Cell(sources)
    try:
        _serve(cell, pusher, stop, arguments.seconds, quiet=arguments.quiet)
    except KeyboardInterrupt:
        pass
    except CameraError as error:
        print(f"serl-rt cameras: {error}", file=sys.stderr)
        return 1
    finally:
        cell.close()
        pusher.close()
    return 0


def _serve(
    cell: Cell, pusher: ImagePusher, stop: threading.Event, seconds: float, *, quiet: bool
) -> None:
    end = time.monotonic() + seconds if seconds > 0 else float("inf")
    report = time.monotonic() + REPORT_S
    while not stop.is_set() and time.monotonic() < end:
        cell.send_newest(pusher, timeout=0.1)
        if time.monotonic() >= report and not quiet:
            report += REPORT_S
            frames = "  ".join(
                f"{reader.name} {reader.stats.problem or f'{reader.stats.frames} frames'}"
                for reader in cell.readers
            )
            print(
                f"[cameras] {frames}  skew {skew_ms(cell.times_ns):.1f} ms  sent {pusher.sent}  "
                f"dropped {pusher.dropped}",
                flush=True,
            )
