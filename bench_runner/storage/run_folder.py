"""`result.json` and `config.json` in one folder a run, beside `requests.jsonl.gz`. Runs never mix: an earlier one of the
same name is set aside.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.run import RunConfig


def run_folder(out: Path, name: str) -> Path:
    """<out>/<run name>, made. Raises InvalidInput when it cannot be."""
    folder = out / name
    try:
        _set_aside(folder)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".tokenmark-write-test"
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise InvalidInput(f"results cannot be written to {folder}: {exc.strerror}; choose another --out") from exc
    return folder


def _set_aside(folder: Path) -> None:
    """An earlier run of that name keeps its files, in a folder named after when it ended: runs never mix."""
    left = [path for path in (folder / "result.json", folder / "requests.jsonl.gz") if path.exists()]
    if left:
        ended = datetime.fromtimestamp(left[0].stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%SZ")
        earlier = folder.with_name(f"{folder.name}.{ended}")
        if not earlier.exists():
            folder.rename(earlier)


def write_config(folder: Path, config: RunConfig) -> None:
    write_whole(folder / "config.json", json.dumps(config.snake(), indent=2).encode() + b"\n")


def write_result(folder: Path, result: RunResult) -> None:
    write_whole(folder / "result.json", json.dumps(result.snake(), indent=2).encode() + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """Or not at all: written beside, then renamed. Raises InvalidInput."""
    partial = path.with_suffix(path.suffix + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be written: {exc.strerror}; free space or choose another --out") from exc
