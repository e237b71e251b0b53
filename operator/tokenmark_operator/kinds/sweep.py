"""BenchmarkSweep: facts -> decision. Pure: which run is next, what became of those before, and when it is over.

One run at a time, whatever they load: two that share a cluster's nodes would measure each other. A run is made before the status says so;
an operator killed in between makes it again under the same name, which is none twice.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tokenmark_decisions.saturation import saturation
from tokenmark_decisions.sweep_cells import Cell, asked_of, cells, sweep_id
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.sweep import MOST_RUNS, BenchmarkSweep, SweepStatus, SweptRun

from ..observe.conditions import condition
from ..observe.times import parse_time
from ..plan.swept_run import plan_swept_run, run_name
from ..shared.admission import is_finished
from ..shared.facts import Decision, KubeEvent, SweepFacts
from ..shared.status import read_object, read_status, unknown_in
from ..shared.step import Step
from .made_runs import measured

CONDITIONS = ("Accepted", "Finished", "Succeeded")
LOOK_S = 60.0
OVER = ("Measured", "Failed")


def decide_sweep(facts: SweepFacts) -> Decision:
    """One step of one sweep."""
    return _SweepStep(facts).decide()


class _SweepStep(Step):
    def __init__(self, facts: SweepFacts) -> None:
        self.existing = read_status(SweepStatus, facts.cr.get("status"))
        super().__init__(facts, self.existing.conditions, CONDITIONS)
        self.facts = facts
        self.rows = {row.name: row for row in self.existing.runs}

    def decide(self) -> Decision:
        if self.conditions.is_true("Finished"):
            self.outlive()
            return self.closed()
        sweep = read_object(BenchmarkSweep, self.facts.cr)
        if newer := unknown_in(BenchmarkSweep, self.facts.cr):
            self.leaves_to_newer(newer)
        elif isinstance(sweep, str):
            self.refuse("InvalidSpec", sweep)
        else:
            self._take_up(sweep)
        return self.closed()

    def _take_up(self, sweep: BenchmarkSweep) -> None:
        base, name = sweep.spec.template.spec.camel(), sweep.metadata.name
        identity = self.status.setdefault("sweepID", sweep_id(name, sweep.spec, base))
        try:
            asked = cells(name, sweep.spec, base, asked_of(sweep.spec), most=MOST_RUNS, identity=identity)
        except InvalidInput as exc:
            self.refuse("InvalidSpec", str(exc))
            return
        self.conditions.set("Accepted", "True", "Accepted", f"{len(asked)} runs of {_levels(sweep)} loads")
        self.rows = {cell.name: self._row(sweep, cell) for cell in asked}
        self._go_on(sweep, asked)
        self.status["runs"] = [self.rows[cell.name].camel() for cell in asked]
        over = sum(row.state in OVER for row in self.rows.values())
        self.status["runsProgress"] = f"{over}/{len(asked)}"

    # --- what became of its runs ------------------------------------------------------------------------------------

    def _row(self, sweep: BenchmarkSweep, cell: Cell) -> SweptRun:
        known = self.rows.get(cell.name)
        name = known.run if known is not None else run_name(sweep.metadata.name, cell)
        if known is not None and known.state in OVER:
            return known
        run = self.facts.runs.get(name)
        if run is None:
            gone = known is not None and known.state == "Running"
            return SweptRun(
                name=cell.name,
                run=name,
                state="Failed" if gone else "Waiting",
                reason="RunDeleted" if gone else None,
            )
        if not is_finished(run):
            return SweptRun(name=cell.name, run=name, state="Running", reason=condition(run, "Succeeded").get("reason"))
        result = self.facts.results.get(name)
        whole = measured(run, result)
        row = SweptRun(
            name=cell.name, run=name, state="Measured" if whole else "Failed",
            reason=condition(run, "Succeeded").get("reason"), valid=condition(run, "Valid").get("status"),
            **_far(result if whole else None),
        )  # fmt: skip
        self.events.append(KubeEvent("Normal" if whole else "Warning", f"Run{row.state}", f"run {name}: {row.reason}"))
        return row

    # --- what is next -----------------------------------------------------------------------------------------------

    def _go_on(self, sweep: BenchmarkSweep, asked: list[Cell]) -> None:
        running = [row for row in self.rows.values() if row.state == "Running"]
        waiting = [cell for cell in asked if self.rows[cell.name].state == "Waiting"]
        if running:
            self._says("Running", f"run {running[0].run}: {running[0].reason}")
        elif waiting and sweep.spec.suspend:
            self._says("Suspended", f"spec.suspend is true; {len(waiting)} runs wait")
        elif waiting and self._is_spent(sweep):
            for cell in waiting:
                self.rows[cell.name] = self.rows[cell.name].model_copy(update={"state": "Left"})
            self._end(sweep)
        elif waiting and (refused := self.facts.refused) is not None and not refused.passing:
            self.rows[waiting[0].name] = self.rows[waiting[0].name].model_copy(
                update={"state": "Failed", "reason": refused.reason}
            )
            self.events.append(KubeEvent("Warning", refused.reason, refused.message))
            self.wait(0.05)
        elif waiting:
            self._make(sweep, waiting[0])
        else:
            self._end(sweep)

    def _make(self, sweep: BenchmarkSweep, cell: Cell) -> None:
        name = self.rows[cell.name].run
        if self.facts.refused is not None:
            self._says(self.facts.refused.reason, self.facts.refused.message)
            self.wait(15.0)
            return
        self.status.setdefault("startTime", self.now())
        self.decision.create_first.append(plan_swept_run(sweep, cell, name))
        self.rows[cell.name] = self.rows[cell.name].model_copy(update={"state": "Running"})
        self._says("Running", f"run {name}")
        self.events.append(KubeEvent("Normal", "RunCreated", f"run {name}"))

    def _is_spent(self, sweep: BenchmarkSweep) -> bool:
        """Counted from the first run on."""
        began, minutes = parse_time(self.status.get("startTime")), sweep.spec.budget_minutes
        return minutes is not None and began is not None and self.facts.now >= began + timedelta(minutes=minutes)

    def _says(self, reason: str, message: str) -> None:
        self.conditions.set("Succeeded", "Unknown", reason, message)
        self.wait(LOOK_S)

    def _end(self, sweep: BenchmarkSweep) -> None:
        rows = list(self.rows.values())
        failed = [row.run for row in rows if row.state == "Failed"]
        left = [row.run for row in rows if row.state == "Left"]
        if failed:
            self.finish(succeeded=False, reason="RunsFailed", message=f"failed: {', '.join(failed)}")
        elif left:
            said = f"spec.budgetMinutes: {sweep.spec.budget_minutes} were over before {', '.join(left)}"
            self.finish(succeeded=False, reason="BudgetSpent", message=said)
        else:
            self.finish(succeeded=True, reason="Completed", message=_answer(rows))


def _levels(sweep: BenchmarkSweep) -> int:
    return len(sweep.spec.vary.clients or sweep.spec.vary.rates)


def _far(result: RunResult | None) -> dict[str, Any]:
    """How far it went: thousandths, and no floats."""
    far = saturation(result) if result else None
    if far is None:
        return {}
    return {
        "unit": far.unit, "saturates_at_milli": _milli(far.saturates_at), "best_per_second_milli": _milli(far.best_tokens_per_s),
        "low_milli": _milli(far.low), "high_milli": _milli(far.high), "margin_per_mille": _milli(far.margin),
    }  # fmt: skip


def _milli(value: float | None) -> int | None:
    return None if value is None else round(1000 * value)


def _answer(rows: list[SweptRun]) -> str:
    """Which of them went furthest within every objective; else that all were measured."""
    kept = [row for row in rows if row.high_milli is not None]
    if not kept:
        return f"{len(rows)} runs were measured"
    best = max(kept, key=lambda row: row.high_milli or 0)
    return f"{len(rows)} runs were measured; {best.run} keeps every objective up to {(best.high_milli or 0) / 1000:g} {best.unit}"
