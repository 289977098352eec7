"""Cameras: preprocessing, sources, a reader that finds the camera again, the way to the policy."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serl_rt.controller.cameras.camera import Camera, CameraError, Frame, Picture, now_ns
from serl_rt.controller.cameras.command import Cell, skew_ms
from serl_rt.controller.cameras.config import CameraSource, camera_sources
from serl_rt.controller.cameras.devices import open_camera
from serl_rt.controller.cameras.preprocess import preprocess
from serl_rt.controller.cameras.push import ImagePusher
from serl_rt.controller.cameras.reader import CameraReader
from serl_rt.export.contract import ImageField
from serl_rt.export.task import load_task
from serl_rt.export.toml_config import ConfigError

PATIENCE_S = 20.0


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


# ---- preprocessing -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
def test_whole_factors_give_the_mean_of_blocks(
    factor: int, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (factor * height, factor * width, 3), np.uint8)
    blocks = picture.reshape(height, factor, width, factor, 3).astype(np.float64)
    expected = np.floor(blocks.mean(axis=(1, 3)) + 0.5)
    difference = preprocess(picture, (), height, width) - expected
    assert np.abs(difference).max() <= (1 if factor > 1 else 0)  # float32 beside a half
    assert (difference != 0).mean() < 0.2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_an_even_picture_stays_even(rows: int, columns: int, height: int, width: int) -> None:
    picture = np.full((rows, columns, 3), (7, 130, 255), np.uint8)
    image = preprocess(picture, (), height, width)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert (image == (7, 130, 255)).all()


def test_the_golden_picture_gives_the_golden_image() -> None:
    rows, columns = np.mgrid[0:48, 0:64]
    picture = np.stack([5 * rows, 3 * columns, rows * columns % 256], axis=-1).astype(np.uint8)
    image = preprocess(picture, (3, 4, 42, 50), 6, 5)
    # Red: 5 times the mean row of rows 3 + 7 i to 9 + 7 i; green: 3 times that of columns.
    np.testing.assert_array_equal(image[:, 0, 0], [5 * (6 + 7 * i) for i in range(6)])
    np.testing.assert_array_equal(image[0, :, 1], [int(3 * (8.5 + 10 * i) + 0.5) for i in range(5)])
    block = picture[3:10, 4:14, 2].mean()
    assert image[0, 0, 2] == int(block + 0.5)


def test_a_crop_is_cut_out_and_must_lie_inside() -> None:
    picture = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(preprocess(picture, (1, 2, 4, 5), 4, 5), picture[1:5, 2:7])
    with pytest.raises(CameraError, match="does not lie inside a picture of 6 x 8"):
        preprocess(picture, (3, 0, 4, 8), 2, 2)


# ---- sources -------------------------------------------------------------------------------------


def task_file(folder: Path, sources: str) -> Path:
    text = load_task("pick_cube_vision").path.read_text()
    path = folder / "cell.toml"
    path.write_text(text.replace("[cameras]\n", f"[cameras]\nsources = [{sources}]\n"))
    return path


FRONT = '{ image = "front", kind = "pattern", width = 144, height = 144, fps = 60.0 }'
WRIST = '{ image = "wrist", kind = "pattern", crop = [40, 80, 400, 400], fps = 60.0 }'


def test_sources_come_in_the_contracts_order(tmp_path: Path) -> None:
    sources = camera_sources(load_task(task_file(tmp_path, f"{WRIST}, {FRONT}")))
    assert [image.name for image, _ in sources] == ["front", "wrist"]
    assert sources[0][1].fps == 60
    assert sources[1][1].crop == (40, 80, 400, 400)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (FRONT, "no camera for wrist"),
        (f"{FRONT}, {FRONT}", "given once"),
        (FRONT.replace("front", "back"), "images of the contract: front, wrist"),
        (FRONT.replace("pattern", "webcam"), "realsense"),
        (FRONT.replace("width", "size"), "size"),
        (WRIST.replace("[40, 80, 400, 400]", "[100, 0, 400, 400]"), "inside 480 x 640"),
        (WRIST.replace("[40, 80, 400, 400]", "[1, 2]"), r"\[top, left, height, width\]"),
    ],
)
def test_wrong_sources_are_named(tmp_path: Path, sources: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        camera_sources(load_task(task_file(tmp_path, sources)))


def test_a_missing_package_or_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="pip install 'pyrealsense2'"):
        open_camera(CameraSource(image="front", kind="realsense", device="123"))
    pytest.importorskip("cv2")
    missing = CameraSource(image="front", kind="uvc", device=str(tmp_path / "video9"))
    with pytest.raises(CameraError, match="cannot be opened"):
        open_camera(missing)
    with pytest.raises(CameraError, match="not a video file"):
        open_camera(CameraSource(image="front", kind="video", device=str(tmp_path / "none.avi")))


def test_a_video_is_played_again_and_again(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = str(tmp_path / "video.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (32, 24))
    for level in (20, 120, 220):
        writer.write(np.full((24, 32, 3), (0, 0, level), np.uint8))  # blue, green, red
    writer.release()
    source = CameraSource(image="front", kind="video", device=path, fps=240.0)
    camera = open_camera(source)
    pictures = [camera.read() for _ in range(5)]
    camera.close()
    assert all(picture.shape == (24, 32, 3) for picture in pictures)
    reds = [float(picture[..., 0].mean()) for picture in pictures]
    assert reds == pytest.approx([20, 120, 220, 20, 120], abs=6)
    assert max(float(picture[..., 2].mean()) for picture in pictures) < 12  # RGB, not BGR


# ---- reading -------------------------------------------------------------------------------------


class ScriptedCamera:
    """Gives the pictures of a script, then fails or freezes."""

    def __init__(self, levels: list[int], *, then: str) -> None:
        self._levels = list(levels)
        self._then = then
        self._last = np.zeros((2, 2, 3), np.uint8)

    def read(self) -> Picture:
        time.sleep(0.002)
        if self._levels:
            self._last = np.full((2, 2, 3), self._levels.pop(0), np.uint8)
        elif self._then == "unplugged":
            raise CameraError("unplugged")
        return self._last

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("end", ["unplugged", "frozen"])
def test_a_lost_camera_is_noticed_within_a_second_and_opened_again(end: str) -> None:
    cameras = [
        ScriptedCamera([1, 2, 3], then=end),
        ScriptedCamera([4, 5], then="unplugged"),
    ]
    opened_ns: list[int] = []
    frames: list[Frame] = []

    def open_next() -> Camera:
        opened_ns.append(now_ns())
        if not cameras:
            raise CameraError("not there")
        return cameras.pop(0)

    reader = CameraReader("camera", open_next, frames.append)
    assert eventually(lambda: reader.stats.losses >= 1)
    lost_ns = now_ns()
    assert lost_ns - frames[2].time_ns < 1.5e9  # a second, on a busy machine
    assert eventually(lambda: len(frames) == 5)
    assert eventually(lambda: reader.stats.problem == "not there")
    reader.close()
    assert [int(frame.picture[0, 0, 0]) for frame in frames] == [1, 2, 3, 4, 5]
    times = [frame.time_ns for frame in frames]
    assert times == sorted(set(times))


def test_a_cell_sends_the_newest_of_every_camera_with_little_skew() -> None:
    sources = [
        (
            ImageField(name, 8, 8),
            CameraSource(image=name, kind="pattern", width=16, height=16, fps=100.0),
        )
        for name in ("front", "wrist")
    ]
    pushed: list[tuple[str, Picture, int]] = []

    class Recorder(ImagePusher):
        def push(self, name: str, image: Picture, time_ns: int) -> None:
            pushed.append((name, image, time_ns))

    cell, pusher = Cell(sources), Recorder("tcp://127.0.0.1:1")
    end = time.monotonic() + PATIENCE_S
    while {name for name, *_ in pushed} != {"front", "wrist"} or len(pushed) < 20:
        assert time.monotonic() < end
        cell.send_newest(pusher, timeout=0.1)
    cell.close()
    pusher.close()
    for camera in ("front", "wrist"):
        times = [t for name, _, t in pushed if name == camera]
        assert times == sorted(set(times))
    assert all(image.shape == (8, 8, 3) for _, image, _ in pushed)
    assert skew_ms(cell.times_ns) >= 0
    assert skew_ms({"a": 1_000_000, "b": 3_500_000}) == 2.5
    assert skew_ms({}) == 0.0


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serl_rt.cli", "cameras"]
    path = task_file(tmp_path, f"{FRONT}, {WRIST}")
    for options, expected in (
        (["--task", str(path), "--controller", "tcp://10.0.0.7:5592"], "10.0.0.7"),
        (["--task", "pick_cube_vision"], "no camera for front, wrist"),
        (["--task", "juggle"], "unknown task"),
    ):
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
