"""BenchmarkRun: facts -> decision. Pure; the whole life of a run is in this module.

    accept -> (suspended?) -> admit (queue, target) -> attempt n -> collect -> store -> finish

Every step is derived from what exists. Intent is in the status before a Job is made, results are stored before the
status says so, and a Job's time to live is set after that: killed at any instant, the next life does the rest.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.cost import CostFile
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.run import RunConfig
from tokenmark_schemas.run_status import Attempt, Queue
from tokenmark_schemas.support import unsupported_run
from tokenmark_schemas.workload import Workload, WorkloadSpec

from ..observe.times import parse_time, stamp
from ..plan import names
from ..plan.benchmark_job import plan_attempt, plan_config
from ..plan.support import forbidden
from ..shared.admission import ACTIVE, group_of, place_of, sharing_nodes
from ..shared.facts import Decision, KubeEvent, Refusal, RunFacts
from ..shared.status import read_object, unknown_in
from ..shared.step import WAIT_S
from . import run_results as results
from .run_network import NetworkStep


def read_run(cr: dict[str, Any]) -> BenchmarkRun | str:
    """The object as a model, or what is wrong with it."""
    return read_object(BenchmarkRun, cr)


def decide(facts: RunFacts) -> Decision:
    """One step of one run."""
    return _Life(facts).decide()


class _Life(NetworkStep):
    """The way from acceptance to the end."""

    def decide(self) -> Decision:
        if self.conditions.is_true("Finished"):
            self._after_the_end()
        elif self.facts.refused is not None:
            self._not_made(self.facts.refused)
        else:
            self._advance()
        return self.closed()

    # --- accept, suspend, admit -------------------------------------------------------------------------------------

    def _advance(self) -> None:
        run = read_run(self.facts.cr)
        current = self.attempts[-1] if self.attempts else None
        if isinstance(run, str):
            self._cannot_be_read(run, current)
            return
        if current is not None and current.state in ACTIVE and current.reason == "Suspended":
            self._suspend(current)  # to its end, even if it was resumed meanwhile
            return
        if current is not None and self._under_way(current):
            # what was accepted is not judged again: a refusal now would leave a load without its record
            if run.spec.suspend:
                self._suspend(current)
            else:
                self._go_on(run, current)
            return
        workload = self._workload(run)
        if workload is None:
            return
        refusal = self._refusal(run, workload)
        if refusal:
            self.refuse(*refusal)
            return
        if not self.conditions.is_true("Accepted"):
            self.conditions.set("Accepted", "True", "Accepted", _accepted_message(run, workload))
            self.events.append(KubeEvent("Normal", "Accepted", "the run is accepted"))
        if run.spec.suspend:
            self._suspend(current)
        elif current is not None and current.state == "Creating":
            self._create_again(run, workload, current)
        else:
            self._admit(run, workload)

    def _cannot_be_read(self, problem: str, current: Attempt | None) -> None:
        """A spec that this version does not understand: nothing of it begins, and what runs is stopped before it is let go."""
        if current is not None and current.state in ACTIVE and not self.stopped(current):
            self.conditions.set("Accepted", "False", "InvalidSpec", problem)
            self.conditions.set("Succeeded", "Unknown", "InvalidSpec", f"{problem}; stopping attempt {current.number}")
            return
        if current is not None and current.state in ACTIVE:
            self.replace(current, state="Failed", reason="InvalidSpec", message=problem[:1024], ended_at=self.now())
        self.refuse("InvalidSpec", problem)

    def _not_made(self, refusal: Refusal) -> None:
        """The API server would not make a child of this run."""
        current = self.attempts[-1] if self.attempts else None
        if refusal.kind == "ConfigMap" and refusal.name.endswith("-result"):
            results.not_stored(self, refusal)
            return
        if refusal.passing and current is not None and not self.too_late(current, refusal.message):
            self.conditions.set("Succeeded", "Unknown", refusal.reason, f"{refusal.message}; trying again")
            self.wait(WAIT_S)
            return
        if current is not None and current.state == "Creating":
            self.replace(
                current, state="Failed", reason=refusal.reason, message=refusal.message[:1024], ended_at=self.now()
            )
        if not self.conditions.is_true("Finished"):
            self.refuse(refusal.reason, refusal.message)

    def _under_way(self, current: Attempt) -> bool:
        """An attempt whose Job was made, or that ended by itself: only following and collecting are left."""
        if current.state in ACTIVE:
            return current.job_uid is not None or current.job_name in self.facts.jobs
        return current.state in ("Succeeded", "Failed") and current.reason != "Suspended"

    def _go_on(self, run: BenchmarkRun, current: Attempt) -> None:
        if current.state in ACTIVE:
            self.follow(run, current)
        else:
            results.collect_again(self, run, current)

    def _workload(self, run: BenchmarkRun) -> Workload | WorkloadSpec | None:
        """The workload of the run; None when the run was refused or waits for it."""
        if newer := unknown_in(BenchmarkRun, self.facts.cr):
            self.leaves_to_newer(newer)
            return None
        if run.spec.workload is not None:
            return run.spec.workload
        found = self.facts.workload
        if isinstance(found, Workload):
            return found
        self.refuse("WorkloadNotFound", found or "the run names no workload")
        return None

    def _refusal(self, run: BenchmarkRun, workload: Workload | WorkloadSpec) -> tuple[str, str] | None:
        stages = run.spec.stages or (workload.stages if isinstance(workload, Workload) else None)
        if stages is None:
            return "InvalidSpec", "spec.stages: is missing; an inline workload has no stages of its own"
        missing = unsupported_run(run.spec, workload, stages, in_cluster=True)
        if missing:
            return "NotSupportedYet", "not supported by this version yet: " + "; ".join(missing)
        if isinstance(self.facts.prices, str):
            return "NoPrices", self.facts.prices
        needs_word = forbidden(run.spec.execution, self.facts.settings)
        return ("Forbidden", "; ".join(needs_word)) if needs_word else None

    def _suspend(self, current: Attempt | None) -> None:
        """Ends what runs and discards it: a suspended run is not a paused measurement.

        The attempt ends once its pod has: until then it loads the target, and the next run waits.
        """
        active = current is not None and current.state in ACTIVE
        for attempt in list(self.attempts):
            if attempt.load_ends_by is not None and not self.lost_is_gone(attempt):
                self.wait(WAIT_S)
        if current is not None and active and not self.stopped(current):
            self.replace(current, reason="Suspended")
        elif current is not None and active:
            self.replace(
                current, state="Failed", reason="Suspended", message="suspended by spec.suspend", ended_at=self.now()
            )
            said = f"attempt {current.number} was ended, its data discarded"
            self.events.append(KubeEvent("Normal", "Suspended", said))
            active = False
        if not active and not any(attempt.load_ends_by for attempt in self.attempts):
            self.release()
        self.conditions.set("Admitted", "False", "Suspended", "spec.suspend is true; set it to false to go on")
        self.conditions.set("Succeeded", "Unknown", "Suspended", "suspended")
        self.status.pop("queue", None)
        self.status.pop("progress", None)
        if not active and not self.facts.cr["spec"].get("suspend"):
            self.decision.requeue_s = 0.0

    def _admit(self, run: BenchmarkRun, workload: Workload | WorkloadSpec) -> None:
        if self.facts.name_taken:
            said = f"{self.facts.name_taken} exists and belongs to somebody else; remove it or rename the run"
            self.refuse("NameConflict", said)
            return
        if self._waits_for_own_pods() or self._waits_in_queue(run) or self._waits_for_target(run):
            return
        if self._waits_for_probe() or self.waits_for_network(run):
            return
        self.status.pop("queue", None)
        number = len(self.attempts) + 1 if not self.attempts else self.attempts[-1].number + 1
        config = self._config(run, workload, number)
        if config is None:
            return
        self.attempts.append(
            Attempt(
                number=number,
                job_name=names.job_name(run.metadata.name, number),
                state="Creating",
                started_at=self.now(),
            )
        )
        self.status.setdefault("startTime", self.now())
        self.status["fingerprint"], self.status["workloadHash"] = config.fingerprint, config.workload_identity.hash
        self.status["workloadName"] = config.workload_identity.name
        self.status["environment"] = self._environment(run)
        self.said_of_network(config.network)
        self.admit(f"attempt {number} may load the target")
        if self.facts.target_nodes:
            self.status["targetNodes"] = sorted(self.facts.target_nodes)[:16]
        self.conditions.set("Succeeded", "Unknown", "Pending", f"attempt {number}: creating the Job")
        self.events.append(KubeEvent("Normal", "AttemptStarted", f"attempt {number}: Job {self.attempts[-1].job_name}"))
        self.decision.create += self._planned_attempt(run, config)
        self.wait(WAIT_S)

    def _planned_attempt(self, run: BenchmarkRun, config: RunConfig) -> list[dict[str, Any]]:
        return plan_attempt(run, config, self.facts.settings, group_of(self.facts.cr), self.source_node(run))

    def _config(self, run: BenchmarkRun, workload: Workload | WorkloadSpec, attempt: int) -> RunConfig | None:
        """What the runner is told; None when the run was refused."""
        try:
            return plan_config(
                run, attempt, self.facts.settings, workload=workload if isinstance(workload, Workload) else None,
                dataset=self.facts.dataset, detected=self._environment(run), network=self.network(run),
                prices=self.facts.prices if isinstance(self.facts.prices, CostFile) else None,
            )  # fmt: skip
        except ValueError as exc:
            self.refuse("InvalidSpec", str(exc))
        except InvalidInput as exc:
            self.refuse("NoPrices", str(exc))
        return None

    def _environment(self, run: BenchmarkRun) -> dict[str, str]:
        """Installation's defaults, then what the nodes tell, then what the user says."""
        settings = self.facts.settings
        defaults = {"provider": settings.provider, "region": settings.region, "cluster_label": settings.cluster}
        said = run.spec.environment
        named = said.model_dump(exclude_none=True, exclude={"labels", "instance_type", "accelerator"})
        for key, value in (("node_instance_type", said.instance_type), ("gpu_model", said.accelerator)):
            if value:
                named[key] = value
        merged = {**{k: v for k, v in defaults.items() if v}, **self.facts.detected, **named, **(said.labels or {})}
        return dict(list(merged.items())[:32])

    def _waits_for_own_pods(self) -> bool:
        """An earlier attempt was lost with its node and may still load the target."""
        for attempt in self.attempts:
            if attempt.state != "Disrupted" or attempt.load_ends_by is None:
                continue
            if self.lost_is_gone(attempt):
                continue
            message = (
                f"attempt {attempt.number} was lost with node {attempt.node}; no new load before its pod is known gone "
                f"or its own deadline {attempt.load_ends_by} has passed"
            )
            self.conditions.set("Admitted", "False", "WaitingForLostNode", message)
            self.conditions.set("Succeeded", "Unknown", "Disrupted", message)
            self.wait(WAIT_S)
            return True
        return False

    def _waits_in_queue(self, run: BenchmarkRun) -> bool:
        place = place_of(self.facts.cr, self.facts.others, self.facts.now, self.facts.target_pods)
        if place.position == 1:
            return False
        message = f"position {place.position}: {place.blocked_by} uses the same target; {place.reason}"
        if run.spec.exclusivity.policy == "Reject":
            self.refuse("TargetBusy", f"{place.blocked_by} uses the same target and exclusivity.policy is Reject")
            return True
        self.status["queue"] = Queue(position=place.position, blocked_by=place.blocked_by or "?").camel()
        self.stands_by("Queued", message)
        self.wait(WAIT_S)
        return True

    def _waits_for_probe(self) -> bool:
        """A network probe on the target's node and a load would measure each other."""
        strangers = [probe for probe in self.facts.strangers if not self.is_own(probe)]
        found = sharing_nodes(strangers, set(self.facts.target_nodes), self.facts.now)
        if found is None:
            return False
        name, nodes = found
        self.stands_by(
            "Queued", f"NetProbe {name} measures node {', '.join(nodes)}, which the target runs on; it goes first"
        )
        self.wait(WAIT_S)
        return True

    def _waits_for_target(self, run: BenchmarkRun) -> bool:
        """Until its Service exists and a pod behind that is ready: what is asked before is no measurement."""
        ref, missing = run.spec.target.service_ref, self.facts.target_exists is False
        if ref is None or not (missing or self.facts.target_unready):
            self.status.pop("targetMissingSince", None)
            return False
        wait_s = self.facts.settings.target_wait_s
        said = (
            f"does not exist in namespace {run.metadata.namespace}"
            if missing
            else f"cannot answer: {self.facts.target_unready}"
        )
        message = f"Service {ref.name} {said}"
        reason = "WaitingForTarget" if missing else "Preflight"
        waited = self.conditions["Admitted"].reason == reason  # a Service that has come has its own time to be ready
        since = (parse_time(self.status.get("targetMissingSince")) if waited else None) or self.facts.now
        self.status["targetMissingSince"] = stamp(since)
        if self.facts.now > since + timedelta(seconds=wait_s):
            ended = "TargetNotFound" if missing else "TargetNotReady"
            self.finish(succeeded=False, reason=ended, message=f"{message}; gave up after {wait_s} s")
            return True
        waiting = f"{message}; waiting up to {wait_s} s for it"
        self.stands_by(reason, waiting, warn=True)
        self.wait(min(WAIT_S, max(1.0, wait_s / 4)))
        return True

    def _create_again(self, run: BenchmarkRun, workload: Workload | WorkloadSpec, current: Attempt) -> None:
        """Recorded and never made: an earlier life was cut off in between, or its Job could not be made."""
        if self.too_late(current, "its Job could not be made"):
            return
        config = self._config(run, workload, current.number)
        if config is None:
            return
        self.decision.create += self._planned_attempt(run, config)
        self.wait(WAIT_S)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _after_the_end(self) -> None:
        """Time to live of the Job and of the run itself; a lost pod is watched until it is gone."""
        for attempt in list(self.attempts):
            if attempt.load_ends_by is not None and not self.lost_is_gone(attempt):
                self.wait(WAIT_S)
        self.outlive()


def _accepted_message(run: BenchmarkRun, workload: Workload | WorkloadSpec) -> str:
    name = workload.name if isinstance(workload, Workload) else "inline"
    stages = run.spec.stages or (workload.stages if isinstance(workload, Workload) else [])
    return f"workload {name}, {len(stages)} stages, {run.spec.repetitions} repetitions"
