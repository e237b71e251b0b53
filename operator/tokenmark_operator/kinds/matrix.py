"""BenchmarkMatrix: facts -> decision. Pure: which server is up, which cell is next, what became of those before, and when it is over.

One server at a time and one run at a time. Server and run are made before the status says so, under names that a repeated step makes again; the next
server is started when nothing of the last one runs any more, for two of them may not fit.
"""

from __future__ import annotations

from typing import Any

from tokenmark_decisions.matrix_asked import asked_cells
from tokenmark_decisions.matrix_cells import Cell, Ended, Server, matrix_id, too_slow, why_not
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.matrix_object import BenchmarkMatrix, MatrixCell, MatrixServerStatus, MatrixStatus, ServerPhase
from tokenmark_schemas.result import RunResult

from ..observe.attempt import is_over, job_condition, termination_of
from ..observe.conditions import condition
from ..observe.server import ServerView, is_gone, view_server
from ..plan import names
from ..plan.matrix_models import fetch_name, plan_fetch
from ..plan.matrix_run import cell_run_name, plan_cell_run
from ..plan.matrix_server import ROLE, plan_server
from ..plan.support import forbidden
from ..shared.admission import is_finished
from ..shared.facts import Decision, KubeEvent, MatrixFacts
from ..shared.status import read_object, read_status, unknown_in
from ..shared.step import Step
from .made_runs import measured

CONDITIONS = ("Accepted", "Finished", "Succeeded")
LOOK_S, SOON_S = 60.0, 5.0
OVER = ("Measured", "Failed", "Skipped")
UP = ("Starting", "Serving")
HEAT = ("maxCelsius", "maxThrottledSeconds")


def decide_matrix(facts: MatrixFacts) -> Decision:
    """One step of one matrix."""
    return _MatrixStep(facts).decide()


