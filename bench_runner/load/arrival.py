"""Before which moment the bytes of a read cannot have come.

The kernel stamps a read with the arrival of its last segment. Earlier segments of that read came after the last poll
that found the socket empty, and that is all that a busy loop can say. A loop that slept in its poll can say more: the
first segment of all woke it, so nothing came before it woke, and it woke no longer ago than the time it then waited for
a processor, which the kernel counts. Where it does not count, the moment the loop fell asleep has to do.
"""

from __future__ import annotations

from .rundelay import RunDelay

WAKE_NS = 200_000  # from an arrival to the moment a thread is told to run, and what a poll itself takes


class Arrival:
    """One object a loop; `since` is asked after every poll."""

    __slots__ = ("_delay", "_empty_at", "_told", "_waited")

    def __init__(self, now: int, delay: RunDelay) -> None:
        self._delay, self._told, self._empty_at, self._waited = delay, delay.told, now, delay.read()

    def since(self, slept_at: int, woke_at: int, *, plain: bool = True) -> int:
        """Nanoseconds: what this poll found came after. Not `plain` is a poll that may have left something out, or took
        longer than it could by itself, as when the process was stopped: it says nothing new."""
        before = self._empty_at
        if plain and woke_at - slept_at <= WAKE_NS:  # it did not sleep: there is nothing to ask the kernel
            self._empty_at = slept_at
            return before
        waited = self._delay.read() if self._told else 0
        late, self._waited = waited - self._waited, waited
        if not plain:
            return before
        if not self._told:
            self._empty_at = slept_at
            return slept_at
        # it may have lost the processor between looking and returning, so that is taken off here too
        self._empty_at = looked = max(slept_at, woke_at - late - WAKE_NS)
        return looked if woke_at - slept_at - late > WAKE_NS else before
