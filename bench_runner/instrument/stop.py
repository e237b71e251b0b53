"""The one order that goes into a run from outside: to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Stop:
    """Set by a signal handler; ends the run at once and keeps what there is."""

    asked: bool = False
    why: str = ""
    lost_pod: int | None = None  # the pod of a team whose loss it was
    missing_pod: int | None = None  # the first that never came
    hooks: list[Callable[[], None]] = field(default_factory=list)

    def ask(self, why: str) -> None:
        self.asked, self.why = True, why
        for hook in self.hooks:
            hook()
