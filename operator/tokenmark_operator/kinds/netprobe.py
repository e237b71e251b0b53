"""NetProbe: facts -> decision. Pure; the same spine as a run: accept, admit, measure visit after visit, store, finish."""

from __future__ import annotations

from typing import Any

from tokenmark_schemas.netprobe import NetProbe
from tokenmark_schemas.probe_result import NetProbeResult, ProbeVerdict
from tokenmark_schemas.probe_status import OVER, PairStatus
from tokenmark_schemas.support import unsupported_probe

from ..observe.times import parse_time, stamp
from ..plan import names
from ..plan.netprobe_jobs import service_name
from ..plan.netprobe_pairs import choose_visits
from ..plan.store_job import store_job_name
from ..plan.support import forbidden
from ..results.probe_results import (
    artifact_of,
    judge_objectives,
    plan_probe_result,
    summarised,
    whole,
)
from ..shared.admission import first_in_line, holds_target, may_run, sharing_nodes
from ..shared.facts import Decision, ProbeFacts, Refusal
from ..shared.status import read_object, unknown_in
from ..shared.step import WAIT_S
from .probe_store import StoreStep
from .run_results import STORE_PATIENCE_S

UNREACHABLE = "no answer from the agent"


def read_probe(cr: dict[str, Any]) -> NetProbe | str:
    """The object as a model, or what is wrong with it."""
    return read_object(NetProbe, cr)


def decide_probe(facts: ProbeFacts) -> Decision:
    """One step of one probe."""
    return _ProbeStep(facts).decide()


