"""One decision about one object in the making: what every kind's life writes into, and what all lives have in common (pure)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tokenmark_schemas.run_status import Attempt, RunStatus

from ..observe.times import parse_time, stamp
from ..plan import names
from .admission import ADMITTED
from .conditions import ORDER, Conditions
from .facts import Decision, Facts, KubeEvent, RunFacts
from .status import read_status

ENDED = ("Succeeded", "Failed", "Disrupted")
WAIT_S = 10.0


class Step:
    """The status as it was, the conditions as they become; `closed` puts the decision together."""

    def __init__(self, facts: Facts, conditions: list[Any] | None, order: tuple[str, ...] = ORDER) -> None:
        self.given = facts
        self.meta = facts.cr["metadata"]
        self.status: dict[str, Any] = dict(facts.cr.get("status") or {})
        self.conditions = Conditions(conditions, self.meta.get("generation", 1), facts.now, order)
        self.events: list[KubeEvent] = []
        self.decision = Decision(status={})

    def closed(self) -> Decision:
        """Puts the status together."""
        self.status["observedGeneration"] = self.meta.get("generation", 1)
        self.status["conditions"] = [c.camel() for c in self.conditions.list()]
        self.decision.status, self.decision.events = self.status, self.events
        self.decision.job_uids = {name: job["metadata"]["uid"] for name, job in self.given.jobs.items()}
        return self.decision

    def wait(self, seconds: float) -> None:
        """The next visit: the soonest that anybody asked for."""
        planned = self.decision.requeue_s
        self.decision.requeue_s = seconds if planned is None else min(planned, seconds)

    def admit(self, message: str) -> None:
        """From now on this object holds its target."""
        self.status.setdefault(ADMITTED, self.now())
        self.conditions.set("Admitted", "True", "Admitted", message)

    def release(self) -> None:
        """Nothing of this object can be loading its target any more."""
        self.status.pop(ADMITTED, None)

    def stands_by(self, reason: str, message: str, *, warn: bool = False) -> None:
        """Not admitted, and why; said as an event when it begins."""
        if self.conditions["Admitted"].reason != reason:
            self.events.append(KubeEvent("Warning" if warn else "Normal", reason, message))
        self.conditions.set("Admitted", "False", reason, message)
        self.conditions.set("Succeeded", "Unknown", reason, message)

    def leaves_to_newer(self, fields: str) -> None:
        """Not begun, and not ended either: while an upgrade is under way the operator that knows these fields is seconds away."""
        said = f"{fields}: not known to this operator, while the CRD has it; a newer operator will take it up"
        self.conditions.set("Accepted", "False", "NewerSpec", said)
        self.conditions.set("Succeeded", "Unknown", "NewerSpec", said)
        self.wait(30.0)

    def refuse(self, reason: str, message: str) -> None:
        self.conditions.set("Accepted", "False", reason, message)
        self.finish(succeeded=False, reason=reason, message=message)

    def finish(self, *, succeeded: bool, reason: str, message: str) -> None:
        self.conditions.finish(succeeded=succeeded, reason=reason, message=message)
        self.status.setdefault("completionTime", self.now())
        for gone in ("queue", "progress"):
            self.status.pop(gone, None)
        self.events.append(KubeEvent("Normal" if succeeded else "Warning", reason, message[:1000]))
        self.decision.requeue_s = 0.0

    def outlive(self) -> None:
        """After the end: the time to live of Jobs and of the object itself, and a spec that was changed for it."""
        self.conditions.observed()
        self.decision.ttl_jobs = [
            name for name, job in self.given.jobs.items() if job["spec"].get("ttlSecondsAfterFinished") is None
        ]
        ttl = self.given.cr["spec"].get("ttlSecondsAfterFinished")
        done = parse_time(self.status.get("completionTime"))
        if ttl is None or done is None:
            return
        left = (done + timedelta(seconds=ttl) - self.given.now).total_seconds()
        self.decision.delete_self = left <= 0
        if left > 0:
            self.wait(left)

    def now(self) -> str:
        return stamp(self.given.now)


class RunStep(Step):
    """A run's step: attempts beside the rest."""

    def __init__(self, facts: RunFacts) -> None:
        existing = read_status(RunStatus, facts.cr.get("status"))
        super().__init__(facts, existing.conditions)
        self.facts = facts
        self.attempts: list[Attempt] = list(existing.attempts or [])
        self._had_ended = {attempt.number for attempt in self.attempts if attempt.state in ENDED}

    def closed(self) -> Decision:
        """What pods of an attempt met at goes when the attempt is over; the target is free when nothing loads it."""
        ended = [a for a in self.attempts if a.state in ENDED and a.number not in self._had_ended]
        if (self.facts.cr["spec"].get("execution") or {}).get("workers", 1) > 1:
            self.decision.delete_services += [names.meeting_name(attempt.job_name) for attempt in ended]
        if self.attempts:
            self.status["attempts"] = [a.camel() for a in self.attempts[-16:]]
        if self.conditions.is_true("Finished") and not any(a.load_ends_by for a in self.attempts):
            self.release()
        return super().closed()

    def replace(self, attempt: Attempt, **changes: Any) -> Attempt:
        """The attempt with changes, in its place in the list."""
        changed = attempt.model_copy(update=changes)
        self.attempts = [changed if a.number == attempt.number else a for a in self.attempts]
        return changed
