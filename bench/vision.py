"""`python -m bench.vision`: what images add, merged into runs/bench/latest.json."""

import argparse
import sys
from pathlib import Path

import torch

from bench import image_replay, images
from bench.parts import Parts, run_parts
from serl_rt.learner.process import keep_freed_memory

SECTIONS: Parts = {
    "replay": image_replay.rows,
    "images": images.rows,
}


def main() -> int:
    """Run the benchmark."""
    p = argparse.ArgumentParser(prog="make bench-vision BENCH_ARGS=...", description=__doc__)
    p.add_argument("--only", action="append", choices=SECTIONS, help="a part; may be repeated")
    p.add_argument("--output", type=Path, default=Path("runs/bench/latest.json"))
    arguments = p.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    run_parts(SECTIONS, arguments.only, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