class _ProbeStep(StoreStep):
    def decide(self) -> Decision:
        if self.conditions.is_true("Finished"):
            self.outlive()
        elif self.facts.refused is not None:
            self._not_made(self.facts.refused)
        else:
            self._go_on()
        self.count_visits()
        if self.conditions.is_true("Finished") and self._load_is_over():
            self.release()
        elif self.conditions.is_true("Finished"):
            self.wait(WAIT_S)
        return self.closed()

    # --- accept, suspend, admit -------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        probe = read_probe(self.facts.cr)
        begun = holds_target(self.facts.cr, (), self.facts.now)
        if isinstance(probe, str):
            self._stop_and_refuse("InvalidSpec", probe)
        elif not begun and (newer := unknown_in(NetProbe, self.facts.cr)):
            self.leaves_to_newer(newer)
        elif missing := unsupported_probe(probe.spec):
            self._stop_and_refuse("NotSupportedYet", "not supported by this version yet: " + "; ".join(missing))
        elif needs_word := forbidden(probe.spec.execution, self.facts.settings):
            self._stop_and_refuse("Forbidden", "; ".join(needs_word))
        elif named := self._forbidden_host_network(probe):
            self._stop_and_refuse("HostNetworkForbidden", named)
        else:
            said = f"{len(probe.spec.tests)} tests, {probe.spec.repetitions} repetitions"
            self.conditions.set("Accepted", "True", "Accepted", said)
            if probe.spec.suspend:
                self._suspend()
            elif self._admitted(probe):
                self._measure(probe)

    def _forbidden_host_network(self, probe: NetProbe) -> str | None:
        named = [test.name for test in probe.spec.tests if test.path == "NodeToNode"]
        if not named or self.facts.settings.host_network:
            return None
        return (
            f"tests {', '.join(named)}: NodeToNode runs agents in the nodes' own network, which this operator does not allow "
            "(chart value netprobe.hostNetwork), and the namespace's Pod Security has to allow too"
        )

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
        stores = refusal.kind == "ConfigMap" and refusal.name.endswith(("-result", "-pair"))
        since = parse_time(self.status.get("refusedSince")) or self.facts.now
        self.status["refusedSince"] = stamp(since)
        waited = (self.facts.now - since).total_seconds()
        startup_s = (self.facts.cr["spec"].get("execution") or {}).get("startupDeadlineSeconds", 600)
        if not (refusal.passing or stores) or waited > (STORE_PATIENCE_S if stores else startup_s):
            self._give_up(refusal)
            return
        if stores:  # the Jobs, and with them the logs, stay until then
            self.conditions.set("ResultsStored", "False", refusal.reason, f"{refusal.message}; trying again")
        self.conditions.set("Succeeded", "Unknown", refusal.reason, f"{refusal.message}; trying again")
        self.wait(min(60.0, max(WAIT_S, waited / 4)))

    def _give_up(self, refusal: Refusal) -> None:
        """What was measured is stored, where anything was and where there is a place for it."""
        if refusal.name.startswith(store_job_name(self.meta["name"])):
            self.status.pop("refusedSince", None)
            self.not_carried(refusal)
        elif refusal.name.endswith("-result"):  # the Jobs stay for their time, and what each visit found with them
            self.finish(succeeded=False, reason=refusal.reason, message=refusal.message)
        elif any(v.state == "Completed" for v in self.visits):
            self.status.pop("refusedSince", None)
            self.fail_the_rest(f"{refusal.reason}: {refusal.message}")
            self.decision.requeue_s = 0.0
        else:
            self._stop_and_refuse(refusal.reason, refusal.message)

    def _load_is_over(self) -> bool:
        """No agent can be running any more."""
        return not any(may_run(pod, self.facts.now) for pod in self.facts.pods.values())

    def _suspend(self) -> None:
        """Stops what runs; what was measured stays, what was under way is measured again."""
        done = {visit.index for visit in self.visits if visit.state in OVER}
        self.decision.delete_jobs += [name for name, job in self.facts.jobs.items() if names.visit_of(job) not in done]
        self.visits = [v.model_copy(update={"state": "Pending"}) if v.state == "Running" else v for v in self.visits]
        if self._load_is_over():
            self.release()
        else:
            self.wait(1.0)
        self.conditions.set("Admitted", "False", "Suspended", "spec.suspend is true; set it to false to go on")
        self.conditions.set("Succeeded", "Unknown", "Suspended", "suspended")

    def _admitted(self, probe: NetProbe) -> bool:
        """One probe of the cluster at a time, and none beside a load on its nodes: they would measure each other."""
        if holds_target(self.facts.cr, (), self.facts.now):
            self.admit(f"{len(self.visits)} visits of pairs of nodes")
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
        return self._placed(probe, exclusive=exclusive)

    def _placed(self, probe: NetProbe, *, exclusive: bool) -> bool:
        if self.facts.nodes is None:
            said = "the operator may not list nodes; install it with rbac.nodes=true to place a probe"
            self.refuse("NodesForbidden", said)
            return False
        chosen = choose_visits(probe.spec, self.facts.nodes)
        visits = self.visits or chosen.visits
        if not visits:
            said = f"topology {probe.spec.placement.topology} needs more Ready, untainted nodes than there are"
            self.stands_by("NotEnoughNodes", said)
            self.wait(WAIT_S)
            return False
        nodes = {node for v in visits for node in (v.source_node, v.target_node) if node is not None}
        if exclusive and (found := sharing_nodes(self.facts.strangers, nodes, self.facts.now)):
            said = f"BenchmarkRun {found[0]} loads node {', '.join(found[1])}; it goes first"
            self.stands_by("Queued", said)
            self.wait(WAIT_S)
            return False
        if not self.visits:
            self.visits = visits
            self.status["pairsTotal"], self.status["pairsOf"] = chosen.pairs, chosen.pairs_of
            if chosen.how:
                self.status["chosen"] = f"{chosen.pairs} of {chosen.pairs_of} pairs: {chosen.how}"
        self.status.setdefault("startTime", self.now())
        self.admit(f"{len(self.visits)} visits of pairs of nodes")
        self.decision.requeue_s = 0.0
        return True

    # --- measure, store, finish -------------------------------------------------------------------------------------

    def _measure(self, probe: NetProbe) -> None:
        running = [v for v in self.visits if v.state == "Running"]
        if running and "refusedSince" not in self.status:  # else what keeps an agent from being made stands there
            said = ", ".join(f"{v.source_node} to {v.target_node or 'targets'}" for v in running[:3])
            self.conditions.set("Succeeded", "Unknown", "Running", f"measuring {said}")
        over = self.advance_visits(probe)
        if not self.decision.create:
            self.status.pop("refusedSince", None)
        if over and self.facts.visits_read:
            self._store(probe)
        elif over:  # what is kept of them is read for the next step
            self.decision.requeue_s = 0.0

    def _store(self, probe: NetProbe) -> None:
        """Everything in one place, once every visit's own result is there."""
        found = []
        for visit in self.visits:
            result = self.kept(probe, visit)
            if result is not None:
                found.append((visit, result))
            elif visit.state == "Completed":
                self._replace(visit, state="Failed", message="what was kept of it cannot be read any more")
        failed = [v for v in self.visits if v.state == "Failed"]
        if not found:
            self._finish_without(failed)
            return
        document = whole(
            probe, found, created_at=self.now(), environment=self._environment(probe),
            pairs_of=self.status.get("pairsOf", len(found)), chosen=self.status.get("chosen", "all of them"),
        )  # fmt: skip
        stored = self.facts.stored
        if stored is None:
            stored = plan_probe_result(probe, document)
            self.decision.create_first.append(stored)
        artifact = artifact_of(stored)
        self.status.update(summarised(found))
        self.status["artifacts"] = [artifact.camel()]
        self.conditions.set("Valid", *_valid(document.verdict))
        if self.carried(probe, stored):
            self._conclude(probe, found, failed)

    def _environment(self, probe: NetProbe) -> dict[str, str]:
        settings, said = self.facts.settings, probe.spec.environment
        facts = {
            "provider": said.provider or settings.provider, "region": said.region or settings.region,
            "cluster": settings.cluster,
        }  # fmt: skip
        return {name: value for name, value in facts.items() if value}

    def _conclude(
        self, probe: NetProbe, found: list[tuple[PairStatus, NetProbeResult]], failed: list[PairStatus]
    ) -> None:
        objectives = probe.spec.objectives or []
        judged = judge_objectives(objectives, found, complete=not failed)
        missed = [(o, j) for o, j in zip(objectives, judged, strict=True) if j.met == "False"]
        if judged:
            self.status["objectives"] = [j.camel() for j in judged]
        said = "; ".join(f"{j.metric} {j.statistic} is {j.worst} ({j.pair})" for _, j in missed)
        unknown = [f"{j.metric} {j.statistic}" for j in judged if j.met == "Unknown"]
        if missed:
            self.conditions.set("ObjectivesMet", "False", "ObjectiveViolated", said)
        elif unknown:
            self.conditions.set("ObjectivesMet", "Unknown", "NotMeasured", f"no figure for {', '.join(unknown)}")
        elif judged:
            self.conditions.set("ObjectivesMet", "True", "AllMet", f"all {len(judged)} objectives are met")
        else:
            self.conditions.set("ObjectivesMet", "Unknown", "NoObjectives", "the probe sets no objectives")
        if failed:
            self._finish_without(failed)
        elif any(o.on_violation == "Fail" for o, _ in missed):
            self.finish(succeeded=False, reason="ObjectiveViolated", message=said)
        else:
            done = f"{len(self.visits)} visits, verdict {self.conditions['Valid'].message.split(':')[0]}"
            self.finish(succeeded=True, reason="Completed", message=done)

    def _finish_without(self, failed: list[PairStatus]) -> None:
        """Some visits have nothing to show; the first says why."""
        messages = [v.message or "its result could not be read any more" for v in failed] or ["no result could be read"]
        kept_apart = all(UNREACHABLE in message for message in messages)
        self.finish(
            succeeded=False,
            reason="PeerUnreachable" if kept_apart else "PairsFailed",
            message=f"{len(failed)} of {len(self.visits)} visits failed; {messages[0]}",
        )

    def finish(self, *, succeeded: bool, reason: str, message: str) -> None:
        super().finish(succeeded=succeeded, reason=reason, message=message)
        self.decision.delete_jobs += [name for name in self.facts.jobs if name.endswith("-server")]
        cut_off = [v.index for v in self.visits if v.state == "Running"]
        self.decision.delete_services += [service_name(self.meta["name"], index) for index in cut_off]


def _valid(verdict: ProbeVerdict) -> tuple[str, str, str]:
    """(status, reason, message) of Valid: degraded is still True, and says why."""
    if not verdict.reasons:
        return "True", "Valid", "valid: the network was measured, not its ends"
    worst = next((r for r in verdict.reasons if r.verdict == verdict.verdict), verdict.reasons[0])
    said = f"{verdict.verdict}: {'; '.join(r.message for r in verdict.reasons)}"
    return "False" if verdict.verdict == "invalid" else "True", worst.reason, said
