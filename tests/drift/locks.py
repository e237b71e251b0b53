"""The committed resolution and what it was made from: a lock says in its first line which requirements it answers."""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path

TREE = Path(__file__).parents[2]
LOCKS = TREE / "deploy" / "locks"
WANTED = {  # lock -> extras, or groups, that it installs beside the dependencies proper
    "dev": ("dev", "operator", "databases", "embedded", "gpu", "store"),
    "runner": ("store", "databases", "local"),
    "quality": ("quality", "node"),
    "netprobe": (),
    "operator": ("operator",),
    "build": ("build",),
    "rag": ("rag",),
    "fronts": ("fronts",),
    "chroma": ("chroma",),
}
MARK = "# answers requirements "


def requirements(lock: str) -> list[str]:
    """What that lock has to hold, as pyproject.toml says it."""
    data = tomllib.loads((TREE / "pyproject.toml").read_text())
    project, groups = data["project"], data["dependency-groups"]
    if lock in groups:
        return sorted(groups[lock])
    named = [row for name in WANTED[lock] for row in {**project["optional-dependencies"], **groups}[name]]
    return sorted(row for row in [*project["dependencies"], *named] if not row.startswith("tokenmark["))


def digest(lock: str) -> str:
    asked = [tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["requires-python"], *requirements(lock)]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def pinned(lock: str) -> dict[str, list[str]]:
    """Package -> the versions pinned (several where they differ by platform or Python)."""
    found: dict[str, list[str]] = {}
    for line in (LOCKS / f"{lock}.lock").read_text().splitlines():
        name, equals, rest = line.partition("==")
        if equals and not line.startswith((" ", "#")):
            found.setdefault(name.split("[")[0].lower(), []).append(rest.split()[0].rstrip("\\;"))
    return found


def write() -> None:
    for lock in WANTED:
        path = LOCKS / f"{lock}.lock"
        kept = [line for line in path.read_text().splitlines() if not line.startswith(MARK)]
        path.write_text("\n".join([MARK + digest(lock), *kept]) + "\n")


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    write()
