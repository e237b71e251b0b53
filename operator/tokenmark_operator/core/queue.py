"""A work queue of keys: each key waits at most once and is worked on by one worker at a time; failures back off."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)


@dataclass
class WorkQueue(Generic[K]):
    """`add` may be called from anywhere in the loop's thread. Times from `clock`, in seconds."""

    clock: Callable[[], float] = time.monotonic
    waited: Callable[[K, float], None] = lambda _key, _seconds: None  # told of each key that is taken, and how late
    _due: dict[K, float] = field(default_factory=dict)
    _heap: list[tuple[float, int, K]] = field(default_factory=list)
    _busy: set[K] = field(default_factory=set)
    _again: set[K] = field(default_factory=set)
    _failures: dict[K, int] = field(default_factory=dict)
    _count: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: K, delay_s: float = 0.0) -> None:
        """Asks for a visit; an earlier one that is already planned stands."""
        if key in self._busy and delay_s <= 0:
            self._again.add(key)
            return
        at = self.clock() + delay_s
        if key in self._due and self._due[key] <= at:
            return
        self._due[key] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))
        self._wake.set()

    def failed(self, key: K) -> float:
        """Plans the next try after a failure; returns the delay in seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = BACKOFF_S[min(count, len(BACKOFF_S) - 1)]
        self._again.discard(key)
        self._busy.discard(key)
        self.add(key, delay)
        return delay

    def succeeded(self, key: K) -> None:
        self._failures.pop(key, None)

    @property
    def depth(self) -> int:
        """Keys that should be worked on now."""
        now = self.clock()
        return sum(at <= now for at in self._due.values())

    @property
    def oldest_s(self) -> float:
        """How long the most overdue key has waited."""
        now = self.clock()
        return max((now - at for at in self._due.values() if at <= now), default=0.0)

    async def take(self) -> K:
        """The next key that is due; the caller ends it with `done`."""
        while True:
            while self._heap:
                at, _, key = self._heap[0]
                if self._due.get(key) != at or (key in self._busy and at <= self.clock()):
                    heapq.heappop(self._heap)
                    if self._due.get(key) == at:
                        del self._due[key]
                        self._again.add(key)
                    continue
                if at > self.clock():
                    break
                heapq.heappop(self._heap)
                del self._due[key]
                self._busy.add(key)
                self.waited(key, self.clock() - at)
                return key
            self._wake.clear()
            wait = self._heap[0][0] - self.clock() if self._heap else None
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                continue

    def done(self, key: K) -> None:
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    async def work(self, handle: Callable[[K], Awaitable[None]]) -> None:
        """One worker, for ever. `handle` reports its own failures through `failed`."""
        while True:
            key = await self.take()
            try:
                await handle(key)
            finally:
                self.done(key)
