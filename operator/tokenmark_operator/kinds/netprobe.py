"""NetProbe: facts -> decision. Pure; the same spine as a run: accept, admit, measure pair after pair, store, finish."""

from __future__ import annotations

from typing import Any

from tokenmark_schemas.netprobe import NetProbe, NetProbeResult, PairStatus, ProbeStatus, ProbeSummary
from tokenmark_schemas.support import unsupported_probe

from ..observe.attempt import AttemptView, view_attempt
from ..observe.times import parse_time, stamp
from ..plan.netprobe_jobs import choose_pairs, client_name, plan_client, plan_server, server_name
from ..plan.support import forbidden
from ..results.probe_config_map import errors_of, plan_probe_result, read_probe_result, summarise_pair, totals
from ..shared.admission import first_in_line, holds_target, may_run, sharing_nodes
from ..shared.conditions import PROBE_ORDER
from ..shared.facts import Decision, KubeEvent, ProbeFacts, Refusal
from ..shared.status import read_object, read_status
from ..shared.step import WAIT_S, Step
from .run_results import STORE_PATIENCE_S


def read_probe(cr: dict[str, Any]) -> NetProbe | str:
    """The object as a model, or what is wrong with it."""
    return read_object(NetProbe, cr)


def decide_probe(facts: ProbeFacts) -> Decision:
    """One step of one probe."""
    return _ProbeStep(facts).decide()


