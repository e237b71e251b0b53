"""The cells of a matrix that ask for code: asked by one Job, judged by another (pure).

Where such a cell stands follows from which of its Jobs there are and what their logs hold; so an operator that was killed anywhere goes on where it was.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from tokenmark_decisions.matrix_cells import Cell
from tokenmark_schemas.base import Contract
from tokenmark_schemas.matrix_object import MatrixCell
from tokenmark_schemas.quality import ANSWERS_BLOCK, RESULT_BLOCK, CodeAnswers, CodeResult

from ..observe.attempt import is_over, node_lost
from ..observe.server import ServerView, is_gone, view_task
from ..plan.code_jobs import ASK, JUDGE, plan_code_result, plan_judge, run_of, task_name
from ..plan.matrix_run import cell_run_name
from ..plan.names import role_of
from ..results.config_map import CONFIG_MAP_BYTES, inflated
from ..shared.facts import KubeEvent
from .matrix_cells import LATER_S, OVER, UP, CellsStep

DOES = {ASK: "it asks", JUDGE: "it judges"}
Told = TypeVar("Told", bound=Contract)


class CodeStep(CellsStep):
    def row(self, cell: Cell) -> MatrixCell:
        if cell.profile.kind != "code":
            return super().row(cell)
        run = cell_run_name(self.matrix.metadata.name, cell)
        known = self.rows.get(cell.name) or MatrixCell(name=cell.name, run=run, state="Waiting")
        begun = known.state == "Running" or any(task_name(run, role) in self.facts.jobs for role in DOES)
        if known.state in OVER or not begun:
            return known
        serving = next((each.number for each in self.servers.values() if each.state in UP), known.server)
        known = known.model_copy(update={"state": "Running", "server": known.server or serving})
        row = self._judged(cell, known)
        if row.state != "Running":
            said = f"{cell.name}: {row.message or 'its code is judged'}"
            self.events.append(KubeEvent("Normal" if row.state == "Measured" else "Warning", f"Cell{row.state}", said))
        return row

    def _judged(self, cell: Cell, known: MatrixCell) -> MatrixCell:
        """By its judge, where there is one; else by whether it is asked."""
        judging = task_name(known.run, JUDGE) in self.facts.jobs
        role = JUDGE if judging else ASK
        found = (
            self._told(known.run, JUDGE, RESULT_BLOCK, CodeResult)
            if judging
            else self._told(known.run, ASK, ANSWERS_BLOCK, CodeAnswers)
        )
        if found is None or isinstance(found, str):
            return self._as_it_stands(known, role, found)
        if self.refused is not None:
            return self._refused_of(known)
        if isinstance(found, CodeResult):
            self.decision.create_first.append(plan_code_result(self.matrix, cell, found))
            lost = "; ".join(found.warnings)[:1024] or None
            return known.model_copy(update={"state": "Measured", "reason": "Judged", "message": lost})
        if any(each.failure for each in found.answers) and (died := self._died(known)) is not None:
            return self._failed(known, died.message, ASK)
        self.decision.create_first += plan_judge(self.matrix, cell, found, self.facts.settings)
        return known.model_copy(update={"reason": "Judging", "message": None})

    def _refused_of(self, known: MatrixCell) -> MatrixCell:
        """What the API server would not make of it: later, or never. Nobody else is to take it for theirs."""
        refused, self.refused = self.refused, None
        assert refused is not None
        said = {"message": refused.message[:1024], "reason": refused.reason}
        self.wait(LATER_S)
        return known.model_copy(update=said if refused.passing else {**said, "state": "Failed"})

    def code_left(self, *, every: bool = False) -> list[str]:
        """Jobs of cells that are over, or `every` one, of which something runs still: what should have ended is taken away."""
        over = {row.run for row in self.rows.values() if row.state in OVER}
        jobs, pods = self.facts.jobs, self.facts.pods
        found = []
        for name in [name for name, body in {**pods, **jobs}.items() if role_of(body) in DOES]:
            run, job = run_of(name), jobs.get(name)
            if (every or run in over) and not is_gone(job, pods.get(name), self.facts.now):
                found.append(name)
                if job is not None and not is_over(job):  # it has told all, and its log is all that is lost
                    self.decision.delete_jobs.append(name)
        return found

    def _as_it_stands(self, known: MatrixCell, role: str, wrong: str | None) -> MatrixCell:
        """Of a Job that has not said what it is there for."""
        name = task_name(known.run, role)
        if (job := self.facts.jobs.get(name)) is None:
            return self._failed(known, f"Job {name} was deleted by somebody", role)
        pod = self.facts.pods.get(name)
        view = view_task(
            job, pod, self.facts.now, startup_s=self.matrix.spec.runs.execution.startup_deadline_seconds,
            unmade=self.facts.unmade.get(name, ""), does=DOES[role],
        )  # fmt: skip
        read = pod is None or pod["metadata"]["uid"] in self.facts.log_read
        lost = node_lost(job, pod, self.facts.now) or (view.message if view.state == "Failed" else None)
        gone = "it ended, and its log is gone" if view.state == "Ready" and read else None
        if (why := lost or wrong or gone) is not None:
            return self._failed(known, f"Job {name}: {why}", role)
        reason = "Judging" if role == JUDGE else "Asking"
        return known.model_copy(update={"reason": reason, "message": view.message[:1024] or None})

    def _failed(self, known: MatrixCell, message: str, role: str) -> MatrixCell:
        """By its server's end, where that is why."""
        died = self._died(known) if role == ASK else None
        said = {"message": (died.message if died else message)[:1024], "beyond": bool(died and died.beyond)}
        return known.model_copy(update={"state": "Failed", "reason": "CodeFailed", **said})

    def _died(self, known: MatrixCell) -> ServerView | None:
        """Of the server that it asks: how it ended."""
        view = self.view(self.servers[known.server]) if known.server in self.servers else None
        return view if view is not None and view.state == "Failed" else None

    def _told(self, run: str, role: str, block: str, kind: type[Told]) -> Told | str | None:
        """What its log holds; a sentence where that is nothing that can be kept, None where it holds nothing yet."""
        pod = self.facts.pods.get(task_name(run, role))
        payload = self.facts.blocks.get(pod["metadata"]["uid"], {}).get(block) if pod else None
        if payload is None:
            return None
        text = inflated(payload)
        if text is None:
            return "what it says is no gzip"
        if len(text) > CONFIG_MAP_BYTES:
            return f"what it says is larger than a ConfigMap holds: {len(text):,} of {CONFIG_MAP_BYTES:,} bytes"
        try:
            return kind.model_validate_json(text, extra="ignore")
        except ValidationError as exc:
            return f"what it says is none of our documents: {exc.errors()[0]['msg']}"
