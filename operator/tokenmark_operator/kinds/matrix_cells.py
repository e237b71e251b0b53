"""The cells of a matrix: what became of each, and which need not be tried any more (pure)."""

from __future__ import annotations

from tokenmark_decisions.matrix_cells import HEAT, Cell, Ended, too_slow, why_not
from tokenmark_schemas.matrix_object import BenchmarkMatrix, CellPhase, MatrixCell, MatrixServerStatus, MatrixStatus
from tokenmark_schemas.result import RunResult

from ..observe.conditions import condition
from ..observe.server import ServerView, view_server
from ..plan import names
from ..plan.matrix_run import cell_run_name
from ..shared.admission import is_finished
from ..shared.facts import KubeEvent, MatrixFacts
from ..shared.status import read_status
from ..shared.step import Step
from .made_runs import measured

CONDITIONS = ("Accepted", "Finished", "Succeeded")
OVER = ("Measured", "Failed", "Skipped")
UP = ("Starting", "Serving")
LOOK_S, LATER_S = 60.0, 15.0


class CellsStep(Step):
    """What a matrix's step knows of its cells and servers."""

    def __init__(self, facts: MatrixFacts) -> None:
        self.existing = read_status(MatrixStatus, facts.cr.get("status"))
        super().__init__(facts, self.existing.conditions, CONDITIONS)
        self.facts, self.refused = facts, facts.refused
        self.rows = {row.name: row for row in self.existing.cells}
        self.servers = {server.number: server for server in self.existing.servers}
        self.cells: list[Cell] = []
        self.matrix: BenchmarkMatrix  # once it is taken up

    # --- what became of its runs ------------------------------------------------------------------------------------

    def row(self, cell: Cell) -> MatrixCell:
        name = cell_run_name(self.matrix.metadata.name, cell)
        known = self.rows.get(cell.name) or MatrixCell(name=cell.name, run=name, state="Waiting")
        if known.state in OVER:
            return known
        if (run := self.facts.runs.get(known.run)) is None:
            gone = {"state": "Failed", "reason": "RunDeleted", "message": "its run was deleted by somebody"}
            return known.model_copy(update=gone) if known.state == "Running" else known
        said = condition(run, "Succeeded")
        serving = next((each.number for each in self.servers.values() if each.state in UP), known.server)
        known = known.model_copy(update={"server": known.server or serving, "reason": said.get("reason")})
        if not is_finished(run):
            return known.model_copy(update={"state": "Running"})
        result = self.facts.results.get(known.run)
        whole = measured(run, result) and (result is None or any(stage.requests.succeeded for stage in result.stages))
        row = known.model_copy(
            update={"valid": condition(run, "Valid").get("status"), **self._ending(known, result, said, whole=whole)}
        )
        self.events.append(
            KubeEvent("Normal" if whole else "Warning", f"Cell{row.state}", f"{cell.name}: {row.message or row.reason}")
        )
        return row

    def _ending(
        self, row: MatrixCell, result: RunResult | None, said: dict[str, str], *, whole: bool
    ) -> dict[str, object]:
        """Of its run: whether anything heavier need be tried, and why not."""
        stages = result.stages if result is not None else []
        if whole:
            tpot = stages[0].metrics["tpot"].mean if stages else None
            slow = too_slow(None, 1 / tpot if tpot else None, self.matrix.spec.limits.of_matrix())
            return {"state": "Measured", "message": slow, "beyond": slow is not None}
        died = self.view(self.servers[row.server]) if row.server in self.servers else None
        early = next((stage.window.ended_early for stage in stages if stage.window.ended_early), None)
        message = (died.message if died and died.state == "Failed" else None) or early or said.get("message") or ""
        late = any("timeout" in stage.requests.errors for stage in stages) or any(rule in message for rule in HEAT)
        return {"state": "Failed", "message": message[:1024], "beyond": late or bool(died and died.beyond)}

    def skip(self) -> None:
        """Memory is the scheduler's to judge: a server that has no room does not start."""
        known = [(cell, self.rows[cell.name]) for cell in self.cells]
        ended = [
            Ended(cell, row.message or "", row.beyond) for cell, row in known if row.state == "Failed" or row.beyond
        ]
        slow = {cell.server: row.message for cell, row in known if row.beyond and row.state == "Measured"}
        for cell, row in known:
            reason = slow.get(cell.server) or why_not(cell, needed=0, free=1, learned=0, ended=ended)
            if row.state == "Waiting" and reason is not None:
                self.over([cell], "Skipped", reason)

    def view(self, server: MatrixServerStatus) -> ServerView:
        name = names.server_name(self.matrix.metadata.name, server.number)
        return view_server(
            self.facts.jobs.get(name), self.facts.pods.get(name), self.facts.now, load_s=self.matrix.spec.limits.load_seconds,
            startup_s=self.matrix.spec.server.execution.startup_deadline_seconds, unmade=self.facts.unmade.get(name, ""),
        )  # fmt: skip

    def over(self, cells: list[Cell], state: CellPhase, message: str, *, beyond: bool = False) -> None:
        for cell in cells:
            changed = {"state": state, "message": message[:1024], "beyond": beyond}
            self.rows[cell.name] = self.rows[cell.name].model_copy(update=changed)
            self.events.append(
                KubeEvent("Warning" if state == "Failed" else "Normal", f"Cell{state}", f"{cell.name}: {message}")
            )

    def says(self, reason: str, message: str, wait_s: float = LOOK_S) -> None:
        self.conditions.set("Succeeded", "Unknown", reason, message)
        self.wait(wait_s)
