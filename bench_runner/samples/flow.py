"""When things arrived: what throughput is computed from. Memory does not grow with the length of a run: tokens are counted
in bins that double their width when there are too many of them; requests cost twenty-four bytes each.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

BIN_NS = 10_000_000
MOST_BINS = 65_536


class Bins:
    """Sums over time. Add at stamps in any order, merge, then ask for the sum between two moments."""

    __slots__ = ("_first", "_sums", "width_ns")

    def __init__(self) -> None:
        self.width_ns = BIN_NS
        self._first = 0  # the number of the first bin, counted from the clock's zero
        self._sums = array("d")

    def add(self, stamps: Sequence[int], each: float) -> None:
        """So much at each of these moments (nanoseconds)."""
        if not stamps:
            return
        self._reach(min(stamps), max(stamps))
        width, first, sums = self.width_ns, self._first, self._sums
        for at, count in Counter([stamp // width for stamp in stamps]).items():
            sums[at - first] += count * each

    def _reach(self, low_ns: int, high_ns: int) -> None:
        """Makes room for both moments."""
        if not self._sums:
            self._first = low_ns // self.width_ns
        while True:
            low, high = low_ns // self.width_ns, high_ns // self.width_ns
            first, last = min(self._first, low), max(self._first + len(self._sums) - 1, high)
            if last - first < MOST_BINS:
                break
            self._widen()
        if first < self._first:
            self._sums = array("d", bytes(8 * (self._first - first))) + self._sums
            self._first = first
        if (missing := last - first + 1 - len(self._sums)) > 0:
            self._sums.frombytes(bytes(8 * missing))

    def _widen(self) -> None:
        """Pairs of bins become one."""
        first, old = self._first, self._sums
        self.width_ns, self._first = 2 * self.width_ns, first // 2
        self._sums = array("d", bytes(8 * ((first + len(old) - 1) // 2 - self._first + 1)))
        for number, total in enumerate(old):
            self._sums[(first + number) // 2 - self._first] += total

    def merge(self, other: Bins) -> None:
        """Adds what another one holds; the wider bins of the two remain."""
        while self.width_ns < other.width_ns:
            self._widen()
        for number, total in enumerate(other._sums):
            if total:
                self.add((other.width_ns * (other._first + number),), total)

    def between(self, start_ns: int, end_ns: int) -> float:
        """The sum in [start, end), whole bins."""
        first, last = start_ns // self.width_ns - self._first, end_ns // self.width_ns - self._first
        return float(sum(self._sums[max(0, first) : max(0, last)]))

    @property
    def total(self) -> float:
        return float(sum(self._sums))

    def packed(self) -> dict[str, Any]:
        """Everything, as plain data for another process."""
        return {"width": self.width_ns, "first": self._first, "sums": self._sums.tobytes()}

    @classmethod
    def unpacked(cls, plain: dict[str, Any]) -> Bins:
        """The reverse of `packed`. Raises ValueError, TypeError, KeyError on anything else."""
        found = cls()
        found.width_ns, found._first, found._sums = int(plain["width"]), int(plain["first"]), array("d", plain["sums"])
        if found.width_ns < 1 or found.width_ns % BIN_NS or len(found._sums) > MOST_BINS:
            raise ValueError("no bins of ours")
        return found
