"""A sweep over its runs, one after the other: what is done is not done again, and whatever ends it, what was measured is there.

`run.json` says what is asked, and of each run how it stands; a run's own folder is the truth, and is looked at before it is begun.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from tokenmark_schemas.result import RunResult

from ..storage.run_folder import write_whole

State = Literal["waiting", "running", "done", "failed", "left"]
INTERRUPTED = (130, 143)
FINE = (0, 3, 4)  # done; an objective missed, a verdict invalid: measured all the same


def result_of_cell(folder: Path, digest: str) -> RunResult | None:
    """What is measured of a cell, whole or not; None where it is of something else that was asked."""
    try:
        found = RunResult.model_validate_json((folder / "result.json").read_text(), extra="ignore")
    except (OSError, ValidationError):
        return None
    return found if found.provenance.environment.get("cell") == digest else None


@dataclass
class Part:
    """One run of a sweep. `left`: there was no time for it."""

    name: str
    state: State = "waiting"
    exit_code: int | None = None


class Sweep:
    """`run_one(name)` measures a run and gives its exit code."""

    def __init__(
        self, folder: Path, hashes: Mapping[str, str], budget_s: float | None, *, again: bool = False,
        asked: Mapping[str, Any] | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`hashes` are what each run asks for, by name and in order; with `again` nothing counts as done. `asked` is kept beside."""
        self.folder, self.parts = folder, [Part(name) for name in hashes]
        self._hashes, self._clock, self._asked = hashes, clock, asked
        self._until = None if budget_s is None else clock() + budget_s
        for part in self.parts if not again else ():
            if self.result_of(part.name) is not None:
                part.state, part.exit_code = "done", 0

    def result_of(self, name: str) -> RunResult | None:
        """A whole result of what is asked for."""
        found = result_of_cell(self.folder / name, self._hashes[name])
        return found if found is not None and not found.run.interrupted else None

    def run(self, run_one: Callable[[str], int]) -> Iterator[Part]:
        """Each part as it ends. Ends early when a run was interrupted, or the budget is spent."""
        for part in self.parts:
            if part.state == "done":
                continue
            if self._until is not None and self._clock() >= self._until:
                part.state = "left"
                continue
            part.state = "running"
            self.save()
            part.exit_code = run_one(part.name)
            part.state = "done" if part.exit_code in FINE and self.result_of(part.name) is not None else "failed"
            if part.exit_code in INTERRUPTED:
                part.state = "waiting"
            self.save()
            yield part
            if part.exit_code in INTERRUPTED:
                return
        self.save()

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        document = {"id": self.folder.name, "asked": self._asked, "runs": [asdict(part) for part in self.parts]}
        write_whole(self.folder / "run.json", json.dumps(document, indent=2).encode() + b"\n")
