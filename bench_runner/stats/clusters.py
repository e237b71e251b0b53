"""How much the values of one request go together: what an interval of many values a request must know.

Two hundred gaps of one answer are no two hundred answers. The variance of a share p over requests (m of its n values at
or below a threshold) by linearisation of the ratio, Σ(m − p·n)² / (Σn)², against the p(1 − p)/Σn of independent values,
is the design effect (Kish 1965, chapters 2 and 5): so many values are worth as many independent ones as their number
divided by it. Whole requests are kept, in 32 bits, up to KEPT values; beyond that every second one, then every fourth.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

KEPT = 262_144
Z = 1.96


class Clusters:
    """Add the values of a request, merge, then ask for the design effect at a quantile."""

    __slots__ = ("_seen", "_sizes", "_stride", "_values")

    def __init__(self) -> None:
        self._values, self._sizes = array("f"), array("I")
        self._stride, self._seen = 1, 0

    def add(self, values: Sequence[float]) -> None:
        if not values:
            return
        if self._seen % self._stride == 0:
            self._values.extend(values)
            self._sizes.append(len(values))
        self._seen += 1
        while len(self._values) > KEPT and len(self._sizes) > 1:
            self._thin()

    def _thin(self) -> None:
        kept, sizes = array("f"), array("I")
        for number, part in enumerate(self._parts()):
            if number % 2 == 0:
                kept.extend(part)
                sizes.append(len(part))
        self._values, self._sizes, self._stride = kept, sizes, 2 * self._stride

    def _parts(self) -> Iterable[array[float]]:
        at = 0
        for size in self._sizes:
            yield self._values[at : at + size]
            at += size

    def merge(self, other: Clusters) -> None:
        """Adds what another one kept."""
        for part in other._parts():
            self.add(part)
        self._seen += other._seen - len(other._sizes)

    def design_effect(self, threshold: float) -> float | None:
        """At the share of values at or below a threshold; None where fewer than two requests are known."""
        if len(self._sizes) < 2:
            return None
        total = len(self._values)
        below = [sum(value <= threshold for value in part) for part in self._parts()]
        p = sum(below) / total
        independent = total * p * (1 - p)
        if not independent:
            return 1.0
        requests = len(below)
        together = sum((m - p * n) ** 2 for m, n in zip(below, self._sizes, strict=True)) * requests / (requests - 1)
        few = 1 + (Z * Z + 1) / (4 * (requests - 1))  # Student's t over the normal quantile, to first order
        return float(together / independent * few * few)

    def packed(self) -> dict[str, Any]:
        """Everything, as plain data for another process."""
        return {
            "values": self._values.tobytes(),
            "sizes": self._sizes.tobytes(),
            "stride": self._stride,
            "seen": self._seen,
        }

    @classmethod
    def unpacked(cls, plain: dict[str, Any]) -> Clusters:
        """The reverse of `packed`. Raises ValueError, TypeError, KeyError on anything else."""
        found = cls()
        found._values, found._sizes = array("f", plain["values"]), array("I", plain["sizes"])
        found._stride, found._seen = int(plain["stride"]), int(plain["seen"])
        if sum(found._sizes) != len(found._values) or found._stride < 1:
            raise ValueError("the sizes do not add up to the values")
        return found
