"""`tokenmark watch`: how far a run is, until it is over."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import typer

from tokenmark_schemas.errors import InvalidInput, RunFailed

EVERY_S = 2.0
ENDED = re.compile(r"(^| )(ended: verdict|failed:) ")


def watch(
    run: str = typer.Argument(..., help="A run's folder, or NAMESPACE/NAME of a run in the cluster."),
    timeout: int = typer.Option(86_400, min=1, help="Seconds to watch."),
) -> None:
    """Say what changes of a run until it is over; then print its result.

    Example: tokenmark watch bench/first-run

    Exit codes: 0 it succeeded, 2 there is no such run, 5 it failed, or is not over in time.
    """
    from ..config.sources import OBJECT

    named = None if Path(run).is_dir() else OBJECT.match(run)
    if named is None and not Path(run).is_dir():
        raise InvalidInput(f"{run} is neither a folder nor NAMESPACE/NAME")
    until, said = time.monotonic() + timeout, ""
    while True:
        line, over, fine = _of_cluster(named[1], named[3]) if named else _of_folder(Path(run))
        if line != said:
            print(line, file=sys.stderr, flush=True)
            said = line
        if over:
            break
        if time.monotonic() > until:
            raise RunFailed(f"{run} is not over after {timeout} s")
        time.sleep(EVERY_S)
    if not fine:
        raise RunFailed(f"{run}: {said}")
    from ..config.sources import find_result
    from ..reports.table import print_result

    print_result(find_result(run))


def _of_cluster(namespace: str, name: str) -> tuple[str, bool, bool]:
    """(what to say, whether it is over, whether it succeeded)."""
    from ..storage import cluster

    found = cluster.get(namespace, "benchmarkrun", name)
    if found is None:
        raise InvalidInput(f"{namespace}/{name} does not exist in the cluster that kubectl speaks to")
    status: dict[str, Any] = found.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    succeeded = conditions.get("Succeeded", {})
    progress = status.get("progress")
    words = " ".join(
        str(part) for part in (succeeded.get("reason", "Pending"), progress or succeeded.get("message", "")) if part
    )
    over = conditions.get("Finished", {}).get("status") == "True"
    return words[:300], over, succeeded.get("status") == "True"


def _of_folder(folder: Path) -> tuple[str, bool, bool]:
    """By its log's last line; over once the result is whole, or the log says how it ended."""
    log = folder / "runner.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    fine = _whole(folder / "result.json")
    over = fine or any(ENDED.search(line) for line in lines[-8:])
    return (lines[-1][:300] if lines else "waiting"), over, fine


def _whole(path: Path) -> bool:
    """A result of a run under way says that it is interrupted, until it is not."""
    try:
        return not json.loads(path.read_text())["run"]["interrupted"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
