"""A matrix over its cells: one server after the other, each with the cells that it serves; whatever ends it, what was measured is there.

`matrix.json` says how each cell stands and what each server came to; a cell's own folder is the truth, and is looked at before it is begun, so that
a matrix that was killed anywhere loses no finished cell and repeats none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

from pydantic import ValidationError

from tokenmark_decisions.matrix_cells import (
    HEAT,
    Cell,
    Ended,
    Server,
    cell_name,
    learned_bytes,
    left_s,
    matrix_id,
    too_slow,
    why_not,
)
from tokenmark_schemas.errors import RunFailed
from tokenmark_schemas.matrix import CellState, MatrixLimits, ServerFacts
from tokenmark_schemas.quality import CodeResult
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.run import RunTarget
from tokenmark_schemas.workload import WorkloadSpec

from ..instrument.single import ask_once
from ..load.clock import NS
from ..run.runner import CUT_OFF
from ..run.sweep import INTERRUPTED, result_of_cell
from ..samples.decode import TRANSPORT_FAILURES
from ..samples.sample import Failure
from ..storage.run_folder import write_whole
from .gguf_file import ModelFile
from .launch import Beyond, ServerKind, Settings, launch
from .memory import free_bytes, need
from .server import Running, serving

STATE, CODE = "matrix.json", "code_result.json"
TRIAL = "List the colours of the rainbow, from the outside to the inside."
TRIAL_TOKENS = 16
NO_TOKEN = TRANSPORT_FAILURES["first_token_timeout"][1]


@dataclass
class Entry:
    """How a cell stands; `spent_s` is what it took. `beyond`: it failed because it asked too much of the machine."""

    name: str
    state: CellState = "waiting"
    reason: str | None = None
    spent_s: float | None = None
    beyond: bool = False


@dataclass(frozen=True)
class Outcome:
    """Of measuring one cell: the exit code of its run, and what it said where it failed."""

    code: int
    said: str = ""


Measure = Callable[[Cell, str], Outcome]


class Matrix:
    """`models` are the files by (model, quantisation). `tell` gets sentences for a person."""

    def __init__(
        self, folder: Path, cells: Sequence[Cell], models: Mapping[tuple[str, str], ModelFile], settings: Settings, limits: MatrixLimits,
        tell: Callable[[str], None], free: Callable[[], int] = free_bytes, no_code: str | None = None, engine: ServerKind = "llamacpp",
    ) -> None:  # fmt: skip
        """`no_code` is why code cannot be judged on this machine."""
        self.folder, self.cells, self.limits, self.servers = folder, list(cells), limits, list[ServerFacts]()
        self.entries = {cell.name: Entry(cell.name) for cell in cells}
        self._models, self._settings, self._tell, self._free = models, settings, tell, free
        self._no_code, self.engine = no_code, engine
        self.interrupted = False
        self._resume()

    def result_of(self, cell: Cell) -> RunResult | None:
        """What is measured of it, whole or not."""
        return result_of_cell(self.runs / cell.name, cell.hash)

    def code_of(self, cell: Cell) -> CodeResult | None:
        try:
            found = CodeResult.model_validate_json((self.runs / cell.name / CODE).read_text(), extra="ignore")
        except (OSError, ValidationError):
            return None
        return found if found.cell == cell.hash else None

    def _whole(self, cell: Cell) -> bool:
        """Whether it is measured to its end."""
        if cell.profile.kind == "code":
            return self.code_of(cell) is not None
        found = self.result_of(cell)
        return (
            found is not None and not found.run.interrupted and any(stage.requests.succeeded for stage in found.stages)
        )

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def run(self, measure: Measure) -> Iterator[tuple[Cell, Entry]]:
        """Each cell as it ends. Ends early when a cell was interrupted."""
        for _, group in groupby(self.cells, key=lambda cell: cell.server):
            waiting = [cell for cell in group if self.entries[cell.name].state != "done"]
            yield from self._served(waiting, measure)
            if self.interrupted:
                return

    # --- one server -------------------------------------------------------------------------------------------------

    def _served(self, cells: list[Cell], measure: Measure) -> Iterator[tuple[Cell, Entry]]:
        """Once more for those that are left where the server died: every start brings one cell to its end at least."""
        for cell in cells:
            if (reason := self._why_not(cell)) is not None:
                yield self._end(cell, "skipped", reason)
        while wanted := [cell for cell in cells if self.entries[cell.name].state == "waiting"]:
            yield from self._started(wanted, measure)
            if self.interrupted:
                return

    def _started(self, cells: list[Cell], measure: Measure) -> Iterator[tuple[Cell, Entry]]:
        first, began = cells[0], time.monotonic()
        facts = self._facts(first)
        log, model = self.folder / "servers" / _folder(first), self._file(first).path
        how = launch(self.engine, model, first.candidate.model, self._settings_of(first), log)
        try:
            with serving(how, log, self.limits.load_s) as running:
                facts = facts.model_copy(update={"load_s": time.monotonic() - began})
                yield from self._asked(cells, running, facts, measure)
        except RunFailed as exc:
            self._keep(facts)
            for cell in cells:
                if self.entries[cell.name].state == "waiting":
                    yield self._end(cell, "failed", str(exc), beyond=isinstance(exc, Beyond))

    def _asked(
        self, cells: list[Cell], running: Running, facts: ServerFacts, measure: Measure
    ) -> Iterator[tuple[Cell, Entry]]:
        facts, refused, slow = self._trial(cells[0], running, facts)
        self._keep(facts)
        for number, cell in enumerate(cells):
            if (died := running.ended()) is not None:
                if not number:
                    yield self._end(cell, "failed", died, beyond=running.beyond())
                return
            if refused is not None:
                yield self._end(cell, "failed", refused, beyond=slow)
            elif (reason := self._why_not(cell, serving=True)) is not None:
                yield self._end(cell, "skipped", reason)
            else:
                yield self._measured(cell, running, measure)
                facts = facts.model_copy(update={"held_bytes": running.resident_bytes() or facts.held_bytes})
                self._keep(facts)
            if self.interrupted:
                return

    def _measured(self, cell: Cell, running: Running, measure: Measure) -> tuple[Cell, Entry]:
        entry = self.entries[cell.name]
        entry.state, entry.reason = "running", None
        self._save()
        self._announce(cell)
        began = time.monotonic()
        try:
            outcome = measure(cell, running.url)
        except KeyboardInterrupt:  # what no run of its own heeds
            outcome = Outcome(INTERRUPTED[0])
        entry.spent_s = time.monotonic() - began
        if outcome.code in INTERRUPTED:
            self.interrupted = True
            return self._end(cell, "waiting", None)
        if self._whole(cell):
            return self._end(cell, "done", None)
        result = self.result_of(cell)
        stages = result.stages if result is not None else []
        early = next((stage.window.ended_early for stage in stages if stage.window.ended_early), None)
        reason = running.ended() or early or outcome.said or f"its run ended with {outcome.code}"
        late = NO_TOKEN in reason or CUT_OFF in reason or any("timeout" in stage.requests.errors for stage in stages)
        return self._end(
            cell, "failed", reason, beyond=late or running.beyond() or any(rule in reason for rule in HEAT)
        )

    def _trial(self, cell: Cell, running: Running, facts: ServerFacts) -> tuple[ServerFacts, str | None, bool]:
        """A short answer, before anything that takes long: what it came to, why nothing more is asked, and whether that is for slowness."""
        target = RunTarget(
            engine=self.engine, model=cell.candidate.model, url=running.url, request_timeout_s=3 * self.limits.ttft_s,
            first_token_timeout_s=self.limits.ttft_s,
        )  # fmt: skip
        asked = {"dataset": {"prompts": [TRIAL]}, "max_output_tokens": TRIAL_TOKENS, "ignore_eos": "Force"}
        sample = ask_once(target, WorkloadSpec.model_validate(asked), None).sample
        if not sample.content_ns or sample.sent_ns is None:
            failure = sample.failure or Failure("empty", "nothing came back")
            return facts, f"a short answer failed: {failure.message}", failure.kind == "timeout"
        first_ns, last_ns = sample.content_ns[0], sample.content_ns[-1]
        tokens = sample.output_tokens or len(sample.content_ns)
        pace = (tokens - 1) * NS / (last_ns - first_ns) if tokens > 1 and last_ns > first_ns else None
        facts = facts.model_copy(update={"trial_ttft_s": (first_ns - sample.sent_ns) / NS, "trial_tokens_per_s": pace})
        return facts, too_slow(facts.trial_ttft_s, pace, self.limits), True

    # --- what is known ----------------------------------------------------------------------------------------------

    def _why_not(self, cell: Cell, *, serving: bool = False) -> str | None:
        """With its server up, memory is no question any more."""
        if cell.profile.kind == "code" and self._no_code:
            return self._no_code
        needed = 0 if serving else self._facts(cell).needed_bytes or 0
        states = [(each, self.entries[each.name]) for each in self.cells]
        ended = [Ended(each, entry.reason or "", entry.beyond) for each, entry in states if entry.state == "failed"]
        learned = 0 if serving else learned_bytes(self.servers)
        return why_not(cell, needed=needed, free=self._free(), learned=learned, ended=ended)

    def _file(self, cell: Cell) -> ModelFile:
        return self._models[cell.candidate.model, cell.candidate.quantization]

    def _settings_of(self, cell: Cell) -> Settings:
        _, _, context, streams, _ = cell.server
        return replace(
            self._settings,
            context=context,
            parallel=streams,
            threads=cell.variant.threads,
            gpu_layers=cell.variant.gpu_layers,
        )

    def _facts(self, cell: Cell) -> ServerFacts:
        model, quantization, context, streams, way = cell.server
        batch = self._settings.batch or 512
        needed = need(self._file(cell), context, streams, batch).total
        return ServerFacts(
            model=model, quantization=quantization, context=context, streams=streams, way=way, needed_bytes=needed
        )

    def server_of(self, cell: Cell) -> ServerFacts | None:
        return next((each for each in self.servers if _key(each) == cell.server), None)

    def _keep(self, facts: ServerFacts) -> None:
        self.servers = [each for each in self.servers if _key(each) != _key(facts)] + [facts]
        self._save()

    def _announce(self, cell: Cell) -> None:
        at = self.cells.index(cell) + 1
        waiting = [each for each in self.cells if self.entries[each.name].state in ("waiting", "running")]
        spent = [
            (each, self.entries[each.name].spent_s or 0.0) for each in self.cells if self.entries[each.name].spent_s
        ]
        left = left_s(waiting, spent)
        soon = f", about {max(1, round(left / 60))} min left" if left is not None else ""
        self._tell(f"[{at:>{len(str(len(self.cells)))}}/{len(self.cells)}] {cell.name}{soon}")

    def _end(self, cell: Cell, state: CellState, reason: str | None, *, beyond: bool = False) -> tuple[Cell, Entry]:
        entry = self.entries[cell.name]
        entry.state, entry.reason, entry.beyond = state, reason, beyond
        self._save()
        return cell, entry

    # --- files ------------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        document = {
            "plan": matrix_id(self.cells), "cells": [asdict(entry) for entry in self.entries.values()],
            "servers": [each.snake() for each in self.servers],
        }  # fmt: skip
        write_whole(self.folder / STATE, json.dumps(document, indent=2).encode() + b"\n")

    def _resume(self) -> None:
        """What was done before counts as done; what failed or was skipped is tried again."""
        try:
            kept = json.loads((self.folder / STATE).read_text())
            self.servers = [ServerFacts.model_validate(each) for each in kept["servers"]]
            spent = {each["name"]: each["spent_s"] for each in kept["cells"]}
        except (OSError, ValueError, KeyError, TypeError):
            spent = {}
        for cell in self.cells:
            if self._whole(cell):
                self.entries[cell.name] = Entry(cell.name, "done", None, spent.get(cell.name))


def _folder(cell: Cell) -> str:
    """Of a server's log."""
    return cell_name(
        cell.candidate.model, cell.candidate.quantization, cell.way, str(cell.server[2]), str(cell.server[3])
    )


def _key(facts: ServerFacts) -> Server:
    return facts.model, facts.quantization, facts.context, facts.streams, facts.way


def last_of(folder: Path, cells: Sequence[Cell]) -> Path | None:
    """The newest matrix below `folder` that is of the same cells."""
    plan = matrix_id(cells)
    for state in sorted(folder.glob(f"*/{STATE}"), reverse=True):
        try:
            if json.loads(state.read_text())["plan"] == plan:
                return state.parent
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
