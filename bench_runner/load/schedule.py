"""When requests are due, and when no more are: closed loop, open loop, and the rules that end either.

An open loop goes by its own times alone: it never waits for an answer and never leaves one out, however late the worker
is. A closed loop's request is due when a slot becomes free. A conversation's next turn is due when its speaker has
thought; in a closed loop the conversation keeps its slot until then.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from .pacers import offsets_of
from .phase import Phase

FAR = 2**62
SLOT_STEP_NS = 50_000  # slots open this far apart, so that the first requests do not delay each other


class Schedule:
    """`next_due` is when `take` should be called next, in monotonic nanoseconds."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.start = self.last_due = self.issued = self.begun = 0
        self.next_due = FAR
        self.ended = False
        self.continues: int | None = None  # the turn before the one that was taken last, where there was one
        self._until = self._arrival = FAR
        self._slots: list[int] = []
        self._turns: list[tuple[int, int]] = []  # (due, the turn before) of conversations that go on
        self._talking = 0  # conversations that may still go on
        self._offsets: Iterator[int] | None = None if phase.concurrency else _sharded(phase)
        self._count = None if phase.count is None else phase.share(phase.count)
        self._minimum = phase.share(phase.minimum)

    def begin(self, start: int) -> None:
        phase = self.phase
        self.start = self.last_due = start
        if phase.duration_ns is not None:
            self._until = start + phase.duration_ns
        if phase.concurrency:
            self._slots = [start + i * SLOT_STEP_NS for i in range(phase.share(phase.concurrency))]
            self.ended = self.ended or not self._slots  # more workers than slots: this one has none
        if not self.ended:
            self._plan_next()

    def take(self, now: int) -> int | None:
        """The due time of the next request, None when none is due yet or ever."""
        if self.ended or self.next_due > now:
            return None
        due = self.next_due
        if due >= self._until or self._enough(due if self._offsets else now):
            self.ended, self.next_due = True, FAR
            return None
        self.issued += 1
        self.last_due = due
        if self._turns and self._turns[0][0] == due:
            self.continues = heapq.heappop(self._turns)[1]
            self._plan_next(arrival=False)
        else:
            self.continues = None
            self.begun += 1
            self._talking += self.phase.dialogue is not None
            if self._offsets is None:
                heapq.heappop(self._slots)
            self._plan_next()
        return due

    @property
    def seq(self) -> int:
        """The number of the request taken last, over all workers."""
        return self._numbered(self.issued)

    @property
    def conversation(self) -> int:
        """The number of the conversation begun last, over all workers."""
        return self._numbered(self.begun)

    def _numbered(self, mine: int) -> int:
        index, workers = self.phase.shard
        return (mine - 1) * workers + index

    def freed(self, at: int) -> None:
        """A slot of the closed loop may send again from then on."""
        if self._offsets is None:
            heapq.heappush(self._slots, at)
            if not self.ended:
                self._arrival = self._slots[0]
                self._next()

    def follow(self, at: int, seq: int) -> bool:
        """Another turn after that request, due then; False where it would come too late."""
        if self.ended or at >= self._until:
            return False
        heapq.heappush(self._turns, (at, seq))
        self._next()
        return True

    def fell_silent(self) -> None:
        """A conversation is over."""
        self._talking -= 1
        if not self.ended:
            self._next()

    def _plan_next(self, *, arrival: bool = True) -> None:
        """What is due next; the arrivals' turn moves on where one of them was taken."""
        if self._enough(self.start):
            self.ended, self.next_due = True, FAR
            return
        if self._offsets is None:
            self._arrival = self._slots[0] if self._slots else FAR
        elif arrival:
            offset = next(self._offsets, None)
            self._arrival = FAR if offset is None else self.start + offset
        self._next()

    def _next(self) -> None:
        self.next_due = min(self._arrival, self._turns[0][0] if self._turns else FAR, self._until)
        if self._arrival == FAR and self._offsets is not None and not self._talking:
            # a trace is over with its last line, a ramp down to nothing with its time
            self.ended = self._until == FAR or self.phase.offsets is not None
            if self.ended:
                self.next_due = FAR

    def _enough(self, at: int) -> bool:
        """By count; the warm-up's rule is a count and a time, both."""
        phase = self.phase
        if self._count is not None and self.issued >= self._count:
            return True
        unbounded = phase.count is None and phase.duration_ns is None and phase.offsets is None
        return unbounded and self.issued >= self._minimum and at - self.start >= phase.minimum_ns


def _sharded(phase: Phase) -> Iterator[int]:
    """Every n-th arrival of the one sequence that all workers know."""
    index, workers = phase.shard
    return itertools.islice(offsets_of(phase), index, None, workers)
