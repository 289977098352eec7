"""What the kernel says about itself in /proc and /sys. In a container much of it is missing."""

import os
from pathlib import Path


class System:
    """Reads the kernel's files below a root, so that a test can bring its own tree."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Read below `root`."""
        self.root = root

    def path(self, name: str) -> Path:
        """Return where an absolute file name lies."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str | None:
        """Return a file's text without the last newline; None when it cannot be read."""
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError:
            return None

    def number(self, name: str) -> int | None:
        """Return a file's integer; None when it cannot be read or is none."""
        text = self.text(name)
        try:
            return int(text) if text is not None else None
        except ValueError:
            return None

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; empty when there is none."""
        try:
            return sorted(entry.name for entry in self.path(folder).iterdir())
        except OSError:
            return []

    def not_writable(self, name: str) -> str:
        """Return why a file cannot be opened to write; empty if it can."""
        try:
            os.close(os.open(self.path(name), os.O_WRONLY))
        except OSError as error:
            return error.strerror or "cannot be opened"
        return ""


def parse_cores(text: str) -> frozenset[int]:
    """Return the numbers of a kernel list such as "0-2,5"; empty for "" or what is no list."""
    cores: set[int] = set()
    for part in text.replace("\n", ",").split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (not last or last.isdecimal()):
            cores.update(range(int(first), int(last or first) + 1))
    return frozenset(cores)


def show_cores(cores: frozenset[int]) -> str:
    """Return the numbers as the kernel writes them: "0-2,5", or "none"."""
    parts: list[str] = []
    numbers = sorted(cores)
    while numbers:
        count = 1
        while count < len(numbers) and numbers[count] == numbers[0] + count:
            count += 1
        parts.append(str(numbers[0]) if count == 1 else f"{numbers[0]}-{numbers[count - 1]}")
        numbers = numbers[count:]
    return ",".join(parts) or "none"
