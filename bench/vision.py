"""`python -m bench.vision`: what images add, merged into runs/bench/latest.json."""

import sys
from pathlib import Path

from bench import image_replay, images, pixel_policies
from bench.parts import Parts, main
from serl_rt.learner.process import keep_freed_memory


def sections(folder: Path, seconds: float) -> Parts:
    """Return the parts of the benchmark."""
    keep_freed_memory()
    return {
        "replay": image_replay.rows,
        "render": images.render_rows,
        "transport": images.transport_rows,
        "policy": lambda: pixel_policies.rows(folder, seconds),
    }


if __name__ == "__main__":
    sys.exit(main("make bench-vision BENCH_ARGS=...", __doc__, sections))
