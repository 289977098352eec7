"""A run's folder: what was run, with which versions and seed, and what came out."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from serl_rt.export.columns import Array
from serl_rt.export.demonstrations import demonstrations_digest
from serl_rt.export.task import TaskFile
from serl_rt.export.toml_config import ConfigError
from serl_rt.learner.recipe import Recipe

PACKAGES = ("serl-rt", "torch", "numpy", "onnx", "onnxruntime", "pyzmq", "msgpack")


class RunFolder:
    """Paths below `root`; creating it refuses to mix two runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.resumed: bool | None = None
        """None: another rank keeps the folder."""
        self.recipe = root / "recipe.json"
        self.versions = root / "versions.json"
        self.task = root / "task.toml"
        self.demonstrations = root / "demonstrations.json"
        self.metrics = root / "metrics.jsonl"
        self.tensorboard = root / "tensorboard"
        self.checkpoints = root / "checkpoints"
        self.transitions = root / "transitions"
        self.frames = root / "frames"
        self.policy = root / "policy.onnx"
        self.summary = root / "summary.json"

    def create(self, recipe: Recipe, task: TaskFile, seed: int, *, resume: bool) -> None:
        """Write what is run.

        Raises ConfigError when a run is there and `resume` is not asked for, or when it is and
        nothing, or another recipe, is there.
        """
        self.resumed = resume
        if resume:
            if not self.recipe.is_file():
                raise ConfigError(f"--resume: there is no run in {self.root}")
            if self.recipe.read_text() != recipe.to_json():
                raise ConfigError(
                    f"--resume: {self.recipe} differs from recipe '{recipe.name}'; "
                    "resume with the recipe that the run began with"
                )
            return
        if self.policy.exists() or any(self.checkpoints.glob("*")):  # a start that failed left none
            raise ConfigError(
                f"run folder {self.root} holds a run: give --resume to continue it, "
                "or another folder with --run"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        self.recipe.write_text(recipe.to_json())
        shutil.copyfile(task.path, self.task)
        self.versions.write_text(json.dumps(describe_machine() | {"seed": seed}, indent=2))

    def check_demonstrations(self, path: Path | None, columns: Mapping[str, Array] | None) -> None:
        """Keep what a new run's demonstrations are; a resumed one must have the same.

        The same are equal columns, in whatever file. Raises ConfigError. A run of before this was
        kept goes on with any.
        """
        if self.resumed is None or (self.resumed and not self.demonstrations.is_file()):
            return
        given: dict[str, str | None] = {"file": None, "sha256": None}
        if path is not None and columns is not None:
            given = {"file": str(path.resolve()), "sha256": demonstrations_digest(columns)}
        if not self.resumed:
            self.demonstrations.write_text(json.dumps(given, indent=2))
            return
        first = json.loads(self.demonstrations.read_text())
        if first["sha256"] != given["sha256"]:
            raise ConfigError(
                f"--resume: the run in {self.root} began with {_describe(first)}, and now has "
                f"{_describe(given)}; resume with the demonstrations that it began with"
            )

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the run's result."""
        self.summary.write_text(json.dumps(summary, indent=2) + "\n")


def _describe(demonstrations: Mapping[str, str | None]) -> str:
    if demonstrations["sha256"] is None:
        return "no --demos"
    return f"--demos {demonstrations['file']} (content {demonstrations['sha256'][:12]})"


def identity(recipe: Recipe, contract_id: str, seed: int) -> dict[str, Any]:
    """Return what a checkpoint must belong to."""
    digest = hashlib.sha256(recipe.to_json().encode()).hexdigest()
    names = {"recipe": recipe.name, "recipe_sha256": digest}
    return names | {"contract_id": contract_id, "seed": seed}


def describe_machine() -> dict[str, Any]:
    """Return versions, commit and machine, for reproducing a run."""
    return {
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "machine": platform.platform(),
        "processor": _processor(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return result.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")
