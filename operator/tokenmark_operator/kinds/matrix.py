"""BenchmarkMatrix: facts -> decision. Pure: which server is up, which cell is next, what became of those before, and when it is over.

One server at a time and one run at a time. Server and run are made before the status says so, under names that a repeated step makes again; the next
server is started when nothing of the last one runs any more, for two of them may not fit.
"""

from __future__ import annotations

from typing import Any

from tokenmark_decisions.matrix_asked import asked_cells, object_id
from tokenmark_decisions.matrix_cells import Cell, Server
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.matrix_object import (
    MOST_SERVERS,
    BenchmarkMatrix,
    MatrixServerStatus,
    ServerPhase,
)

from ..observe.attempt import is_over
from ..observe.server import ServerView, is_gone, view_task
from ..plan import names
from ..plan.code_jobs import plan_ask
from ..plan.matrix_models import fetch_name, plan_fetch
from ..plan.matrix_run import plan_cell_run
from ..plan.matrix_server import ROLE, plan_server
from ..plan.support import forbidden
from ..shared.facts import Decision, KubeEvent, MatrixFacts
from ..shared.status import read_object, unknown_in
from .matrix_cells import LATER_S, OVER, UP
from .matrix_code import CodeStep

SOON_S = 5.0
STARTS = 3  # of a server that is taken away before it has served


def decide_matrix(facts: MatrixFacts) -> Decision:
    """One step of one matrix."""
    return _MatrixStep(facts).decide()


