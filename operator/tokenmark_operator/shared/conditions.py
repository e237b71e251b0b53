"""Conditions: written in a fixed order, with a transition time that moves only when the status does."""

from __future__ import annotations

from datetime import datetime

from tokenmark_schemas.kube import Condition

from ..observe.times import stamp

ORDER = ("Accepted", "Admitted", "ResultsStored", "Valid", "ObjectivesMet", "NotRegressed", "Finished", "Succeeded")
WHERE_ASKED = frozenset({"NotRegressed"})  # there only where the object asks for it


class Conditions:
    """The condition list of one object while it is being worked out."""

    def __init__(
        self, existing: list[Condition] | None, generation: int, now: datetime, order: tuple[str, ...] = ORDER
    ) -> None:
        self._order = order
        self._now, self._generation = stamp(now), generation
        self._byname = {c.type: c for c in existing or []}
        for name in order:
            if name not in self._byname and name not in WHERE_ASKED:
                self.set(name, "Unknown", "Pending", "not decided yet")

    def set(self, name: str, status: str, reason: str, message: str) -> None:
        """Replaces one; says nothing twice."""
        old = self._byname.get(name)
        message = message[:4096]
        if old is not None and (old.status, old.reason, old.message) == (status, reason, message):
            return
        moved = old is None or old.status != status
        self._byname[name] = Condition(
            type=name, status=status, reason=reason, message=message, observed_generation=self._generation,
            last_transition_time=self._now if moved or old is None else old.last_transition_time,
        )  # fmt: skip

    def __getitem__(self, name: str) -> Condition:
        return self._byname[name]

    def is_true(self, name: str) -> bool:
        return self._byname[name].status == "True"

    def finish(self, *, succeeded: bool, reason: str, message: str) -> None:
        """The end of the road: what is still open is now known never to come."""
        for name in ORDER[1:-2]:
            if name in self._byname and self._byname[name].reason == "Pending":
                self.set(name, "Unknown", reason, "the object finished before this was known")
        self.set("Finished", "True", reason, message)
        self.set("Succeeded", "True" if succeeded else "False", reason, message)

    def observed(self) -> None:
        """All of them hold for the spec as it is now: `kubectl wait` passes over a condition of an older generation."""
        for name, condition in self._byname.items():
            if condition.observed_generation != self._generation:
                self._byname[name] = condition.model_copy(update={"observed_generation": self._generation})

    def list(self) -> list[Condition]:
        return [self._byname[name] for name in self._order if name in self._byname]