class _MatrixStep(Step):
    def __init__(self, facts: MatrixFacts) -> None:
        self.existing = read_status(MatrixStatus, facts.cr.get("status"))
        super().__init__(facts, self.existing.conditions, CONDITIONS)
        self.facts = facts
        self.rows = {row.name: row for row in self.existing.cells}
        self.servers = {server.number: server for server in self.existing.servers}
        self.cells: list[Cell] = []

    def decide(self) -> Decision:
        if self.conditions.is_true("Finished"):
            self.outlive()
            return self.closed()
        matrix = read_object(BenchmarkMatrix, self.facts.cr)
        if newer := unknown_in(BenchmarkMatrix, self.facts.cr):
            self.leaves_to_newer(newer)
        elif isinstance(matrix, str):
            self.refuse("InvalidSpec", matrix)
        else:
            self._take_up(matrix)
        return self.closed()

    def _take_up(self, matrix: BenchmarkMatrix) -> None:
        self.matrix = matrix
        execution = matrix.spec.server.execution
        try:
            if said := forbidden(execution, self.facts.settings):
                raise InvalidInput("; ".join(said).replace("spec.execution", "spec.server.execution"))
            if isinstance(self.facts.profiles, str):
                raise InvalidInput(self.facts.profiles)
            self.cells = asked_cells(matrix.spec, self.facts.profiles)
        except InvalidInput as exc:
            for server in [each for each in self.servers.values() if each.state in UP]:
                self._stop(server, "Stopped")
            self._keep_servers()
            self.refuse("InvalidSpec", str(exc))
            return
        self.status.setdefault("matrixID", f"{matrix.metadata.name}-{matrix_id(self.cells)}")
        self.conditions.set("Accepted", "True", "Accepted", f"{len(self.cells)} cells")
        self.rows = {cell.name: self._row(cell) for cell in self.cells}
        if self._models_are_there():
            self._go_on()
        self.status["cells"] = [self.rows[cell.name].camel() for cell in self.cells]
        self._keep_servers()
        over = sum(row.state in OVER for row in self.rows.values())
        self.status["cellsProgress"] = f"{over}/{len(self.cells)}"

    # --- its models -------------------------------------------------------------------------------------------------

    def _models_are_there(self) -> bool:
        """Fetched once; from then on the store is what it is."""
        if self.status.get("modelsFetched") or not (wanted := plan_fetch(self.matrix, self.facts.settings)):
            return True
        name = fetch_name(self.matrix.metadata.name)
        job, pod = self.facts.jobs.get(name), self.facts.pods.get(name)
        if self.facts.refused is not None and not self.facts.refused.passing:
            self.finish(succeeded=False, reason=self.facts.refused.reason, message=self.facts.refused.message)
        elif job is None and self.matrix.spec.suspend:
            self._says("Suspended", "spec.suspend is true; no model is fetched")
        elif job is None:
            self.status.setdefault("startTime", self.now())
            self.decision.create_first += wanted
            self._says("FetchingModels", f"Job {name} fetches models into {self._store}")
        elif job_condition(job, "Complete"):
            self.status["modelsFetched"] = True
            self.events.append(KubeEvent("Normal", "ModelsFetched", f"models are in {self._store}"))
            return True
        elif is_over(job):
            ended = termination_of(pod) if pod else None
            why = (ended or {}).get("message") or (job_condition(job, "Failed") or {}).get("message", "")
            self.finish(succeeded=False, reason="ModelsNotFetched", message=f"Job {name} failed: {why.strip()[-1000:]}")
        else:
            self._says("FetchingModels", f"Job {name} fetches models into {self._store}")
        return False

    @property
    def _store(self) -> str:
        return f"claim {self.matrix.spec.store.claim_name}" if self.matrix.spec.store else "no store"

    # --- what became of its runs ------------------------------------------------------------------------------------

    def _row(self, cell: Cell) -> MatrixCell:
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
        died = self._view(self.servers[row.server]) if row.server in self.servers else None
        early = next((stage.window.ended_early for stage in stages if stage.window.ended_early), None)
        message = (died.message if died and died.state == "Failed" else None) or early or said.get("message") or ""
        late = any("timeout" in stage.requests.errors for stage in stages) or any(rule in message for rule in HEAT)
        return {"state": "Failed", "message": message[:1024], "beyond": late or bool(died and died.beyond)}

    # --- what is next -----------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if running := next((row for row in self.rows.values() if row.state == "Running"), None):
            self._says("Running", f"cell {running.name}: {running.reason}")
            return
        self._skip()
        waiting = [cell for cell in self.cells if self.rows[cell.name].state == "Waiting"]
        up = next((server for server in self.servers.values() if server.state in UP), None)
        suspended = self.matrix.spec.suspend
        if up is not None and (suspended or not waiting or _key(up) != waiting[0].server):
            self._stop(up, "Stopped")
            up = None
        if up is None and (left := self._left_over()):
            self._says("ServerStopping", f"{', '.join(left)} is being taken away")
        elif not waiting:
            self._end()
        elif suspended:
            self._says("Suspended", f"spec.suspend is true; {len(waiting)} cells wait")
        elif up is None:
            self._start(waiting)
        else:
            self._serve(up, waiting)

    def _skip(self) -> None:
        """Memory is the scheduler's to judge: a server that has no room does not start."""
        known = [(cell, self.rows[cell.name]) for cell in self.cells]
        ended = [
            Ended(cell, row.message or "", row.beyond) for cell, row in known if row.state == "Failed" or row.beyond
        ]
        slow = {cell.server: row.message for cell, row in known if row.beyond and row.state == "Measured"}
        for cell, row in known:
            reason = slow.get(cell.server) or why_not(cell, needed=0, free=1, learned=0, ended=ended)
            if row.state == "Waiting" and reason is not None:
                self._over([cell], "Skipped", reason)

    def _start(self, waiting: list[Cell]) -> None:
        number, cell = max(self.servers, default=0) + 1, waiting[0]
        model, quantization, context, streams, way = cell.server
        if self.facts.refused is not None:
            self._refused([each for each in waiting if each.server == cell.server])
            return
        self.status.setdefault("startTime", self.now())
        self.decision.create_first += plan_server(self.matrix, cell, number, self.facts.settings)
        self.servers[number] = MatrixServerStatus(
            number=number, model=model, quantization=quantization, context=context, streams=streams, way=way, state="Starting"
        )  # fmt: skip
        name = names.server_name(self.matrix.metadata.name, number)
        self._says("ServerStarting", f"{name}: {model} {quantization}")
        self.events.append(KubeEvent("Normal", "ServerStarted", f"{name}: {model} {quantization}, {context} tokens"))

    def _serve(self, server: MatrixServerStatus, waiting: list[Cell]) -> None:
        view, name = self._view(server), names.server_name(self.matrix.metadata.name, server.number)
        if view.state == "Failed":
            self._stop(server, "Failed", view.message)
            self.events.append(KubeEvent("Warning", "ServerFailed", f"{name}: {view.message}"))
            served = any(row.server == server.number for row in self.rows.values())
            if not served:  # a new one would fare no better
                self._over(
                    [each for each in waiting if each.server == _key(server)],
                    "Failed",
                    view.message,
                    beyond=view.beyond,
                )
            self._says("ServerStopping", f"{name}: {view.message}", SOON_S)
        elif view.state == "Starting":
            self._says("ServerStarting", f"{name}: {view.message}", SOON_S)
        elif self.facts.refused is not None:
            self._refused(waiting[:1])
        else:
            self.servers[server.number] = server.model_copy(
                update={"state": "Serving", "load_milliseconds": server.load_milliseconds or view.load_ms}
            )
            self._make(server, waiting[0])

    def _make(self, server: MatrixServerStatus, cell: Cell) -> None:
        row = self.rows[cell.name]
        self.decision.create_first.append(plan_cell_run(self.matrix, cell, server.number))
        self.rows[cell.name] = row.model_copy(update={"state": "Running", "server": server.number})
        self._says("Running", f"cell {cell.name}")
        self.events.append(KubeEvent("Normal", "RunCreated", f"run {row.run}"))

    def _refused(self, cells: list[Cell]) -> None:
        """What the API server would not make: later, or never."""
        refused = self.facts.refused
        assert refused is not None
        if refused.passing:
            self._says(refused.reason, refused.message, 15.0)
            return
        self._over(cells, "Failed", refused.message)
        self._says(refused.reason, refused.message, 0.05)

    # --- servers ----------------------------------------------------------------------------------------------------

    def _view(self, server: MatrixServerStatus) -> ServerView:
        name = names.server_name(self.matrix.metadata.name, server.number)
        return view_server(
            self.facts.jobs.get(name), self.facts.pods.get(name), self.facts.now, load_s=self.matrix.spec.limits.load_seconds,
            startup_s=self.matrix.spec.server.execution.startup_deadline_seconds, unmade=self.facts.unmade.get(name, ""),
        )  # fmt: skip

    def _stop(self, server: MatrixServerStatus, state: ServerPhase, message: str | None = None) -> None:
        name = names.server_name(self.matrix.metadata.name, server.number)
        self.decision.delete_services.append(name)
        self.decision.delete_jobs.append(name)
        said = message[:1024] if message else None
        self.servers[server.number] = server.model_copy(update={"state": state, "message": said})

    def _left_over(self) -> list[str]:
        """Servers of which something runs still, and of which none should: what is not being taken away yet is."""
        found = [name for name, job in self.facts.jobs.items() if _role(job) == ROLE]
        self.decision.delete_jobs += [name for name in found if name not in self.decision.delete_jobs]
        found += [name for name, pod in self.facts.pods.items() if _role(pod) == ROLE and name not in found]
        return [name for name in found if not is_gone(self.facts.jobs.get(name), self.facts.pods.get(name))]

    def _keep_servers(self) -> None:
        self.status["servers"] = [server.camel() for server in self.servers.values()]

    # --- words ------------------------------------------------------------------------------------------------------

    def _over(self, cells: list[Cell], state: str, message: str, *, beyond: bool = False) -> None:
        for cell in cells:
            changed = {"state": state, "message": message[:1024], "beyond": beyond}
            self.rows[cell.name] = self.rows[cell.name].model_copy(update=changed)
            self.events.append(
                KubeEvent("Warning" if state == "Failed" else "Normal", f"Cell{state}", f"{cell.name}: {message}")
            )

    def _says(self, reason: str, message: str, wait_s: float = LOOK_S) -> None:
        self.conditions.set("Succeeded", "Unknown", reason, message)
        self.wait(wait_s)

    def _end(self) -> None:
        rows = list(self.rows.values())
        counted = {state: sum(row.state == state for row in rows) for state in OVER}
        said = ", ".join(f"{count} {state.lower()}" for state, count in counted.items() if count)
        if counted["Failed"]:
            failed = ", ".join(row.name for row in rows if row.state == "Failed")
            self.finish(succeeded=False, reason="CellsFailed", message=f"{said}; failed: {failed}")
        else:
            self.finish(succeeded=True, reason="Completed", message=f"of {len(rows)} cells {said}")


def _key(server: MatrixServerStatus) -> Server:
    return server.model, server.quantization, server.context, server.streams, server.way


def _role(body: dict[str, Any]) -> str | None:
    role: str | None = (body["metadata"].get("labels") or {}).get(names.ROLE_LABEL)
    return role
