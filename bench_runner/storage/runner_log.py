"""`runner.log`: what a run did and when, a line an event, for people who read it later. A disk that is full ends no run."""

from __future__ import annotations

import contextlib
import sys
from datetime import UTC, datetime
from pathlib import Path


class RunnerLog:
    """Appends lines with their time; `aloud` says them on stderr as well, where a pod's log keeps them."""

    def __init__(self, path: Path, *, aloud: bool) -> None:
        self.path, self._aloud = path, aloud
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def say(self, text: str) -> None:
        line = f"{datetime.now(UTC).isoformat(timespec='milliseconds').replace('+00:00', 'Z')} {text}"
        if self._aloud:
            print(line, file=sys.stderr, flush=True)
        with contextlib.suppress(OSError), self.path.open("a") as file:
            file.write(line + "\n")
