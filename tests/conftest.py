"""Options of the test suite."""

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=GOLDEN / "serl",
        help="folder of reference vectors (.npz) for test_reference.py (default: %(default)s)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with a `golden_file` argument on every reference file."""
    if "golden_file" in metafunc.fixturenames:
        files = sorted(metafunc.config.getoption("golden_dir").glob("*.npz"))
        assert files, f"no .npz in {metafunc.config.getoption('golden_dir')}"
        metafunc.parametrize("golden_file", files, ids=[file.stem for file in files])
