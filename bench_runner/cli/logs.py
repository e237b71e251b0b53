"""`tokenmark logs`: what a run did and when, from its folder or its pod."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from tokenmark_schemas.errors import InvalidInput


def logs(run: str = typer.Argument(..., help="A run's folder, or NAMESPACE/NAME of a run in the cluster.")) -> None:
    """Print a run's log without the result in it.

    Example: tokenmark logs results/demo
    """
    from tokenmark_schemas.frames import PREFIX

    from ..config.sources import OBJECT
    from ..storage import cluster

    folder = Path(run)
    if folder.is_dir():
        path = folder / "runner.log"
        if not path.is_file():
            raise InvalidInput(f"{path} does not exist; was it a run's folder?")
        sys.stdout.write(path.read_text(encoding="utf-8", errors="replace"))
        return
    named = OBJECT.match(run)
    if named is None:
        raise InvalidInput(f"{run} is neither a folder nor NAMESPACE/NAME")
    found = cluster.get(named[1], "benchmarkrun", named[3])
    attempts = ((found or {}).get("status") or {}).get("attempts") or []
    if not attempts:
        raise InvalidInput(f"{run} has no attempt yet; see kubectl -n {named[1]} describe benchmarkrun {named[3]}")
    text = cluster.words("logs", "-n", named[1], f"job/{attempts[-1]['jobName']}")
    if text is None:
        raise InvalidInput(f"the log of {attempts[-1]['jobName']} is not kept any more: its Job is gone")
    sys.stdout.writelines(line for line in text.splitlines(keepends=True) if PREFIX not in line)