class _ProbeStep(Step):
    order = PROBE_ORDER

    def __init__(self, facts: ProbeFacts) -> None:
        existing = read_status(ProbeStatus, facts.cr.get("status"))
        super().__init__(facts, existing.conditions)
        self.facts = facts
        self.pairs = list(existing.pairs or [])

    def decide(self) -> Decision:
        if self.conditions.is_true("Finished"):
            self.outlive()
        elif self.facts.refused is not None:
            self._not_made(self.facts.refused)
        else:
            self._advance()
        if self.pairs:
            self.status["pairs"] = [p.camel() for p in self.pairs]
        if self.conditions.is_true("Finished") and self._load_is_over():
            self.release()
        elif self.conditions.is_true("Finished"):
            self.wait(WAIT_S)
        return self.closed()

    def _advance(self) -> None:
        probe = read_probe(self.facts.cr)
        if isinstance(probe, str):
            self._stop_and_refuse("InvalidSpec", probe)
            return
        missing = unsupported_probe(probe.spec)
        if missing:
            self._stop_and_refuse("NotSupportedYet", "not supported by this version yet: " + "; ".join(missing))
            return
        if needs_word := forbidden(probe.spec.execution, self.facts.settings):
            self._stop_and_refuse("Forbidden", "; ".join(needs_word))
            return
        said = f"{len(probe.spec.tests)} tests, {probe.spec.repetitions} repetitions"
        self.conditions.set("Accepted", "True", "Accepted", said)
        if probe.spec.suspend:
            self._suspend()
        elif self._admitted(probe):
            self._measure(probe)

    def _stop_and_refuse(self, reason: str, message: str) -> None:
        """Whatever runs is stopped before the probe is let go."""
        self.decision.delete_jobs += list(self.facts.jobs)
        if self._load_is_over():
            self.refuse(reason, message)
            return
        self.conditions.set("Accepted", "False", reason, message)
        self.conditions.set("Succeeded", "Unknown", reason, f"{message}; stopping its agents")
        self.wait(1.0)

    def _not_made(self, refusal: Refusal) -> None:
        """The API server would not make a child of this probe."""
        stores = refusal.kind == "ConfigMap" and refusal.name.endswith("-result")
        since = parse_time(self.status.get("refusedSince")) or self.facts.now
        self.status["refusedSince"] = stamp(since)
        waited = (self.facts.now - since).total_seconds()
        patience = (
            STORE_PATIENCE_S
            if stores
            else self.facts.cr["spec"].get("execution", {}).get("startupDeadlineSeconds", 600)
        )
        if not (refusal.passing or stores) or waited > patience:
            self._stop_and_refuse(refusal.reason, refusal.message)
            return
        probe = read_probe(self.facts.cr)
        if stores and isinstance(probe, NetProbe):  # the Jobs, and with them the logs, stay until then
            self._tell([(pair, result) for pair in self.pairs if (result := self._captured(probe, pair)) is not None])
            self.conditions.set("ResultsStored", "False", refusal.reason, f"{refusal.message}; trying again")
        self.conditions.set("Succeeded", "Unknown", refusal.reason, f"{refusal.message}; trying again")
        self.wait(min(60.0, max(WAIT_S, waited / 4)))

    def _load_is_over(self) -> bool:
        """No agent can be running any more."""
        return not any(may_run(pod, self.facts.now) for pod in self.facts.pods.values())

    def _suspend(self) -> None:
        self.decision.delete_jobs += list(self.facts.jobs)
        self.pairs = [p.model_copy(update={"state": "Pending"}) if p.state == "Running" else p for p in self.pairs]
        if self._load_is_over():
            self.release()
        else:
            self.wait(1.0)
        self.conditions.set("Admitted", "False", "Suspended", "spec.suspend is true; set it to false to go on")
        self.conditions.set("Succeeded", "Unknown", "Suspended", "suspended")

    def _admitted(self, probe: NetProbe) -> bool:
        """One probe of the cluster at a time, and none beside a load on its nodes: they would measure each other."""
        if holds_target(self.facts.cr, (), self.facts.now) or (self.pairs and self.facts.jobs):
            self.admit(f"{len(self.pairs)} pairs of nodes")
            return True
        if self.facts.name_taken:
            said = f"{self.facts.name_taken} exists and belongs to somebody else; remove it or rename the probe"
            self.refuse("NameConflict", said)
            return False
        exclusive = probe.spec.exclusivity.policy != "Allow"
        if exclusive and (first := first_in_line(self.facts.cr, self.facts.others, self.facts.now)):
            self.stands_by("Queued", f"{first} measures the network now and goes first")
            self.wait(WAIT_S)
            return False
        if self.facts.nodes is None:
            said = "the operator may not list nodes; install it with rbac.nodes=true to place a probe"
            self.refuse("NodesForbidden", said)
            return False
        pairs = self.pairs or choose_pairs(probe.spec, self.facts.nodes)
        if not pairs:
            said = f"topology {probe.spec.placement.topology} needs more Ready, untainted nodes than there are"
            self.stands_by("NotEnoughNodes", said)
            self.wait(WAIT_S)
            return False
        nodes = {node for pair in pairs for node in (pair.source_node, pair.target_node)}
        if exclusive and (found := sharing_nodes(self.facts.strangers, nodes, self.facts.now)):
            said = f"BenchmarkRun {found[0]} loads node {', '.join(found[1])}; it goes first"
            self.stands_by("Queued", said)
            self.wait(WAIT_S)
            return False
        self.pairs = pairs
        self.status["pairsTotal"] = len(self.pairs)
        self.status.setdefault("startTime", self.now())
        self.admit(f"{len(self.pairs)} pairs of nodes")
        self.decision.requeue_s = 0.0
        return True

    # --- pairs ------------------------------------------------------------------------------------------------------

    def _measure(self, probe: NetProbe) -> None:
        """The first pair that is not done; all done, the results are stored."""
        pair = next((p for p in self.pairs if p.state in ("Pending", "Running")), None)
        if pair is None:
            self._store(probe)
            return
        server = self.facts.jobs.get(server_name(probe.metadata.name, pair.index))
        client = self.facts.jobs.get(client_name(probe.metadata.name, pair.index))
        self._replace(pair, state="Running")
        if server is not None:  # until there is one, what keeps it from being made stands there
            self.status.pop("refusedSince", None)
            said = f"pair {pair.index} of {len(self.pairs)}: {pair.source_node} to {pair.target_node}"
            self.conditions.set("Succeeded", "Unknown", "Running", said)
        self.wait(5.0)
        if client is not None:
            self._watch_client(probe, pair, client)
        elif server is None:
            self.decision.create.append(plan_server(probe, pair, self.facts.settings))
        elif (address := self._server_address(server)) is not None:
            self.decision.create += plan_client(probe, pair, address, self.facts.settings)
        else:
            self._watch_server(pair, server)

    def _server_address(self, server: dict[str, Any]) -> str | None:
        pod = self.facts.pods.get(server["metadata"]["name"])
        if pod is None or pod.get("gone") or pod.get("status", {}).get("phase") != "Running":
            return None
        address = pod["status"].get("podIP")
        return str(address) if address else None

    def _watch_server(self, pair: PairStatus, server: dict[str, Any]) -> None:
        name = server["metadata"]["name"]
        view = view_attempt(
            server, self.facts.pods.get(name), {}, None, self.facts.now, (), self.facts.unmade.get(name, "")
        )
        if view.state in ("Failed", "Disrupted", "Finished"):
            self._fail_pair(pair, f"the server agent ended: {view.message}")
        else:
            self.conditions.set("Succeeded", "Unknown", view.reason, f"pair {pair.index}: server agent: {view.message}")

    def _watch_client(self, probe: NetProbe, pair: PairStatus, client: dict[str, Any]) -> None:
        pod = self.facts.pods.get(client["metadata"]["name"])
        uid = pod["metadata"]["uid"] if pod else ""
        unmade = self.facts.unmade.get(client["metadata"]["name"], "")
        view = view_attempt(client, pod, self.facts.blocks.get(uid, {}), None, self.facts.now, (), unmade)
        if view.state in ("Pending", "Running"):
            if view.state == "Pending":
                self.conditions.set(
                    "Succeeded", "Unknown", view.reason, f"pair {pair.index}: client agent: {view.message}"
                )
            return
        result = self._result_of(probe, view)
        if result is None and view.pod_uid is not None and view.pod_uid not in self.facts.log_read:
            self.wait(1.0)
            return
        server = server_name(probe.metadata.name, pair.index)
        if server in self.facts.jobs:
            self.decision.delete_jobs.append(server)
        self.decision.requeue_s = 0.0
        if result is None:
            self._fail_pair(pair, f"{view.reason}: {view.message}")
        elif problems := errors_of(result):
            self._fail_pair(pair, problems[0])
        else:
            self._replace(pair, state="Completed", message=None)

    @staticmethod
    def _result_of(probe: NetProbe, view: AttemptView) -> NetProbeResult | None:
        payload = view.blocks.get("result")
        return read_probe_result(payload, probe.metadata.uid) if payload else None

    def _fail_pair(self, pair: PairStatus, message: str) -> None:
        self._replace(pair, state="Failed", message=message[:512])
        self.events.append(KubeEvent("Warning", "PairFailed", f"pair {pair.index}: {message}"))
        self.decision.requeue_s = 0.0

    # --- results ----------------------------------------------------------------------------------------------------

    def _store(self, probe: NetProbe) -> None:
        if any(self._unread(probe, pair) for pair in self.pairs if pair.state == "Completed"):
            self.wait(1.0)  # after a restart the logs are read again
            return
        for pair in self.pairs:
            if pair.state == "Completed" and self._captured(probe, pair) is None:
                self._fail_pair(pair, "it was measured, but its result could not be read from the log any more")
        found = [(pair, result) for pair in self.pairs if (result := self._captured(probe, pair)) is not None]
        failed = [pair for pair in self.pairs if pair.state == "Failed"]
        if found:
            manifest, artifact = plan_probe_result(probe, [result for _, result in found])
            if self.facts.stored is None:
                self.decision.create_first.append(manifest)
            self._tell(found)
            self.status["artifacts"] = [artifact.camel()]
            self.conditions.set("ResultsStored", "True", "Stored", f"results are in ConfigMap {artifact.ref}")
        self.status["pairsCompleted"], self.status["pairsFailed"] = len(self.pairs) - len(failed), len(failed)
        if failed:
            self.finish(
                succeeded=False,
                reason="PairsFailed",
                message=f"{len(failed)} of {len(self.pairs)} pairs failed; {failed[0].message}",
            )
        else:
            self.finish(succeeded=True, reason="Completed", message=f"{len(self.pairs)} pairs measured")

    def _tell(self, found: list[tuple[PairStatus, NetProbeResult]]) -> None:
        """What was measured, into the status."""
        rows: list[ProbeSummary] = [row for pair, result in found for row in summarise_pair(result, pair)]
        self.status["summary"] = [row.camel() for row in rows[:256]]
        self.status.update(totals(rows))

    def _unread(self, probe: NetProbe, pair: PairStatus) -> bool:
        pod = self.facts.pods.get(client_name(probe.metadata.name, pair.index))
        return (
            pod is not None
            and self._captured(probe, pair) is None
            and pod["metadata"]["uid"] not in self.facts.log_read
        )

    def _captured(self, probe: NetProbe, pair: PairStatus) -> NetProbeResult | None:
        pod = self.facts.pods.get(client_name(probe.metadata.name, pair.index))
        payload = self.facts.blocks.get(pod["metadata"]["uid"], {}).get("result") if pod else None
        return read_probe_result(payload, probe.metadata.uid) if payload else None

    def finish(self, *, succeeded: bool, reason: str, message: str) -> None:
        super().finish(succeeded=succeeded, reason=reason, message=message)
        self.decision.delete_jobs += [name for name in self.facts.jobs if name.endswith("-server")]

    def _replace(self, pair: PairStatus, **changes: Any) -> None:
        self.pairs = [p.model_copy(update=changes) if p.index == pair.index else p for p in self.pairs]