class _MatrixStep(CodeStep):
    def decide(self) -> Decision:
        if self.conditions.is_true("Finished"):
            self.outlive()
            return self.closed()
        matrix = read_object(BenchmarkMatrix, self.facts.cr)
        if newer := unknown_in(BenchmarkMatrix, self.facts.cr):
            self.leaves_to_newer(newer)
        elif isinstance(matrix, str):
            self._refuse("InvalidSpec", matrix)
        else:
            self._take_up(matrix)
        return self.closed()

    def _refuse(self, reason: str, message: str) -> None:
        """Once nothing of it runs any more: an object that is over is not looked at again."""
        for server in [each for each in self.servers.values() if each.state in UP]:
            self._stop(server, "Stopped")
        if left := [*self._left_over(), *self.code_left(every=True)]:
            self.says("ServerStopping", f"{message}; {', '.join(left)} is being taken away", SOON_S)
        else:
            for row in [row for row in self.rows.values() if row.state not in OVER]:
                state = "Failed" if row.state == "Running" else "Skipped"
                self.rows[row.name] = row.model_copy(update={"state": state, "message": message[:1024]})
            self.refuse(reason, message)
        self._keep()

    def _take_up(self, matrix: BenchmarkMatrix) -> None:
        self.matrix = matrix
        if isinstance(self.facts.profiles, str):
            self.says("ProfilesNotFound", self.facts.profiles, LATER_S)
            return
        try:
            self.cells = asked_cells(matrix.spec, self.facts.profiles)
        except InvalidInput as exc:
            self._refuse("InvalidSpec", str(exc))
            return
        judges = self.facts.settings.quality_image or not any(cell.profile.kind == "code" for cell in self.cells)
        if not judges and not self.servers:
            self._refuse(
                "InvalidSpec",
                "profiles: code is judged by an image that this installation does not name: images.quality of its chart",
            )
            return
        identity = object_id(matrix.metadata.name, self.cells)
        if self.status.setdefault("matrixID", identity) != identity:
            self._refuse("ProfilesChanged", "its profiles are not those that it began with; make a new matrix")
            return
        if not self.servers and (said := self._forbidden()):
            self._refuse("InvalidSpec", said)
            return
        self.conditions.set("Accepted", "True", "Accepted", f"{len(self.cells)} cells")
        self.rows = {cell.name: self.row(cell) for cell in self.cells}
        if self._models_are_there():
            self._go_on()
        self._keep()

    def _keep(self) -> None:
        self.status["cells"] = [row.camel() for row in self.rows.values()]
        self.status["servers"] = [server.camel() for server in self.servers.values()][-MOST_SERVERS:]
        over = sum(row.state in OVER for row in self.rows.values())
        self.status["cellsProgress"] = f"{over}/{len(self.rows)}"

    def _forbidden(self) -> str | None:
        """What the administrator does not allow; asked before each server, for it may be taken back."""
        spec, found = self.matrix.spec, list[str]()
        for part, execution in (("server", spec.server.execution), ("runs", spec.runs.execution)):
            found += [said.replace("spec.", f"spec.{part}.") for said in forbidden(execution, self.facts.settings)]
        return "; ".join(found) or None

    # --- its models -------------------------------------------------------------------------------------------------

    def _models_are_there(self) -> bool:
        """Fetched once; from then on the store is what it is."""
        if self.status.get("modelsFetched") or not (wanted := plan_fetch(self.matrix, self.facts.settings)):
            return True
        name = fetch_name(self.matrix.metadata.name)
        job = self.facts.jobs.get(name)
        if (refused := self.refused) is not None and refused.passing:
            self.says(refused.reason, refused.message, LATER_S)
        elif refused is not None:
            self.finish(succeeded=False, reason=refused.reason, message=refused.message)
        elif job is not None:
            return self._fetched(name, job)
        elif self.matrix.spec.suspend:
            self.says("Suspended", "spec.suspend is true; no model is fetched")
        else:
            self.status.setdefault("startTime", self.now())
            self.decision.create_first += wanted
            self.says("FetchingModels", f"Job {name} fetches models into {self._store}")
        return False

    def _fetched(self, name: str, job: dict[str, Any]) -> bool:
        view = view_task(
            job, self.facts.pods.get(name), self.facts.now, unmade=self.facts.unmade.get(name, ""),
            startup_s=self.matrix.spec.runs.execution.startup_deadline_seconds, does="it fetches what is missing",
        )  # fmt: skip
        if view.state == "Ready":
            self.status["modelsFetched"] = True
            self.events.append(KubeEvent("Normal", "ModelsFetched", f"models are in {self._store}"))
        elif view.state == "Failed":
            if not is_over(job):
                self.decision.delete_jobs.append(name)
            self.finish(succeeded=False, reason="ModelsNotFetched", message=f"Job {name}: {view.message}")
        else:
            self.says("FetchingModels", f"Job {name}, into {self._store}: {view.message}", LATER_S)
        return view.state == "Ready"

    @property
    def _store(self) -> str:
        return f"claim {self.matrix.spec.store.claim_name}" if self.matrix.spec.store else "no store"

    # --- what is next -----------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if running := next((row for row in self.rows.values() if row.state == "Running"), None):
            self.says("Running", f"cell {running.name}: {running.reason}")
            return
        self.skip()
        waiting = [cell for cell in self.cells if self.rows[cell.name].state == "Waiting"]
        up = next((server for server in self.servers.values() if server.state in UP), None)
        suspended = self.matrix.spec.suspend
        if up is not None and (suspended or not waiting or _key(up) != waiting[0].server):
            self._stop(up, "Stopped")
            up = None
        if left := [*(self._left_over() if up is None else []), *self.code_left()]:
            self.says("ServerStopping", f"{', '.join(left)} is not gone yet")
        elif not waiting:
            self._end()
        elif suspended:
            self.says("Suspended", f"spec.suspend is true; {len(waiting)} cells wait")
        elif up is None:
            self._start(waiting)
        else:
            self._serve(up, waiting)

    def _start(self, waiting: list[Cell]) -> None:
        number, cell = max(self.servers, default=0) + 1, waiting[0]
        model, quantization, context, streams, way = cell.server
        if said := self._forbidden():
            self._refuse("NotAllowed", said)
            return
        name = names.server_name(self.matrix.metadata.name, number)
        if self.refused is not None:
            self.decision.delete_services.append(name)  # which was made before what was refused
            self._refused([each for each in waiting if each.server == cell.server])
            return
        self.status.setdefault("startTime", self.now())
        self.decision.create_first += plan_server(self.matrix, cell, number, self.facts.settings)
        self.servers[number] = MatrixServerStatus(
            number=number, model=model, quantization=quantization, context=context, streams=streams, way=way, state="Starting"
        )  # fmt: skip
        self.says("ServerStarting", f"{name}: {model} {quantization}")
        self.events.append(KubeEvent("Normal", "ServerStarted", f"{name}: {model} {quantization}, {context} tokens"))

    def _serve(self, server: MatrixServerStatus, waiting: list[Cell]) -> None:
        view, name = self.view(server), names.server_name(self.matrix.metadata.name, server.number)
        if view.state == "Failed":
            self._stop(server, "Failed", view.message)
            self.events.append(KubeEvent("Warning", "ServerFailed", f"{name}: {view.message}"))
            if not self._may_fare_better(server, view):
                self.over(
                    [each for each in waiting if each.server == _key(server)],
                    "Failed",
                    view.message,
                    beyond=view.beyond,
                )
            self.says("ServerStopping", f"{name}: {view.message}", SOON_S)
        elif view.state == "Starting":
            self.says("ServerStarting", f"{name}: {view.message}", SOON_S)
        elif self.refused is not None:
            self._refused(waiting[:1])
        else:
            self.servers[server.number] = server.model_copy(
                update={"state": "Serving", "load_milliseconds": server.load_milliseconds or view.load_ms}
            )
            self._make(server, waiting[0])

    def _may_fare_better(self, server: MatrixServerStatus, view: ServerView) -> bool:
        """A new one: where this one has served a cell, which is over now; or was taken away, as nodes are drained, but not time and again."""
        served = any(row.server == server.number for row in self.rows.values())
        starts = sum(each.state == "Failed" and _key(each) == _key(server) for each in self.servers.values())
        return served or (view.disrupted and starts < STARTS)

    def _make(self, server: MatrixServerStatus, cell: Cell) -> None:
        row = self.rows[cell.name]
        service, _ = plan_server(self.matrix, cell, server.number, self.facts.settings)  # it may have been taken away
        asks_code = cell.profile.kind == "code"
        load = (
            plan_ask(self.matrix, cell, server.number, self.facts.settings)
            if asks_code
            else plan_cell_run(self.matrix, cell, server.number)
        )
        self.decision.create_first += [service, load]
        self.rows[cell.name] = row.model_copy(update={"state": "Running", "server": server.number})
        self.says("Running", f"cell {cell.name}")
        self.events.append(KubeEvent("Normal", f"{'Job' if asks_code else 'Run'}Created", load["metadata"]["name"]))

    def _refused(self, cells: list[Cell]) -> None:
        """What the API server would not make: later, or never."""
        refused = self.refused
        assert refused is not None
        if refused.passing:
            self.says(refused.reason, refused.message, LATER_S)
            return
        self.over(cells, "Failed", refused.message)
        self.says(refused.reason, refused.message, 0.05)

    # --- servers ----------------------------------------------------------------------------------------------------

    def _stop(self, server: MatrixServerStatus, state: ServerPhase, message: str | None = None) -> None:
        name = names.server_name(self.meta["name"], server.number)
        self.decision.delete_services.append(name)
        self.decision.delete_jobs.append(name)
        said = message[:1024] if message else None
        self.servers[server.number] = server.model_copy(update={"state": state, "message": said})

    def _left_over(self) -> list[str]:
        """Servers of which something runs still, and of which none should: what is not being taken away yet is."""
        found = [name for name, job in self.facts.jobs.items() if names.role_of(job) == ROLE]
        self.decision.delete_jobs += [name for name in found if name not in self.decision.delete_jobs]
        found += [name for name, pod in self.facts.pods.items() if names.role_of(pod) == ROLE and name not in found]
        jobs, pods = self.facts.jobs, self.facts.pods
        return [name for name in found if not is_gone(jobs.get(name), pods.get(name), self.facts.now)]

    # --- words ------------------------------------------------------------------------------------------------------

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
