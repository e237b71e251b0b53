"""What every worker's loop has: a phase on a clock, a poller with an alarm, and the parent at the other end."""

from __future__ import annotations

import socket
import time
from collections import deque

from . import stamps
from .clock import NS
from .connection import Request
from .counters import CounterPage
from .ledger import Ledger
from .phase import Phase
from .poll import READ, WRITE, new_poller
from .schedule import FAR, Schedule
from .timer import Timer

TICK_NS = 250_000_000
CHORE_NS = 10_000_000  # the longest sleep: an absence that is longer shows
TIMER_GRAIN_NS = 2_000_000  # epoll rounds its timeouts up to milliseconds
mono = time.monotonic_ns


class Loop:
    """Tells the parent everything over `link`, its own state on `board`."""

    def __init__(self, phase: Phase, link: socket.socket, board: CounterPage) -> None:
        self.phase, self.poller, self.timer = phase, new_poller(), Timer()
        self.ledger = Ledger(link, self.poller, board)
        self.clock, self.schedule = stamps.ClockOffset(), Schedule(phase)
        self.waiting: deque[Request] = deque()  # that no connection carries yet
        self.stop = self.cut_at = 0  # when issuing ended; when the drain ends
        self.next_tick = self.next_chore = 0
        self.load_cpu = 0  # from the clock's start to when issuing ended
        if self.timer.fd >= 0:
            self.poller.add(self.timer.fd, READ)

    def _start(self) -> None:
        """The phase's clock, no sooner than all workers have agreed on."""
        start, self.load_cpu = max(mono(), self.phase.begin_ns), -time.process_time_ns()
        self.next_tick, self.next_chore = start + TICK_NS, start + CHORE_NS
        self.schedule.begin(start)

    def _sleep_s(self, now: int) -> float:
        due, chore = self.schedule.next_due, self.next_chore
        if due < chore and not self.timer.set(due):
            chore = due
        return (chore - now) / NS if chore > now else 0.0

    def _not_of_a_target(self, fd: int, mask: int) -> None:
        """The alarm rings, or the parent takes more, or it orders the end."""
        if fd == self.timer.fd:
            self.timer.rang()
        elif fd == self.ledger.outbox.fd:
            if mask & WRITE:
                self.ledger.outbox.writable()
            if mask & ~WRITE and self.ledger.outbox.asked_to_stop():
                self.schedule.ended, self.schedule.next_due = True, FAR
                self._issuing_ended(mono())
                self.cut_at = mono()

    def _waits(self, due: int) -> None:
        """A request that is due, in flight from now on."""
        self.waiting.append(Request(self.schedule.seq, due, mono()))
        self.ledger.in_flight += 1
        self.ledger.issued = self.schedule.issued

    def _issuing_ended(self, now: int) -> None:
        self.stop, self.load_cpu = self.stop or now, self.load_cpu + (0 if self.stop else time.process_time_ns())
        self.cut_at = now + self.phase.limits.drain_ns

    def _tell_the_end(self) -> None:
        now = mono()
        self.ledger.clock_steps = self.clock.steps
        self.ledger.close(now, (self.schedule.start, self.stop or now, self.schedule.last_due), self.load_cpu)
        self.timer.close()
