"""A probe's result on its way to object stores: a Job carries it, its log has the receipt (pure)."""

from __future__ import annotations

from typing import Any

from tokenmark_schemas.netprobe import NetProbe

from ..observe.attempt import AttemptView, view_attempt
from ..observe.times import parse_time
from ..plan.store_job import plan_store, store_job_name
from ..plan.stores import sinks_of
from ..results.probe_results import artifact_of
from ..results.receipts import NEVER, artifacts_of, judged, receipts_of
from ..shared.facts import KubeEvent, Refusal
from .probe_visits import VisitStep

NOT_TRIED = "StoreNotTried"


class StoreStep(VisitStep):
    """What a probe's step does about stores."""

    def not_carried(self, refusal: Refusal) -> None:
        """The cluster will not have the Job: said once, and the probe ends without it."""
        said = f"the Job that uploads the results cannot be made: {refusal.reason}: {refusal.message}"
        self.conditions.set("ResultsStored", "False", NOT_TRIED, f"{said}. {self._again()}")
        self.events.append(KubeEvent("Warning", "ResultsNotStored", said[:1000]))
        self.decision.requeue_s = 0.0

    def _again(self) -> str:
        stored = (self.facts.stored or {"metadata": {"name": "RESULT"}})["metadata"]["name"]
        return f"To try again: kubectl get configmap {stored} -n {self.meta['namespace']} -o yaml | tokenmark results push -"

    def carried(self, probe: NetProbe, stored: dict[str, Any]) -> bool:
        """True once the stores were tried, or there are none; what became of it stands in the status."""
        said = ("True", "Stored", f"results are in ConfigMap {stored['metadata']['name']}")
        if not sinks_of(probe.spec.results):
            self.conditions.set("ResultsStored", *said)
            return True
        if self.facts.stored is None:  # nothing to mount yet
            self.decision.requeue_s = 0.0
            return False
        if self.conditions["ResultsStored"].reason == NOT_TRIED:
            return True
        name = store_job_name(probe.metadata.name)
        job = self.facts.jobs.get(name)
        if job is None:
            self.decision.create += plan_store(probe, artifact_of(stored), self.facts.settings)
            self._waits("creating the Job that uploads the results")
            return False
        pod = self._pod(job)
        blocks = self.facts.blocks.get(pod["metadata"]["uid"], {}) if pod else {}
        view = view_attempt(job, pod, blocks, None, self.facts.now, (), self.facts.unmade.get(name, ""))
        if self._goes_on(probe, job, view):
            return False
        receipts = receipts_of(None, blocks)
        status, reason, message = judged(probe.spec.results, receipts, said, self._again())
        if receipts is None:
            message = message.replace(NEVER, f"{view.reason}: {view.message}")
        if status == "False":
            self.events.append(KubeEvent("Warning", "ResultsNotStored", message[:1000]))
        self.status["artifacts"] = [*self.status["artifacts"], *(a.camel() for a in artifacts_of(receipts))]
        self.conditions.set("ResultsStored", status, reason, message[:4096])
        return True

    def _waits(self, message: str) -> None:
        self.conditions.set("Succeeded", "Unknown", "Storing", message)
        self.wait(2.0)

    def _goes_on(self, probe: NetProbe, job: dict[str, Any], view: AttemptView) -> bool:
        """Whether it may still bring a receipt; a pod that does not come to run is given up."""
        if view.state == "Pending":
            made = parse_time(job["metadata"].get("creationTimestamp")) or self.facts.now
            if (self.facts.now - made).total_seconds() > probe.spec.execution.startup_deadline_seconds:
                self.decision.delete_jobs.append(job["metadata"]["name"])
                return False
        elif view.state != "Running" and (view.pod_uid is None or view.pod_uid in self.facts.log_read or view.blocks):
            return False
        self._waits(f"uploading the results: {view.message}")
        return True
