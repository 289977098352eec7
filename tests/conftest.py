"""Options of the test suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sanitizer_builds import SanitizerBuilds

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


@pytest.fixture(scope="session", autouse=True)
def sanitizer_builds(request: pytest.FixtureRequest) -> Iterator[SanitizerBuilds]:
    """Builds that the chosen tests need: started before the first test, because they take long."""
    wanted = [
        item.callspec.params["sanitizer"]
        for item in request.session.items
        if item.get_closest_marker("sanitize")
    ]
    builds = SanitizerBuilds(wanted)
    yield builds
    builds.close()
