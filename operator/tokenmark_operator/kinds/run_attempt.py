"""One attempt of a run: followed, given up where it does not begin, ended, and known to be over before anybody else may load
the target (pure).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.run_status import Attempt

from ..observe.attempt import AttemptView, is_over, job_condition, pod_is_gone, view_attempt
from ..observe.times import parse_time, stamp
from ..results.config_map import best_block
from ..shared.admission import may_run
from ..shared.facts import KubeEvent
from ..shared.step import WAIT_S, RunStep
from . import run_results as results

RUNNING_S = 60.0  # watches and the log tell of everything sooner


class AttemptStep(RunStep):
    """What a run's step knows of its attempts."""

    def follow(self, run: BenchmarkRun, current: Attempt) -> None:
        job = self.facts.jobs.get(current.job_name)
        if job is None:
            self._without_job(current)
            return
        pod = self.facts.pods.get(current.job_name)
        uid = pod["metadata"]["uid"] if pod else ""
        view = view_attempt(
            job, pod, self.facts.blocks.get(uid, {}), self.facts.progress.get(uid), self.facts.now,
            self.facts.team.get(current.job_name, ()), self.facts.unmade.get(current.job_name, ""),
        )  # fmt: skip
        current = self.replace(current, job_uid=job["metadata"]["uid"], pod_uid=view.pod_uid, node=view.node)
        match view.state:
            case "Pending" | "Running":
                self._goes_on(current, view)
            case "Disrupted":
                self._disrupted(run, current, view)
            case _:
                results.ended(self, run, current, view)

    def _without_job(self, current: Attempt) -> None:
        """The Job was there and is not: deleted by somebody. Its pod may still be ending."""
        reason, message = (
            "JobDeleted",
            f"Job {current.job_name} was deleted by somebody; make a new run to measure again",
        )
        if current.reason and current.message:  # by us, and that is why
            reason, message = current.reason, current.message
        if not self.load_is_over(current):
            self.conditions.set("Succeeded", "Unknown", reason, f"{message}; waiting for its pod to end")
            self.wait(1.0)
            return
        self.replace(current, state="Failed", reason=reason, message=message, ended_at=self.now())
        self.finish(succeeded=False, reason=reason, message=message)

    def _goes_on(self, current: Attempt, view: AttemptView) -> None:
        if view.state == "Pending" and self.too_late(current, view.message):
            return
        state = "Running" if view.state == "Running" else "Pending"
        if state != current.state:
            self.replace(current, state=state)
        self.status["progress"] = view.message[:256]
        self.conditions.set("Succeeded", "Unknown", view.reason, f"attempt {current.number}: {view.message}")
        told_to_end = any(pod["metadata"].get("deletionTimestamp") for pod in self._pods(current.job_name))
        self.wait(RUNNING_S if state == "Running" and not told_to_end else WAIT_S)

    def _disrupted(self, run: BenchmarkRun, current: Attempt, view: AttemptView) -> None:
        final = best_block({k: v for k, v in view.blocks.items() if k == "result"}, run.metadata.uid)
        if final is not None and not final[0].run.interrupted:
            results.store(self, run, current, *final, view)  # it had finished before it was taken away
            return
        if view.reason == "PodLost" and view.pod_uid not in self.facts.log_read and not view.blocks:
            self.conditions.set("Succeeded", "Unknown", "Collecting", f"attempt {current.number}: reading the log")
            self.wait(1.0)
            return
        may_load = not all(map(pod_is_gone, self._pods(current.job_name)))
        self.replace(
            current, state="Disrupted", reason=view.reason, message=view.message[:1024], ended_at=self.now(),
            load_ends_by=self._load_ends_by(current) if may_load else None,
        )  # fmt: skip
        self.events.append(KubeEvent("Warning", view.reason, f"attempt {current.number}: {view.message}"))
        tried = sum(attempt.reason != "Suspended" for attempt in self.attempts)
        if run.spec.execution.retry_on and tried < run.spec.execution.max_attempts:
            self.conditions.set(
                "Succeeded", "Unknown", "Disrupted", f"attempt {current.number}: {view.message}; trying again"
            )
            self.decision.requeue_s = 0.0
            return
        partial = best_block(view.blocks, run.metadata.uid)
        if partial is not None:
            results.keep(self, run, *partial, view)
        self.finish(
            succeeded=False, reason=view.reason, message=f"attempt {current.number}: {view.message}; no attempts left"
        )

    def stopped(self, current: Attempt) -> bool:
        """Deletes the attempt's Job; True once nothing of it can be loading the target."""
        self.decision.delete_jobs += [name for name, job in self.facts.jobs.items() if not is_over(job)]
        if self.load_is_over(current) and not self.decision.delete_jobs:
            return True
        self.wait(1.0)
        return False

    def too_late(self, current: Attempt, why: str) -> bool:
        """Ends an attempt that does not come to run: the target must not be held by what never loads it."""
        execution = self.facts.cr["spec"].get("execution") or {}
        limit = timedelta(seconds=execution.get("startupDeadlineSeconds", 600))
        job = self.facts.jobs.get(current.job_name) or {}
        if (job.get("spec") or {}).get("suspend") or job_condition(
            job, "Suspended"
        ):  # a queue holds it back, or just let go
            return False
        began = (
            parse_time((job.get("status") or {}).get("startTime")) or parse_time(current.started_at) or self.facts.now
        )
        if self.facts.now < began + limit:
            self.wait((began + limit - self.facts.now).total_seconds() + 0.5)
            return False
        message = f"attempt {current.number} did not come to run within {int(limit.total_seconds())} s: {why}"
        if self.stopped(current):
            self.replace(
                current, state="Failed", reason="StartupDeadlineExceeded", message=message[:1024], ended_at=self.now()
            )
            self.finish(succeeded=False, reason="StartupDeadlineExceeded", message=message)
        else:
            self.replace(
                current, reason="StartupDeadlineExceeded", message=message[:1024]
            )  # whatever becomes of its Job
            self.conditions.set("Succeeded", "Unknown", "StartupDeadlineExceeded", message)
        return True

    def load_is_over(self, current: Attempt) -> bool:
        """No pod of the attempt can be loading the target any more, or its own deadline has passed."""
        pods, job = self._pods(current.job_name), self.facts.jobs.get(current.job_name)
        if not pods:
            return job is None or is_over(job)
        return not any(may_run(pod, self.facts.now) for pod in pods)

    def lost_is_gone(self, attempt: Attempt) -> bool:
        """Clears a lost attempt once its pod is gone or its deadline has passed."""
        until = parse_time(attempt.load_ends_by)
        if all(map(pod_is_gone, self._pods(attempt.job_name))) or (until is not None and until <= self.facts.now):
            self.replace(attempt, load_ends_by=None)
            return True
        return False

    def _load_ends_by(self, current: Attempt) -> str:
        """The runner stops by itself at its own deadline, counted from its start; the Job's is the outer bound."""
        job = (self.facts.jobs.get(current.job_name) or {}).get("spec", {})
        own = ((job.get("template") or {}).get("spec") or {}).get("activeDeadlineSeconds")
        theirs = [pod["spec"].get("activeDeadlineSeconds") for pod in self._pods(current.job_name)]
        seconds = max(filter(None, theirs), default=None) or own or job.get("activeDeadlineSeconds", 86_400)
        starts = [parse_time(pod.get("status", {}).get("startTime")) for pod in self._pods(current.job_name)]
        last = max((start for start in starts if start is not None), default=self.facts.now)
        return stamp(last + timedelta(seconds=seconds))

    def _pods(self, job: str) -> list[dict[str, Any]]:
        """All pods of an attempt that are known, the leading one first."""
        lead = self.facts.pods.get(job)
        return [*([lead] if lead else []), *self.facts.team.get(job, [])]
