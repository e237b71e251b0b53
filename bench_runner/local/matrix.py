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
    Cell,
    Ended,
    Server,
    cell_name,
    learned_share,
    left_s,
    matrix_id,
    too_slow,
    why_not,
)
from tokenmark_schemas.errors import InvalidInput, RunFailed
from tokenmark_schemas.matrix import CellState, MatrixLimits, ServerFacts
from tokenmark_schemas.quality import CodeResult
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.run import RunTarget
from tokenmark_schemas.workload import WorkloadSpec

from ..instrument.single import ask_once
from ..run.sweep import INTERRUPTED
from ..storage.run_folder import write_whole
from .gguf_file import ModelFile
from .memory import free_bytes, need
from .server import Running, Settings, llama_server, serving

STATE, CODE = "matrix.json", "code_result.json"
TRIAL = "List the colours of the rainbow, from the outside to the inside."
TRIAL_TOKENS = 16


@dataclass
class Entry:
    """How a cell stands; `spent_s` is what it took."""

    name: str
    state: CellState = "waiting"
    reason: str | None = None
    spent_s: float | None = None


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
        tell: Callable[[str], None], free: Callable[[], int] = free_bytes, no_code: str | None = None,
    ) -> None:  # fmt: skip
        """`no_code` is why code cannot be judged on this machine."""
        self.folder, self.cells, self.limits, self.servers = folder, list(cells), limits, list[ServerFacts]()
        self.entries = {cell.name: Entry(cell.name) for cell in cells}
        self._models, self._settings, self._tell, self._free = models, settings, tell, free
        self._no_code = no_code
        self.interrupted = False
        self._resume()

    def result_of(self, cell: Cell) -> RunResult | None:
        """What is measured of it, whole or not."""
        try:
            found = RunResult.model_validate_json((self.runs / cell.name / "result.json").read_text(), extra="ignore")
        except (OSError, ValidationError):
            return None
        return found if found.provenance.environment.get("cell") == cell.hash else None

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
        return (found := self.result_of(cell)) is not None and not found.run.interrupted

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def run(self, measure: Measure) -> Iterator[tuple[Cell, Entry]]:
        """Each cell as it ends. Ends early when a cell was interrupted."""
        for _, group in groupby(self.cells, key=lambda cell: cell.server):
            waiting = [cell for cell in group if self.entries[cell.name].state not in ("done",)]
            yield from self._served(waiting, measure)
            if self.interrupted:
                return

    # --- one server -------------------------------------------------------------------------------------------------

    def _served(self, cells: list[Cell], measure: Measure) -> Iterator[tuple[Cell, Entry]]:
        wanted = []
        for cell in cells:
            if (reason := self._why_not(cell)) is not None:
                yield self._end(cell, "skipped", reason)
            else:
                wanted.append(cell)
        if not wanted:
            return
        facts = self._facts(wanted[0])
        began = time.monotonic()
        try:
            with serving(
                llama_server(self._file(wanted[0]).path, self._started(wanted[0])),
                self.folder / "servers" / _folder(wanted[0]),
                self.limits.load_s,
            ) as running:
                facts = facts.model_copy(update={"load_s": time.monotonic() - began})
                yield from self._asked(wanted, running, facts, measure)
        except RunFailed as exc:
            self._keep(facts)
            for cell in wanted:
                if self.entries[cell.name].state == "waiting":
                    yield self._end(cell, "failed", str(exc))

    def _asked(
        self, cells: list[Cell], running: Running, facts: ServerFacts, measure: Measure
    ) -> Iterator[tuple[Cell, Entry]]:
        facts = self._trial(cells[0], running, facts)
        slow = too_slow(facts.trial_ttft_s, facts.trial_tokens_per_s, self.limits)
        for cell in cells:
            if (reason := slow or running.ended() or self._why_not(cell, serving=True)) is not None:
                yield self._end(cell, "failed" if slow or running.ended() else "skipped", reason)
                continue
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
        if result is None:
            return self._end(cell, "failed", running.ended() or outcome.said or f"its run ended with {outcome.code}")
        early = next((stage.window.ended_early for stage in result.stages if stage.window.ended_early), None)
        return self._end(cell, "failed", running.ended() or early or outcome.said or "it was broken off")

    def _trial(self, cell: Cell, running: Running, facts: ServerFacts) -> ServerFacts:
        """A short answer, before anything that takes long."""
        target = RunTarget(
            engine="llamacpp", model=cell.candidate.model, url=running.url, request_timeout_s=3 * self.limits.ttft_s,
            first_token_timeout_s=self.limits.ttft_s,
        )  # fmt: skip
        workload = WorkloadSpec.model_validate(
            {"dataset": {"prompts": [TRIAL]}, "max_output_tokens": TRIAL_TOKENS, "ignore_eos": "Force"}
        )
        sample = ask_once(target, workload, None).sample
        if not sample.content_ns or sample.sent_ns is None:
            return facts
        ttft_s, spread_s = (
            (sample.content_ns[0] - sample.sent_ns) / 1e9,
            (sample.content_ns[-1] - sample.content_ns[0]) / 1e9,
        )
        tokens = sample.output_tokens or len(sample.content_ns)
        pace = (tokens - 1) / spread_s if tokens > 1 and spread_s > 0 else None
        return facts.model_copy(update={"trial_ttft_s": ttft_s, "trial_tokens_per_s": pace})

    # --- what is known ----------------------------------------------------------------------------------------------

    def _why_not(self, cell: Cell, *, serving: bool = False) -> str | None:
        """With its server up, memory is no question any more."""
        if cell.profile.kind == "code" and self._no_code:
            return self._no_code
        needed = 0 if serving else self._facts(cell).needed_bytes
        states = [(each, self.entries[each.name]) for each in self.cells]
        ended = [Ended(each, entry.reason or "") for each, entry in states if entry.state == "failed"]
        return why_not(cell, needed=needed, free=self._free(), learned=learned_share(self.servers), ended=ended)

    def _file(self, cell: Cell) -> ModelFile:
        return self._models[cell.candidate.model, cell.candidate.quantization]

    def _started(self, cell: Cell) -> Settings:
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

    def _end(self, cell: Cell, state: CellState, reason: str | None) -> tuple[Cell, Entry]:
        entry = self.entries[cell.name]
        entry.state, entry.reason = state, reason
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
    return cell_name(cell.candidate.model, cell.candidate.quantization, cell.way, str(cell.server[2]))


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


def refuse_nothing(cells: Sequence[Cell]) -> None:
    """Raises InvalidInput for a matrix without a cell."""
    if not cells:
        raise InvalidInput(
            "no model file is left to be run; see tokenmark models scan, and what --models, --quants and --profiles leave"
        )
