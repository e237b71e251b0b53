"""Running other programs: output to a log, failures as one readable error."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class ClusterError(Exception):
    """What went wrong, and what to do about it."""


def run(
    arguments: Sequence[str | Path], *, log: Path | None = None, cwd: Path | None = None,
    env: Mapping[str, str] | None = None, check: bool = True, stdin: str | None = None, timeout_s: float = 1800,
) -> str:  # fmt: skip
    """Runs a program to its end; returns stdout (or nothing, where output goes to `log`)."""
    words = [str(a) for a in arguments]
    sink = log.open("ab") if log else subprocess.PIPE
    try:
        done = subprocess.run(
            words, cwd=cwd, env={**os.environ, **(env or {})}, input=stdin.encode() if stdin is not None else None,
            stdin=subprocess.DEVNULL if stdin is None else None, stdout=sink,
            stderr=subprocess.STDOUT if log else subprocess.PIPE, timeout=timeout_s, check=False,
        )  # fmt: skip
    except FileNotFoundError as exc:
        raise ClusterError(f"{words[0]} is not installed") from exc
    except subprocess.TimeoutExpired as exc:
        raise ClusterError(f"{' '.join(words[:4])} did not end within {timeout_s:.0f} s") from exc
    finally:
        if log:
            sink.close()  # type: ignore[union-attr]
    if check and done.returncode:
        tail = _tail(log) if log else (done.stderr or b"").decode(errors="replace")[-2000:]
        raise ClusterError(f"{' '.join(words[:6])} ended with {done.returncode}:\n{tail}")
    return "" if log else done.stdout.decode(errors="replace")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:]) + f"\n(all of it: {log})"


def wait_for(what: str, fact: Callable[[], bool], timeout_s: float, hint: str = "") -> None:
    """Waits for a fact; raises ClusterError that names it."""
    limit = time.monotonic() + timeout_s
    while not fact():
        if time.monotonic() > limit:
            raise ClusterError(f"{what}: not within {timeout_s:.0f} s{'; ' + hint if hint else ''}")
        time.sleep(0.1)
