"""One decision about one run in the making: the status as it was, the conditions and attempts as they become (pure)."""

from __future__ import annotations

from typing import Any

from tokenmark_schemas.benchmarkrun import Attempt, RunStatus

from .facts import Decision, KubeEvent, RunFacts
from .observe.conditions import Conditions, stamp
from .plan import names

ENDED = ("Succeeded", "Failed", "Disrupted")


class RunStep:
    """What every part of a run's life writes into; `closed` puts the decision together."""

    def __init__(self, facts: RunFacts) -> None:
        self.facts = facts
        self.meta = facts.cr["metadata"]
        self.status: dict[str, Any] = dict(facts.cr.get("status") or {})
        existing = RunStatus.model_validate(self.status) if self.status else RunStatus()
        self.conditions = Conditions(existing.conditions, self.meta.get("generation", 1), facts.now)
        self.attempts: list[Attempt] = list(existing.attempts or [])
        self._had_ended = {attempt.number for attempt in self.attempts if attempt.state in ENDED}
        self.events: list[KubeEvent] = []
        self.decision = Decision(status={})

    def closed(self) -> Decision:
        """Puts the status together. What pods of an attempt met at goes when the attempt is over."""
        ended = [a for a in self.attempts if a.state in ENDED and a.number not in self._had_ended]
        if (self.facts.cr["spec"].get("execution") or {}).get("workers", 1) > 1:
            self.decision.delete_services += [names.meeting_name(attempt.job_name) for attempt in ended]
        self.status["observedGeneration"] = self.meta.get("generation", 1)
        self.status["conditions"] = [c.camel() for c in self.conditions.list()]
        if self.attempts:
            self.status["attempts"] = [a.camel() for a in self.attempts[-16:]]
        self.decision.status = self.status
        self.decision.events = self.events
        return self.decision

    def refuse(self, reason: str, message: str) -> None:
        self.conditions.set("Accepted", "False", reason, message)
        self.finish(succeeded=False, reason=reason, message=message)

    def finish(self, *, succeeded: bool, reason: str, message: str) -> None:
        self.conditions.finish(succeeded=succeeded, reason=reason, message=message)
        self.status["completionTime"] = self.now()
        for gone in ("queue", "progress"):
            self.status.pop(gone, None)
        self.events.append(KubeEvent("Normal" if succeeded else "Warning", reason, message[:1000]))
        self.decision.requeue_s = 0.0

    def replace(self, attempt: Attempt, **changes: Any) -> Attempt:
        """The attempt with changes, in its place in the list."""
        changed = attempt.model_copy(update=changes)
        self.attempts = [changed if a.number == attempt.number else a for a in self.attempts]
        return changed

    def now(self) -> str:
        return stamp(self.facts.now)
