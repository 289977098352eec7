"""Which device gives which image: the `[[cameras.sources]]` of a task file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serl_rt.export.contract import ImageField
from serl_rt.export.task import TaskFile
from serl_rt.export.toml_config import ConfigError, Source, parse_table, read_toml, setting

KINDS = ("realsense", "uvc", "video", "pattern")


@dataclass(frozen=True)
class CameraSource:
    """One camera, what is cut out of its pictures, and the image that this becomes."""

    image: str = setting()
    """Name of the contract's image."""
    kind: str = setting(choices=KINDS)
    device: str = setting("")
    """Serial number (realsense), number or path (uvc), file (video); empty: the first."""
    width: int = setting(640, low=1, high=4096, unit="pixels")
    height: int = setting(480, low=1, high=4096, unit="pixels")
    fps: float = setting(30.0, low=1.0, high=240.0, unit="1/s")
    crop: tuple[int, ...] = setting((), low=0, high=4096)
    """(top, left, height, width) of the part that is used [pixels]; empty: all."""

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"camera {self.image} ({self.kind} {self.device})".replace(" )", ")")


def camera_sources(task: TaskFile) -> list[tuple[ImageField, CameraSource]]:
    """Return the contract's images with their cameras, in the contract's order.

    Raises ConfigError: an image has no source, a source no image, a value is not allowed.
    """
    table: Mapping[str, Any] = read_toml(task.path).get("cameras", {})
    place = Source(str(task.path)) / "cameras"
    rows = table.get("sources", [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise place.error("sources", rows, "an array of tables")
    sources = {}
    for number, row in enumerate(rows):
        where = place / f"sources[{number}]"
        source = parse_table(CameraSource, row, where)
        _check_crop(source, where)
        if source.image in sources:
            raise where.error("image", source.image, "given once")
        sources[source.image] = source
    names = [image.name for image in task.contract.images]
    if unknown := sorted(set(sources) - set(names)):
        allowed = ", ".join(names) or "none: the contract has no images"
        raise place.error("sources", ", ".join(unknown), f"images of the contract: {allowed}")
    if missing := [name for name in names if name not in sources]:
        raise ConfigError(
            f"{task.path}: no camera for {', '.join(missing)}: add [[cameras.sources]] with image, "
            f"kind ({', '.join(KINDS)}) and device"
        )
    return [(image, sources[image.name]) for image in task.contract.images]


def _check_crop(source: CameraSource, where: Source) -> None:
    if not source.crop:
        return
    if len(source.crop) == 4:
        top, left, height, width = source.crop
        inside = top + height <= source.height and left + width <= source.width
        if inside and height > 0 and width > 0:
            return
    raise where.error(
        "crop", list(source.crop), f"[top, left, height, width] inside {source.height} x "
        f"{source.width} (height x width)"
    )  # fmt: skip
