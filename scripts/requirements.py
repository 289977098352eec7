"""Print the requirements of an extra of pyproject.toml, the project's own extras resolved.

Lets the set-up install every dependency before the project itself is compiled (without build
isolation), so that a failing download and a failing compiler are told apart.
"""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib


def requirements(extra: str, extras: dict[str, list[str]]) -> list[str]:
    """Return the requirement lines of `extra`; `serl-rt[a,b]` stands for the extras a and b."""
    lines: list[str] = []
    for line in extras[extra]:
        own = re.fullmatch(r"serl-rt\[(.+)\]", line)
        if own:
            for name in own.group(1).split(","):
                lines += requirements(name.strip(), extras)
        else:
            lines.append(line)
    return lines


def main() -> None:
    """Write one requirement a line, sorted, without duplicates."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + requirements(sys.argv[1], project["optional-dependencies"])
    print("\n".join(sorted(set(wanted))))


if __name__ == "__main__":
    main()
