"""From a runner that ended to a stored result: read, verify, store, conclude; results before the status (pure)."""

from __future__ import annotations

from typing import Literal

from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.run_status import Attempt

from ..observe.attempt import AttemptView, pod_is_gone
from ..observe.times import parse_time, stamp
from ..results import baseline
from ..results.config_map import (
    Stored,
    best_block,
    cost_summary,
    fails_objectives,
    headline,
    objective_outcomes,
    objectives_condition,
    plan_result,
    stored_result,
    summarise,
    valid_condition,
)
from ..results.receipts import artifacts_of, awaited, judged, receipts_of
from ..shared.facts import KubeEvent, Refusal
from ..shared.step import RunStep

STORE_PATIENCE_S = 3600.0


def ended(step: RunStep, run: BenchmarkRun, current: Attempt, view: AttemptView) -> None:
    """The runner ended by itself, or will not give a result any more."""
    found = best_block(view.blocks, run.metadata.uid)
    waiting = view.pod_uid is not None and view.pod_uid not in step.facts.log_read
    if waiting and (found is None or "result" not in view.blocks or _detail_missing(run, view)):
        _reads_on(step, current)
        return
    if found is not None:
        store(step, run, current, *found, view)
    elif view.state == "Failed":
        _fail(step, current, view)
    else:
        _lost(step, current, view)


def _reads_on(step: RunStep, current: Attempt) -> None:
    step.conditions.set("Succeeded", "Unknown", "Collecting", f"attempt {current.number}: reading the runner's log")
    step.wait(1.0)


def _detail_missing(run: BenchmarkRun, view: AttemptView) -> bool:
    return run.spec.results.detail != "Summary" and "requests" not in view.blocks


def _fail(step: RunStep, current: Attempt, view: AttemptView) -> None:
    step.replace(current, state="Failed", reason=view.reason, message=view.message[:1024], ended_at=step.now())
    step.finish(succeeded=False, reason=view.reason, message=view.message)


def _lost(step: RunStep, current: Attempt, view: AttemptView) -> None:
    said = f"; its termination message says: {view.summary.model_dump_json(exclude_none=True)}" if view.summary else ""
    message = f"the runner ended but its result could not be read from the log{said}"
    step.replace(current, state="Failed", reason="ResultsLost", message=message[:1024], ended_at=step.now())
    step.conditions.set("ResultsStored", "False", "ResultsLost", message)
    step.finish(succeeded=False, reason="ResultsLost", message=message)


def store(
    step: RunStep, run: BenchmarkRun, current: Attempt, result: RunResult, payload: bytes, view: AttemptView
) -> None:
    """Results first: the status speaks of them only once the ConfigMap is there, with the receipts of the stores in it."""
    unread = view.pod_uid is not None and view.pod_uid not in step.facts.log_read
    if step.facts.stored is None and unread and awaited(run.spec.results, view.blocks):
        _reads_on(step, current)
        return
    if step.facts.stored is None:
        _planned(step, run, result, payload, view)
        step.conditions.set("Succeeded", "Unknown", "Collecting", f"attempt {current.number}: storing the result")
        step.decision.requeue_s = 0.0
        return
    keep(step, run, result, payload, view)
    _conclude(step, run, current, _of_record(step, run, result), view)


def _of_record(step: RunStep, run: BenchmarkRun, fresh: RunResult) -> RunResult:
    """What is in the ConfigMap is the result, whoever put it there."""
    found = stored_result(step.facts.stored or {"metadata": {}}, run.metadata.uid)
    return found[0] if found else fresh


def _planned(step: RunStep, run: BenchmarkRun, result: RunResult, payload: bytes, view: AttemptView) -> Stored:
    """The ConfigMap that keeps a result; asked for where it is not there yet."""
    dropped = (step.facts.progress.get(view.pod_uid or "") or {}).get("dropped")
    receipts = receipts_of(step.facts.stored, view.blocks)
    against = baseline.judged(run, result, step.facts.baseline) if step.facts.stored is None else None
    stored = plan_result(
        run, result, payload, view.blocks.get("requests"), dropped, receipts, further=baseline.written(against)
    )
    if step.facts.stored is None:
        step.decision.create_first.append(stored.manifest)
    return stored


def keep(step: RunStep, run: BenchmarkRun, result: RunResult, payload: bytes, view: AttemptView) -> None:
    """Summary and artifacts into the status; makes the ConfigMap where it is missing."""
    stored = _planned(step, run, result, payload, view)
    receipts = receipts_of(step.facts.stored, view.blocks)
    step.status["artifacts"] = [artifact.camel() for artifact in [*stored.artifacts, *artifacts_of(receipts)]]
    job = step.attempts[-1].job_name
    again = f"To try again while the Job is kept: kubectl logs -n {run.metadata.namespace} job/{job} | tokenmark results push -"
    said = judged(run.spec.results, receipts, ("True", stored.reason, stored.message), again)
    if said[0] == "False":
        step.events.append(KubeEvent("Warning", "ResultsNotStored", said[2][:1000]))
    step.conditions.set("ResultsStored", *said)
    step.status.pop("notStoredSince", None)
    tell(step, result)
    _tell_of_baseline(step, run)


