"""The direction of imports: what may know what (docs/architecture.md section 2)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("controller", "export", "learner", "sim", "cli")
# folder -> the folders of this project that it may import
ALLOWED = {
    "export": {"export"},
    "controller": {"controller", "export"},
    "learner": {"learner", "export"},
    "sim": {"sim", "controller", "export"},
    "cli": {"cli"},
}
# modules of export/ that must not need more than numpy, msgpack and zmq at import
BOUNDARY = ("contract", "task", "wire", "toml_config", "demonstrations")
CPP_ORDER = ("core", "drivers", "policy", "link", "app")


def imported_modules(path: Path) -> set[str]:
    """Names of every module imported anywhere in a file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path}: relative imports break type checking; import serl_rt.…"
            )
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_python_imports_follow_the_line(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        for name in imported_modules(path):
            parts = name.split(".")
            if parts[0] == "serl_rt" and len(parts) > 1:
                assert parts[1] in ALLOWED[folder], f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("folder", ["controller", "sim"])
def test_robot_side_never_imports_torch(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.py")):
        tops = {name.split(".")[0] for name in imported_modules(path)}
        assert "torch" not in tops, f"{path.relative_to(ROOT)} imports torch"


@pytest.mark.parametrize("module", BOUNDARY)
def test_boundary_modules_stay_light(module: str) -> None:
    code = (
        f"import serl_rt.export.{module}, sys\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'mujoco', 'gymnasium', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cpp_includes_follow_the_line() -> None:
    for position, folder in enumerate(CPP_ORDER):
        files = sorted((ROOT / "controller/cpp" / folder).glob("*.?pp"))
        assert files
        for path in files:
            for line in path.read_text().splitlines():
                if not line.startswith('#include "'):
                    continue
                included = line.split('"')[1].split("/")[0]
                # The loop sees the robot through this interface, which knows only core's types.
                if line == '#include "drivers/driver.hpp"':
                    continue
                assert included in CPP_ORDER[: position + 1], f"{path.relative_to(ROOT)}: {line}"


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("mujoco/", 2),  # physics, drawing
        ("onnxruntime_cxx_api.h", 1),
        ("zmq.hpp", 1),
        ("msgpack.hpp", 1),
        ("toml++/toml.h", 1),
        ("CLI/CLI.hpp", 1),
        ("nlohmann/", 2),
        ("modbus/", 1),
    ],
)
def test_third_party_headers_stay_in_one_place(header: str, allowed: int) -> None:
    users = [
        path
        for path in sorted((ROOT / "controller/cpp").rglob("*.?pp"))
        if any(line.startswith(f"#include <{header}") for line in path.read_text().splitlines())
    ]
    assert len(users) in range(1, allowed + 1), users
    assert all(path.suffix == ".cpp" for path in users), users
