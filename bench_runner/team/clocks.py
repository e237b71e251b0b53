"""How far another machine's monotonic clock is ahead of this one's: the fastest of several pings tells it best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PINGS = 16


@dataclass(frozen=True)
class Offset:
    """Nanoseconds: the other clock's lead, and how far the truth may be from it."""

    ahead_ns: int
    uncertainty_ns: int

    def later(self, other: Offset) -> int:
        """What is uncertain about a time between two such measurements: the worse of them, and the drift between."""
        drift = abs(other.ahead_ns - self.ahead_ns)
        return max(self.uncertainty_ns, other.uncertainty_ns) + drift


def offset_of(ask: Callable[[], int], clock: Callable[[], int], pings: int = PINGS) -> Offset:
    """`ask` returns the other's clock, somewhere between call and return: half the round trip is the uncertainty.

    Cristian's algorithm (Distributed Computing 3, 1989).
    """
    found = []
    for _ in range(pings):
        before = clock()
        theirs = ask()
        after = clock()
        found.append(Offset(theirs - (before + after) // 2, (after - before + 1) // 2))
    return min(found, key=lambda offset: offset.uncertainty_ns)
