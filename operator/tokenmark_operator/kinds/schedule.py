"""BenchmarkSchedule: facts -> decision. Pure: when it is due, what becomes of the run before, and which finished ones stay.

The run is made before the status says so: an operator killed in between makes it again under the same name, which is none twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tokenmark_schemas.schedule import BenchmarkSchedule, ScheduleStatus

from ..observe.conditions import condition
from ..observe.cron import last_due, next_due, problem
from ..observe.times import parse_time, stamp
from ..plan.scheduled_run import plan_scheduled_run, run_name
from ..shared.admission import is_finished
from ..shared.facts import Decision, KubeEvent, ScheduleFacts
from ..shared.status import read_object, read_status, unknown_in
from ..shared.step import Step

CONDITIONS = ("Accepted", "Scheduled")
LOOK_S = 60.0  # its history is looked at so often at least


def decide_schedule(facts: ScheduleFacts) -> Decision:
    """One step of one schedule."""
    return _ScheduleStep(facts).decide()


class _ScheduleStep(Step):
    def __init__(self, facts: ScheduleFacts) -> None:
        self.existing = read_status(ScheduleStatus, facts.cr.get("status"))
        super().__init__(facts, self.existing.conditions, CONDITIONS)
        self.facts = facts
        self.active = [run for run in facts.runs if not is_finished(run)]

    def decide(self) -> Decision:
        schedule = read_object(BenchmarkSchedule, self.facts.cr)
        wrong = schedule if isinstance(schedule, str) else problem(schedule.spec.cron, schedule.spec.time_zone)
        if newer := unknown_in(BenchmarkSchedule, self.facts.cr):
            self._refuse("NewerSpec", f"{newer}: not known to this operator, while the CRD has it")
        elif wrong or isinstance(schedule, str):
            self._refuse("InvalidSpec", str(wrong))
        else:
            self.conditions.set(
                "Accepted", "True", "Accepted", f"{schedule.spec.schedule} in {schedule.spec.time_zone}"
            )
            self._go_on(schedule)
            self._tidy(schedule)
        self.status["active"] = sorted(run["metadata"]["name"] for run in self.active)[:64]
        return self.closed()

    def _refuse(self, reason: str, message: str) -> None:
        self.conditions.set("Accepted", "False", reason, message)
        self.conditions.set("Scheduled", "False", reason, "nothing is scheduled")
        self.status.pop("nextScheduleTime", None)
        self.wait(LOOK_S)

    # --- the clock --------------------------------------------------------------------------------------------------

    def _go_on(self, schedule: BenchmarkSchedule) -> None:
        spec, now = schedule.spec, self.facts.now
        since = parse_time(self.existing.last_schedule_time) or parse_time(self.meta["creationTimestamp"]) or now
        due = last_due(spec.cron, spec.time_zone, now, since)
        following = next_due(spec.cron, spec.time_zone, now)
        self.status["nextScheduleTime"] = stamp(following)
        self.wait(max(1.0, min(LOOK_S, (following - now).total_seconds())))
        if spec.suspend:
            self.conditions.set("Scheduled", "False", "Suspended", "spec.suspend is true")
            self.status.pop("nextScheduleTime")
        elif due is not None:
            self._due(schedule, due)
        elif self.conditions["Scheduled"].reason in ("Pending", "Suspended", "InvalidSpec", "NewerSpec"):
            self.conditions.set("Scheduled", "True", "Waiting", "nothing was due yet")

    def _due(self, schedule: BenchmarkSchedule, due: datetime) -> None:
        spec, said = schedule.spec, stamp(due)
        late = self.facts.now - due
        if spec.starting_deadline_seconds is not None and late > timedelta(seconds=spec.starting_deadline_seconds):
            self._left_out(
                said, "Missed", f"the run due at {said} was missed by {late.total_seconds():.0f} s, and is left out"
            )
        elif self.active and spec.concurrency_policy == "Forbid":
            before = self.active[0]["metadata"]["name"]
            self._left_out(said, "StillRunning", f"the run due at {said} is left out: {before} goes on")
        elif self.facts.refused is not None:
            self._left_out(said, self.facts.refused.reason, self.facts.refused.message)
        else:
            self._make(schedule, due, said)

    def _left_out(self, due: str, reason: str, message: str) -> None:
        self.status["lastScheduleTime"] = due
        self.conditions.set("Scheduled", "False", reason, message)
        self.events.append(KubeEvent("Warning", reason, message))

    def _make(self, schedule: BenchmarkSchedule, due: datetime, said: str) -> None:
        name = run_name(schedule.metadata.name, due)
        if schedule.spec.concurrency_policy == "Replace":
            self.decision.delete_runs += [
                run["metadata"]["name"] for run in self.active if run["metadata"]["name"] != name
            ]
        self.decision.create_first.append(plan_scheduled_run(schedule, self.facts.cr["spec"]["template"], due, said))
        self.status["lastScheduleTime"] = said
        self.conditions.set("Scheduled", "True", "Scheduled", f"run {name} for {said}")
        self.events.append(KubeEvent("Normal", "RunCreated", f"run {name} for {said}"))

    # --- the history ------------------------------------------------------------------------------------------------

    def _tidy(self, schedule: BenchmarkSchedule) -> None:
        over = sorted((run for run in self.facts.runs if is_finished(run)), key=_ended, reverse=True)
        good, bad = [run for run in over if _succeeded(run)], [run for run in over if not _succeeded(run)]
        if good:
            self.status["lastSuccessfulTime"] = _ended(good[0])
        for kept, limit in (
            (good, schedule.spec.successful_runs_history_limit),
            (bad, schedule.spec.failed_runs_history_limit),
        ):
            self.decision.delete_runs += [run["metadata"]["name"] for run in kept[limit:]]


def _ended(run: dict[str, Any]) -> str:
    return str(run["status"].get("completionTime") or run["metadata"].get("creationTimestamp") or "")


def _succeeded(run: dict[str, Any]) -> bool:
    return condition(run, "Succeeded").get("status") == "True"
