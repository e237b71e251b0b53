"""NetProbe: facts -> decision. Pure; the same spine as a run: accept, admit, measure pair after pair, store, finish."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from tokenmark_schemas.netprobe import NetProbe, NetProbeResult, PairStatus, ProbeStatus, ProbeSummary
from tokenmark_schemas.problems import problems_of
from tokenmark_schemas.support import unsupported_probe

from .facts import Decision, KubeEvent
from .observe.attempt import AttemptView, view_attempt
from .observe.conditions import PROBE_ORDER, Conditions, parse_time, stamp
from .observe.exclusivity import is_finished
from .observe.probe_result import errors_of, plan_probe_result, read_probe_result, summarise_pair, totals
from .plan.netprobe_jobs import choose_pairs, client_name, plan_client, plan_server, server_name
from .plan.support import forbidden
from .settings import Settings


@dataclass(frozen=True)
class ProbeFacts:
    """Everything known about one NetProbe at one moment."""

    cr: dict[str, Any]
    now: datetime
    settings: Settings
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    blocks: dict[str, dict[str, bytes]] = field(default_factory=dict)
    log_read: frozenset[str] = frozenset()
    stored: dict[str, Any] | None = None
    nodes: list[dict[str, Any]] | None = None
    others: list[dict[str, Any]] = field(default_factory=list)


def read_probe(cr: dict[str, Any]) -> NetProbe | str:
    """The object as a model, or what is wrong with it."""
    try:
        return NetProbe.model_validate({k: cr[k] for k in ("apiVersion", "kind", "metadata", "spec")})
    except ValidationError as exc:
        return "; ".join(str(problem) for problem in problems_of(exc, NetProbe))


def decide_probe(facts: ProbeFacts) -> Decision:
    """One step of one probe."""
    return _ProbeStep(facts).decide()


class _ProbeStep:
    def __init__(self, facts: ProbeFacts) -> None:
        self.facts = facts
        self.status: dict[str, Any] = dict(facts.cr.get("status") or {})
        existing = ProbeStatus.model_validate(self.status) if self.status else ProbeStatus()
        generation = facts.cr["metadata"].get("generation", 1)
        self.conditions = Conditions(existing.conditions, generation, facts.now, PROBE_ORDER)
        self.pairs = list(existing.pairs or [])
        self.decision = Decision(status={})

    def decide(self) -> Decision:
        if self.conditions.is_true("Finished"):
            self._after_the_end()
        else:
            self._advance()
        self.status["observedGeneration"] = self.facts.cr["metadata"].get("generation", 1)
        self.status["conditions"] = [c.camel() for c in self.conditions.list()]
        if self.pairs:
            self.status["pairs"] = [p.camel() for p in self.pairs]
        self.decision.status = self.status
        return self.decision

    def _advance(self) -> None:
        probe = read_probe(self.facts.cr)
        if isinstance(probe, str):
            self._refuse("InvalidSpec", probe)
            return
        missing = unsupported_probe(probe.spec)
        if missing:
            self._refuse("NotSupportedYet", "not supported by this version yet: " + "; ".join(missing))
            return
        if needs_word := forbidden(probe.spec.execution, self.facts.settings):
            self._refuse("Forbidden", "; ".join(needs_word))
            return
        self.conditions.set(
            "Accepted", "True", "Accepted", f"{len(probe.spec.tests)} tests, {probe.spec.repetitions} repetitions"
        )
        if probe.spec.suspend:
            self._suspend()
        elif self._admitted(probe):
            self._measure(probe)

    def _refuse(self, reason: str, message: str) -> None:
        self.conditions.set("Accepted", "False", reason, message)
        self._finish(succeeded=False, reason=reason, message=message)

    def _suspend(self) -> None:
        self.decision.delete_jobs += list(self.facts.jobs)
        self.pairs = [p.model_copy(update={"state": "Pending"}) if p.state == "Running" else p for p in self.pairs]
        self.conditions.set("Admitted", "False", "Suspended", "spec.suspend is true; set it to false to go on")
        self.conditions.set("Succeeded", "Unknown", "Suspended", "suspended")

    def _admitted(self, probe: NetProbe) -> bool:
        """One probe of the cluster at a time: two would measure each other."""
        if self.pairs:
            self.conditions.set("Admitted", "True", "Admitted", f"{len(self.pairs)} pairs of nodes")
            return True
        if probe.spec.exclusivity.policy != "Allow" and (first := self._one_before()):
            message = f"{first} measures the network now and goes first"
            self.conditions.set("Admitted", "False", "Queued", message)
            self.conditions.set("Succeeded", "Unknown", "Queued", message)
            self.decision.requeue_s = 10.0
            return False
        if self.facts.nodes is None:
            self._refuse(
                "NodesForbidden", "the operator may not list nodes; install it with rbac.nodes=true to place a probe"
            )
            return False
        self.pairs = choose_pairs(probe.spec, self.facts.nodes)
        if not self.pairs:
            message = f"topology {probe.spec.placement.topology} needs more Ready, untainted nodes than there are"
            self.conditions.set("Admitted", "False", "NotEnoughNodes", message)
            self.conditions.set("Succeeded", "Unknown", "NotEnoughNodes", message)
            self.decision.requeue_s = 10.0
            return False
        self.status["pairsTotal"], self.status["startTime"] = len(self.pairs), self._now()
        self.conditions.set("Admitted", "True", "Admitted", f"{len(self.pairs)} pairs of nodes")
        self.decision.requeue_s = 0.0
        return True

    def _one_before(self) -> str | None:
        me = self.facts.cr["metadata"]
        rank = (me["creationTimestamp"], me["uid"])
        for other in self.facts.others:
            meta = other["metadata"]
            started = bool((other.get("status") or {}).get("pairs"))
            if (
                meta["uid"] == me["uid"]
                or is_finished(other)
                or other["spec"].get("suspend")
                or meta.get("deletionTimestamp")
            ):
                continue
            if started or (meta["creationTimestamp"], meta["uid"]) < rank:
                return f"{meta['namespace']}/{meta['name']}"
        return None

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
        self.conditions.set(
            "Succeeded",
            "Unknown",
            "Running",
            f"pair {pair.index} of {len(self.pairs)}: {pair.source_node} to {pair.target_node}",
        )
        self.decision.requeue_s = 5.0
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
        view = view_attempt(server, self.facts.pods.get(server["metadata"]["name"]), {}, None, self.facts.now)
        if view.state in ("Failed", "Disrupted", "Finished"):
            self._fail_pair(pair, f"the server agent ended: {view.message}")
        else:
            self.conditions.set("Succeeded", "Unknown", view.reason, f"pair {pair.index}: server agent: {view.message}")

    def _watch_client(self, probe: NetProbe, pair: PairStatus, client: dict[str, Any]) -> None:
        pod = self.facts.pods.get(client["metadata"]["name"])
        uid = pod["metadata"]["uid"] if pod else ""
        view = view_attempt(client, pod, self.facts.blocks.get(uid, {}), None, self.facts.now)
        if view.state in ("Pending", "Running"):
            return
        result = self._result_of(probe, view)
        if result is None and view.pod_uid is not None and view.pod_uid not in self.facts.log_read:
            self.decision.requeue_s = 1.0
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
        self.decision.events.append(KubeEvent("Warning", "PairFailed", f"pair {pair.index}: {message}"))
        self.decision.requeue_s = 0.0

    # --- results ----------------------------------------------------------------------------------------------------

    def _store(self, probe: NetProbe) -> None:
        if any(self._unread(probe, pair) for pair in self.pairs if pair.state == "Completed"):
            self.decision.requeue_s = 1.0  # after a restart the logs are read again
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
            rows: list[ProbeSummary] = [row for pair, result in found for row in summarise_pair(result, pair)]
            self.status["artifacts"] = [artifact.camel()]
            self.status["summary"] = [row.camel() for row in rows[:256]]
            self.status.update(totals(rows))
            self.conditions.set("ResultsStored", "True", "Stored", f"results are in ConfigMap {artifact.ref}")
        self.status["pairsCompleted"], self.status["pairsFailed"] = len(self.pairs) - len(failed), len(failed)
        if failed:
            self._finish(
                succeeded=False,
                reason="PairsFailed",
                message=f"{len(failed)} of {len(self.pairs)} pairs failed; {failed[0].message}",
            )
        else:
            self._finish(succeeded=True, reason="Completed", message=f"{len(self.pairs)} pairs measured")

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

    def _finish(self, *, succeeded: bool, reason: str, message: str) -> None:
        self.conditions.finish(succeeded=succeeded, reason=reason, message=message)
        self.status["completionTime"] = self._now()
        self.decision.delete_jobs += [name for name in self.facts.jobs if name.endswith("-server")]
        self.decision.events.append(KubeEvent("Normal" if succeeded else "Warning", reason, message[:1000]))
        self.decision.requeue_s = 0.0

    def _after_the_end(self) -> None:
        self.decision.ttl_jobs = [
            n for n, job in self.facts.jobs.items() if job["spec"].get("ttlSecondsAfterFinished") is None
        ]
        ttl, done = self.facts.cr["spec"].get("ttlSecondsAfterFinished"), parse_time(self.status.get("completionTime"))
        if ttl is not None and done is not None:
            left = (done + timedelta(seconds=ttl) - self.facts.now).total_seconds()
            self.decision.delete_self = left <= 0
            self.decision.requeue_s = left if left > 0 else None

    def _replace(self, pair: PairStatus, **changes: Any) -> None:
        self.pairs = [p.model_copy(update=changes) if p.index == pair.index else p for p in self.pairs]

    def _now(self) -> str:
        return stamp(self.facts.now)
