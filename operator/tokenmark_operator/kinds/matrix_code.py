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

from ..observe.attempt import is_over
from ..observe.server import view_task
from ..plan.code_jobs import ASK, JUDGE, plan_code_result, plan_judge, task_name
from ..plan.matrix_run import cell_run_name
from ..results.config_map import CONFIG_MAP_BYTES, inflated
from ..shared.facts import KubeEvent
from .matrix_cells import OVER, UP, CellsStep

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
        if task_name(known.run, JUDGE) in self.facts.jobs:
            found = self._told(known.run, JUDGE, RESULT_BLOCK, CodeResult)
            if isinstance(found, CodeResult):
                self.decision.create_first.append(plan_code_result(self.matrix, cell, found))
                return known.model_copy(update={"state": "Measured", "reason": "Judged", "message": None})
            return self._as_it_stands(known, JUDGE, found)
        answers = self._told(known.run, ASK, ANSWERS_BLOCK, CodeAnswers)
        refused = self.facts.refused
        if isinstance(answers, CodeAnswers) and refused is not None:
            said = {"message": refused.message[:1024], "reason": refused.reason}
            return known.model_copy(update=said if refused.passing else {**said, "state": "Failed"})
        if isinstance(answers, CodeAnswers):
            self.decision.create_first += plan_judge(self.matrix, cell, answers, self.facts.settings)
            return known.model_copy(update={"reason": "Judging", "message": None})
        return self._as_it_stands(known, ASK, answers)

    def _as_it_stands(self, known: MatrixCell, role: str, wrong: str | None) -> MatrixCell:
        """Of a Job that has not said what it is there for."""
        name = task_name(known.run, role)
        if (job := self.facts.jobs.get(name)) is None:
            return self._failed(known, f"Job {name} was deleted by somebody")
        pod = self.facts.pods.get(name)
        view = view_task(
            job, pod, self.facts.now, startup_s=self.matrix.spec.runs.execution.startup_deadline_seconds,
            unmade=self.facts.unmade.get(name, ""), does=DOES[role],
        )  # fmt: skip
        read = pod is not None and pod["metadata"]["uid"] in self.facts.log_read
        if view.state == "Failed":
            if not is_over(job):
                self.decision.delete_jobs.append(name)
            return self._failed(known, f"Job {name}: {view.message}")
        if wrong or (view.state == "Ready" and (read or pod is None)):
            return self._failed(known, f"Job {name}: {wrong or 'it ended, and its log is gone'}")
        reason = "Judging" if role == JUDGE else "Asking"
        return known.model_copy(update={"reason": reason, "message": view.message or None})

    def _failed(self, known: MatrixCell, message: str) -> MatrixCell:
        """By its server's end, where that is why."""
        died = self.view(self.servers[known.server]) if known.server in self.servers else None
        if died is not None and died.state == "Failed" and known.reason != "Judging":
            message = died.message
        beyond = bool(died and died.beyond and known.reason != "Judging")
        return known.model_copy(
            update={"state": "Failed", "reason": "CodeFailed", "message": message[:1024], "beyond": beyond}
        )

    def _told(self, run: str, role: str, block: str, kind: type[Told]) -> Told | str | None:
        """What its log holds; a sentence where that is nothing that can be kept, None where it holds nothing yet."""
        pod = self.facts.pods.get(task_name(run, role))
        payload = self.facts.blocks.get(pod["metadata"]["uid"], {}).get(block) if pod else None
        if payload is None:
            return None
        text = inflated(payload)
        if text is None or len(text) > CONFIG_MAP_BYTES:
            return f"what it says is no gzip, or larger than a ConfigMap holds ({CONFIG_MAP_BYTES} bytes)"
        try:
            return kind.model_validate_json(text, extra="ignore")
        except ValidationError as exc:
            return f"what it says is none of our documents: {exc.errors()[0]['msg']}"
