"""Visits of a probe: a server agent, a client agent, a result that is stored before the visit counts as done (pure)."""

from __future__ import annotations

from typing import Any

from tokenmark_decisions.probe_pair import unmeasured
from tokenmark_schemas.netprobe import NetProbe
from tokenmark_schemas.probe_result import NetProbeResult
from tokenmark_schemas.probe_status import OVER, PairStatus, ProbeStatus

from ..observe.attempt import AttemptView, view_attempt
from ..observe.times import parse_time
from ..plan.netprobe_jobs import client_name, plan_client, plan_server, server_name, service_name, tests_of
from ..results.probe_results import plan_visit_result, read_probe_result
from ..shared.facts import KubeEvent, ProbeFacts
from ..shared.status import read_status
from ..shared.step import Step

LOOK_S = 5.0
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"  # the Job controller's own label


class VisitStep(Step):
    """The visits of one probe, and one step of each that is under way."""

    def __init__(self, facts: ProbeFacts) -> None:
        existing = read_status(ProbeStatus, facts.cr.get("status"))
        super().__init__(facts, existing.conditions)
        self.facts = facts
        self.visits = list(existing.pairs or [])
        self._told = list(self.visits)

    def advance_visits(self, probe: NetProbe) -> bool:
        """Those under way, then those that may begin beside them. Returns True when all are over."""
        for visit in [v for v in self.visits if v.state == "Running"]:
            self._advance(probe, visit)
        for visit in self.visits:
            running = [v for v in self.visits if v.state == "Running"]
            if visit.state != "Pending" or len(running) >= probe.spec.pairs.max_concurrent:
                continue
            if any(other.round != visit.round for other in running):
                break  # a round is over before the next begins: pairs of one are disjoint, of two they need not be
            self._advance(probe, self._replace(visit, state="Running"))
        self.wait(LOOK_S)
        return all(v.state in OVER for v in self.visits)

    def _advance(self, probe: NetProbe, visit: PairStatus) -> None:
        server = self.facts.jobs.get(server_name(probe.metadata.name, visit.index))
        client = self.facts.jobs.get(client_name(probe.metadata.name, visit.index))
        known = self.kept(probe, visit)
        if known is not None:  # kept by a step that was cut off before it could say so
            self._measured(probe, visit, known, "it ended")
        elif client is not None:
            self._watch_client(probe, visit, client)
        elif visit.target_node is None:
            self.decision.create += plan_client(probe, visit, None, self.facts.settings)
        elif server is None:
            self.decision.create += plan_server(probe, visit, self.facts.settings)
        elif (address := self._ready_address(server)) is not None:
            where = (address, server["metadata"]["uid"])
            self.decision.create += plan_client(probe, visit, where, self.facts.settings)
        else:
            self._watch_server(probe, visit, server)

    def kept(self, probe: NetProbe, visit: PairStatus) -> NetProbeResult | None:
        """What stands of a visit in its own place."""
        payload = self.facts.visit_results.get(visit.index)
        return read_probe_result(payload, probe.metadata.uid) if payload else None

    def _pod(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """The pod of this very Job: a visit that is made again has Jobs of the same names, and pods of the earlier ones are
        remembered."""
        pod = self.facts.pods.get(job["metadata"]["name"])
        labels = (pod or {"metadata": {}})["metadata"].get("labels") or {}
        return pod if labels.get(CONTROLLER_UID) == job["metadata"]["uid"] else None

    def _ready_address(self, server: dict[str, Any]) -> str | None:
        pod = self._pod(server)
        status = (pod or {}).get("status", {})
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
        if pod is None or pod.get("gone") or not ready or not status.get("podIP"):
            return None
        return str(status["podIP"])

    def _watch_server(self, probe: NetProbe, visit: PairStatus, server: dict[str, Any]) -> None:
        name = server["metadata"]["name"]
        unmade = self.facts.unmade.get(name, "")
        view = view_attempt(server, self._pod(server), {}, None, self.facts.now, (), unmade)
        if view.state in ("Failed", "Disrupted", "Finished"):
            self._over(probe, visit, failed=f"{view.reason}: the server agent ended: {view.message}")
        else:
            self._begins(probe, visit, server, view, "server")

    def _begins(self, probe: NetProbe, visit: PairStatus, job: dict[str, Any], view: AttemptView, agent: str) -> None:
        """An agent that does not answer yet: said in the cluster's words, and not waited for without end."""
        made, limit = (
            parse_time(job["metadata"].get("creationTimestamp")),
            probe.spec.execution.startup_deadline_seconds,
        )
        said = f"{agent} agent: {view.reason}: {view.message}"
        if made is not None and (self.facts.now - made).total_seconds() > limit:
            self._over(probe, visit, failed=f"StartupDeadlineExceeded: not ready within {limit} s; {said}")
        elif view.state == "Pending":
            self.conditions.set("Succeeded", "Unknown", view.reason, f"{_named(visit)}: {said}")

    def _watch_client(self, probe: NetProbe, visit: PairStatus, client: dict[str, Any]) -> None:
        name = client["metadata"]["name"]
        pod = self._pod(client)
        blocks = self.facts.blocks.get(pod["metadata"]["uid"], {}) if pod else {}
        unmade = self.facts.unmade.get(name, "")
        view = view_attempt(client, pod, blocks, None, self.facts.now, (), unmade)
        if view.state == "Running":
            return
        if view.state == "Pending":
            self._begins(probe, visit, client, view, "client")
            return
        payload = view.blocks.get("result")
        result = read_probe_result(payload, probe.metadata.uid) if payload else None
        said = f"{view.reason}: {view.message}"
        if result is not None:
            self.decision.create_first.append(plan_visit_result(probe, visit, result, client))
            self._measured(probe, visit, result, said)
        elif view.pod_uid is not None and view.pod_uid not in self.facts.log_read and view.reason != "NodeLost":
            self.wait(1.0)  # the log of a node that does not answer is not waited for
        else:
            self._over(probe, visit, failed=said)

    def _measured(self, probe: NetProbe, visit: PairStatus, result: NetProbeResult, ended: str) -> None:
        missing = unmeasured(result)
        failed = f"{ended}; {missing}" if missing and result.interrupted else missing
        self._over(probe, visit, result=result, failed=failed)

    def _over(
        self, probe: NetProbe, visit: PairStatus, *, failed: str | None, result: NetProbeResult | None = None
    ) -> None:
        """Its result is there, or will never be; the server agent goes, and a client that has nothing to say."""
        name, index = probe.metadata.name, visit.index
        gone = [server_name(name, index), *([client_name(name, index)] if result is None else [])]
        self.decision.delete_jobs += [job for job in gone if job in self.facts.jobs]
        if any(test.way == "PodToService" for test in tests_of(probe, visit)):
            self.decision.delete_services.append(service_name(name, index))
        if failed is not None:
            self.events.append(KubeEvent("Warning", "PairFailed", f"{_named(visit)}: {failed}"))
        self._replace(
            visit, state="Failed" if failed else "Completed", message=failed[:512] if failed else None,
            verdict=result.verdict.verdict if result else None,
        )  # fmt: skip
        self.decision.requeue_s = 0.0

    def _replace(self, visit: PairStatus, **changes: Any) -> PairStatus:
        changed = visit.model_copy(update=changes)
        self.visits = [changed if v.index == visit.index else v for v in self.visits]
        return changed

    def fail_the_rest(self, message: str) -> None:
        """Visits that are not over will not be made any more; what the others found stays."""
        for visit in [v for v in self.visits if v.state not in OVER]:
            of_visit = (server_name(self.meta["name"], visit.index), client_name(self.meta["name"], visit.index))
            self.decision.delete_jobs += [job for job in of_visit if job in self.facts.jobs]
            self._replace(visit, state="Failed", message=message[:512])

    def count_visits(self) -> None:
        """Into the status: the visits, where one of them changed, and how many of them are over. What a newer operator wrote
        of them stays."""
        if not self.visits:
            return
        over = [v for v in self.visits if v.state in OVER]
        failed = [v for v in over if v.state == "Failed"]
        if self.visits != self._told:
            told = {entry.get("index"): entry for entry in self.status.get("pairs") or []}
            ours = {field.alias for field in PairStatus.model_fields.values()}
            self.status["pairs"] = [
                {**{k: v for k, v in told.get(visit.index, {}).items() if k not in ours}, **visit.camel()}
                for visit in self.visits
            ]
        self.status["pairsCompleted"], self.status["pairsFailed"] = len(over) - len(failed), len(failed)
        self.status["pairsProgress"] = f"{len(over)}/{len(self.visits)}"


def _named(visit: PairStatus) -> str:
    return f"pair {visit.index} ({visit.source_node} to {visit.target_node or 'targets'})"