def not_stored(step: RunStep, refusal: Refusal) -> None:
    """The sink refuses: said at once, tried again ever less often. The Job, and with it the log that holds the result, stays
    until then; after an hour the run ends without."""
    since = parse_time(step.status.get("notStoredSince")) or step.facts.now
    step.status["notStoredSince"] = stamp(since)
    step.conditions.set("ResultsStored", "False", refusal.reason, f"{refusal.message}; trying again")
    step.conditions.set("Succeeded", "Unknown", "Collecting", f"the result cannot be stored: {refusal.message}")
    waited = (step.facts.now - since).total_seconds()
    current = step.attempts[-1]
    pod = step.facts.pods.get(current.job_name)
    blocks = step.facts.blocks.get(pod["metadata"]["uid"], {}) if pod else {}
    if (found := best_block(blocks, step.meta["uid"])) is not None:
        tell(step, found[0])
        step.status.setdefault("completionTime", step.now())
    if all(map(pod_is_gone, step.facts.pods.values())):
        step.release()  # nothing of it loads the target any more: whoever waits may go
    if waited < STORE_PATIENCE_S:
        step.wait(min(60.0, max(2.0, waited / 4)))
        return
    step.replace(
        current, state="Failed", reason="ResultsNotStored", message=refusal.message[:1024], ended_at=step.now()
    )
    step.finish(succeeded=False, reason="ResultsNotStored", message=refusal.message)


def tell(step: RunStep, result: RunResult) -> None:
    """What a result says, into the status."""
    step.status["summary"] = [stage.camel() for stage in summarise(result)]
    if (spent := cost_summary(result)) is not None:
        step.status["cost"] = spent.camel()
    step.status["headline"] = headline(result).camel()
    step.status["objectives"] = [o.camel() for o in objective_outcomes(result)]
    step.conditions.set("Valid", *valid_condition(result))
    step.conditions.set("ObjectivesMet", *objectives_condition(result))


def _tell_of_baseline(step: RunStep, run: BenchmarkRun) -> None:
    ref, found = run.spec.baseline_ref, baseline.kept(step.facts.stored)
    if ref is None or found is None:
        return
    step.conditions.set("NotRegressed", *baseline.condition(ref, found))
    step.status["comparison"] = [line.camel() for line in baseline.lines(found)]


def collect_again(step: RunStep, run: BenchmarkRun, current: Attempt) -> None:
    """An attempt has ended and the run has not: an earlier life was cut off between the two writes."""
    if current.state == "Failed":
        step.finish(
            succeeded=False, reason=current.reason or "RunnerError", message=current.message or "the attempt failed"
        )
        return
    found = stored_result(step.facts.stored or {"metadata": {}}, run.metadata.uid)
    if found is not None:
        _conclude(step, run, current, found[0], None)
    else:
        message = "the attempt had ended well, but its result ConfigMap is gone"
        step.finish(succeeded=False, reason="ResultsLost", message=message)


def _conclude(step: RunStep, run: BenchmarkRun, current: Attempt, result: RunResult, view: AttemptView | None) -> None:
    why = _broken_off(result, view) if view is not None else None
    reason = why[0] if why else "Completed"
    state: Literal["Succeeded", "Failed"] = "Failed" if why else "Succeeded"
    step.replace(current, state=state, reason=reason, message=None, ended_at=step.now())
    if why:
        step.finish(succeeded=False, reason=reason, message=f"{why[1]}; what was measured before is kept")
    elif said := baseline.failure(run.spec.baseline_ref, baseline.kept(step.facts.stored)):
        step.finish(succeeded=False, reason="Regressed", message=said)
    elif fails_objectives(result):
        step.finish(succeeded=False, reason="ObjectiveViolated", message=objectives_condition(result)[2])
    else:
        step.finish(succeeded=True, reason="Completed", message=_completed_message(result))


def _broken_off(result: RunResult, view: AttemptView) -> tuple[str, str] | None:
    """(reason, message) where a result is only a part of what was planned; None where it is all."""
    if not result.run.interrupted:
        return None
    if view.state == "Failed":
        return view.reason, view.message
    if "result" not in view.blocks:
        return "ResultsLost", "the runner ended, but of its log only an earlier repetition's result could be read"
    return None


def _completed_message(result: RunResult) -> str:
    requests = sum(stage.requests.succeeded for stage in result.stages)
    return f"{len(result.stages)} stages, {requests} requests, verdict {result.verdict.state}"
