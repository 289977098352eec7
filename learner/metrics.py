"""Where metrics go: a JSON-lines file for plots, TensorBoard, Weights & Biases."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serl_rt.export.toml_config import ConfigError

Scalars = Mapping[str, float]
Image = NDArray[np.uint8]
"""(height, width, 3)."""
Film = NDArray[np.uint8]
"""(frames, height, width, 3)."""


class MetricSink(Protocol):
    """Takes named numbers of a point in training."""

    def write(self, kind: str, env_steps: int, scalars: Scalars) -> None:
        """Record `scalars` of one kind (`update`, `episode`, `evaluation`, `system`)."""

    def write_image(self, name: str, env_steps: int, image: Image) -> None:
        """Record a picture, if the sink shows pictures."""

    def write_film(self, name: str, env_steps: int, film: Film, fps: float) -> None:
        """Record a film, if the sink shows pictures."""

    def close(self) -> None:
        """Finish writing."""


class JsonLinesSink:
    """One JSON object a line: {"kind": ..., "env_steps": ..., name: value, ...}; appends."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("a", buffering=1)

    def write(self, kind: str, env_steps: int, scalars: Scalars) -> None:
        """Append one line."""
        row = {"kind": kind, "env_steps": env_steps} | {k: _number(v) for k, v in scalars.items()}
        self._stream.write(json.dumps(row) + "\n")

    def write_image(self, name: str, env_steps: int, image: Image) -> None:
        """Leave it out."""

    def write_film(self, name: str, env_steps: int, film: Film, fps: float) -> None:
        """Leave it out."""

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class TensorBoardSink:
    """Scalars as `kind/name` over environment steps."""

    def __init__(self, folder: Path) -> None:
        # Imported here: it takes a second, and only this sink needs it.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), flush_secs=10)

    def write(self, kind: str, env_steps: int, scalars: Scalars) -> None:
        """Add one point to every curve."""
        for name, value in scalars.items():
            self._writer.add_scalar(f"{kind}/{name}", value, env_steps)

    def write_image(self, name: str, env_steps: int, image: Image) -> None:
        """Add the picture to those of its name."""
        self._writer.add_image(name, image, env_steps, dataformats="HWC")

    def write_film(self, name: str, env_steps: int, film: Film, fps: float) -> None:
        """Add the film to the pictures of its name: TensorBoard plays a GIF."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        _, height, width, channels = film.shape
        picture = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=gif(film, fps)
        )
        summary = Summary(value=[Summary.Value(tag=name, image=picture)])
        assert self._writer.file_writer is not None
        self._writer.file_writer.add_summary(summary, env_steps)  # add_video() needs moviepy

    def close(self) -> None:
        """Flush the event file."""
        self._writer.close()


class WandbSink:
    """The same for Weights & Biases (needs the package `wandb` and an account)."""

    def __init__(self, project: str, name: str, config: Mapping[str, Any], folder: Path) -> None:
        try:
            import wandb  # type: ignore[import-not-found,unused-ignore]
        except ModuleNotFoundError as error:
            raise ConfigError("--wandb needs the package 'wandb': pip install wandb") from error
        self._run = wandb.init(project=project, name=name, config=dict(config), dir=str(folder))

    def write(self, kind: str, env_steps: int, scalars: Scalars) -> None:
        """Log one point, with the environment steps as x."""
        row = {f"{kind}/{name}": value for name, value in scalars.items()}
        self._run.log(row | {"env_steps": env_steps})

    def write_image(self, name: str, env_steps: int, image: Image) -> None:
        """Log the picture."""
        import wandb  # type: ignore[import-not-found,unused-ignore]

        self._run.log({name: wandb.Image(image), "env_steps": env_steps})

    def write_film(self, name: str, env_steps: int, film: Film, fps: float) -> None:
        """Log the film."""
        import wandb  # type: ignore[import-not-found,unused-ignore]

        video = wandb.Video(io.BytesIO(gif(film, fps)), format="gif")
        self._run.log({name: video, "env_steps": env_steps})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class MetricSinks:
    """Several sinks as one."""

    def __init__(self, sinks: Sequence[MetricSink]) -> None:
        self.sinks = tuple(sinks)

    def write(self, kind: str, env_steps: int, scalars: Scalars) -> None:
        """Write to all."""
        for sink in self.sinks:
            sink.write(kind, env_steps, scalars)

    def write_image(self, name: str, env_steps: int, image: Image) -> None:
        """Write to all."""
        for sink in self.sinks:
            sink.write_image(name, env_steps, image)

    def write_film(self, name: str, env_steps: int, film: Film, fps: float) -> None:
        """Write to all."""
        for sink in self.sinks:
            sink.write_film(name, env_steps, film, fps)

    def close(self) -> None:
        """Close all."""
        for sink in self.sinks:
            sink.close()


def gif(film: Film, fps: float) -> bytes:
    """Return a film as an animated GIF, played again and again."""
    from PIL import Image as Picture  # comes with TensorBoard's and the simulation's packages

    first, *others = [Picture.fromarray(frame) for frame in film]
    stream = io.BytesIO()
    duration_ms = max(20, round(1000 / fps))
    first.save(stream, "GIF", save_all=True, append_images=others, duration=duration_ms, loop=0)
    return stream.getvalue()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file back; an unfinished last line (after a crash) is left out."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _number(value: float) -> float | int:
    return value if isinstance(value, int) else round(float(value), 6)
