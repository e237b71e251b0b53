"""The worker for calls that are not HTTP: the same clock, schedule and frames, over channels that a client library drives.

The library reads its socket itself, so the kernel's stamp is peeked at before it does: the data stays, the time is known.
A channel that broke is opened again by a thread, because that waits for the server; the loop goes on meanwhile.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from queue import SimpleQueue

from . import stamps
from .arrival import Arrival
from .calls import FAILED, Broken, Calls, Channel
from .clock import NS
from .connection import PAUSE_AFTER_FAILURE_NS, Request
from .counters import CounterPage
from .dialogue import NOWHERE
from .frames import READ_BYTES
from .ledger import ABSENCE_NS
from .loop import CHORE_NS, TICK_NS, TIMER_GRAIN_NS, Loop, mono
from .phase import Phase
from .poll import MOST_EVENTS, READ, WRITE
from .stamps import ANCILLARY_BYTES

REOPEN_S, LONGEST_REOPEN_S = 0.1, 2.0  # between two tries


class Lane:
    """A channel, and the call it carries. `log`: stamp, time of the read, earliest time, bytes, of each read."""

    __slots__ = ("channel", "fd", "log", "peek", "request", "sent", "sent_bytes")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.peek = socket.socket(fileno=os.dup(channel.fd))
        self.fd = self.peek.fileno()  # the library may close its own at any time
        stamps.enable(self.peek)
        self.request: Request | None = None
        self.log: list[int | bytes] = []
        self.sent = self.sent_bytes = 0

    def close(self) -> None:
        self.peek.close()
        self.channel.close()


class Caller(Loop):
    """Drives one phase of calls."""

    def __init__(self, phase: Phase, calls: Calls, link: socket.socket, board: CounterPage) -> None:
        super().__init__(phase, link, board)
        self.calls = calls
        self.lanes: dict[int, Lane] = {}
        self.idle: deque[Lane] = deque()
        self.reopened: deque[Channel] = deque()
        self.missing, self.why = 0, b""  # channels that are to be opened again, and what kept the last one from it
        self.wanted: SimpleQueue[None] = SimpleQueue()
        self.reopener = threading.Thread(target=self._reopen, daemon=True)

    def run(self) -> None:
        """Until the phase is over and the parent has everything."""
        self._open_ahead()
        self.clock.refresh()
        self._start()
        now = mono()
        arrival = Arrival(now, self.ledger.run_delay)
        while not self.schedule.ended or self.ledger.in_flight or self.waiting:
            asked = 0.0 if self.ledger.waits else self._sleep_s(now)
            slept, events = mono(), self.poller.poll(asked)
            woke = now = mono()
            absent = woke - slept - int(asked * NS) - TIMER_GRAIN_NS
            if absent > 0:
                self.ledger.absence(absent)
            self.clock.refresh()
            since = arrival.since(slept, woke, plain=absent <= 0 and len(events) < MOST_EVENTS)
            for fd, mask in events:
                self._event(fd, mask, since)
            now = mono()
            if now >= self.schedule.next_due or self.waiting:
                self._advance()
            if self.ledger.waits and (not events or self.ledger.presses):
                self.ledger.pack()
            if now >= self.next_chore:
                self._chores(now)
            if (passed := mono() - woke) > ABSENCE_NS:
                self.ledger.absence(passed)
        self._close()

    def _open_ahead(self) -> None:
        """All channels before the clock starts; where one cannot be opened, none of the others is tried."""
        for _ in range(self.phase.lanes):
            try:
                self._add(self.calls.open())
            except Broken as exc:
                self.why = str(exc).encode()
                for _ in range(self.phase.lanes - len(self.lanes)):
                    self._lost()
                return

    def _add(self, channel: Channel) -> None:
        lane = Lane(channel)
        self.lanes[lane.fd] = lane
        self.poller.add(lane.fd, READ)
        self.idle.append(lane)

    # --- what happens -----------------------------------------------------------------------------------------------

    def _event(self, fd: int, mask: int, since: int) -> None:
        lane = self.lanes.get(fd)
        if lane is None:
            self._not_of_a_target(fd, mask)
            return
        try:
            if mask & WRITE and not lane.channel.unsent():
                self.poller.modify(fd, READ)
            if mask & ~WRITE:
                self._read(lane, since)
        except Broken as exc:
            self._broken(lane, "reset", str(exc))

    def _read(self, lane: Lane, since: int) -> None:
        stamp = self._stamp(lane)
        now = mono()
        answer = lane.channel.take()
        if lane.request is None:
            return  # a notice that nobody asked for
        lane.log += (min(stamp or now, now), now, since, answer or b"")
        if answer is not None:
            self._finish(lane, "ok", int(lane.log[-4]), failed=answer.startswith(FAILED))
            self.idle.append(lane)

    def _stamp(self, lane: Lane) -> int | None:
        """When the kernel got what waits; None where it does not say, or where more may wait than was looked at. An end of file has
        no stamp."""
        try:
            data, ancillary, _, _ = lane.peek.recvmsg(
                READ_BYTES, ANCILLARY_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT
            )
        except OSError:
            return None
        if ancillary and self.clock.trusted and len(data) < READ_BYTES:
            seconds, nanoseconds = stamps.unpack_timespec(ancillary[0][2])
            self.ledger.kernel_stamps += 1
            return int(seconds * NS + nanoseconds - self.clock.offset_ns)
        self.ledger.fallbacks += bool(data)
        return None

    # --- calls ------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        while True:
            while self.waiting and self.idle:
                self._begin(self.idle.popleft(), self.waiting.popleft())
            if self.waiting and self.missing and (self.phase.concurrency or not self.lanes):
                self._never_sent(self.waiting.popleft(), "connect")  # no channel can be had for it
                continue
            if (due := self.schedule.take(mono())) is None:
                break
            self._waits(due)
        if self.schedule.ended and not self.stop:
            self._issuing_ended(mono())

    def _begin(self, lane: Lane, request: Request) -> None:
        lane.request, lane.log, lane.sent = request, [], mono()
        try:
            lane.sent, lane.sent_bytes = lane.channel.begin(request.seq)
            if lane.channel.unsent():
                self.poller.modify(lane.fd, READ | WRITE)
        except Broken as exc:
            self._broken(lane, "reset", str(exc))

    def _finish(self, lane: Lane, outcome: str, end: int, *, failed: bool = True) -> None:
        request, lane.request = lane.request, None
        assert request is not None
        times = (request.due, request.ready, 0, lane.sent, end, 0)
        self.ledger.ended(request.seq, times, outcome, lane.log, NOWHERE, lane.sent_bytes)
        lane.log = []
        self.ledger.refused += failed and outcome != "cancelled"
        self._over(mono() + PAUSE_AFTER_FAILURE_NS if failed else end)

    def _over(self, free_at: int) -> None:
        self.ledger.in_flight -= 1
        self.schedule.freed(free_at)

    def _never_sent(self, request: Request, outcome: str) -> None:
        now = mono()
        self.ledger.refused += outcome != "cancelled"
        reads: list[int | bytes] = [now, now, now, self.why] if self.why and outcome == "connect" else []
        self.ledger.ended(request.seq, (request.due, request.ready, 0, 0, now, 0), outcome, reads, NOWHERE)
        self._over(now + PAUSE_AFTER_FAILURE_NS)

    # --- channels that break ----------------------------------------------------------------------------------------

    def _broken(self, lane: Lane, outcome: str, why: str) -> None:
        self.poller.remove(lane.fd)
        del self.lanes[lane.fd]
        if lane in self.idle:
            self.idle.remove(lane)
        if lane.request is not None:
            now = mono()
            lane.log += (now, now, now, why.encode()) if why else ()
            self._finish(lane, outcome, now)
        lane.close()
        self.why = why.encode() or self.why
        self._lost()

    def _lost(self) -> None:
        """A thread opens another in its place: that waits for the server, which the loop must not. One thread for all of them, and
        more slowly each time: a server that grants no connection is not to be kept busy with refusing."""
        self.missing += 1
        self.wanted.put(None)
        if self.missing == 1 and not self.reopener.is_alive():
            self.reopener.start()

    def _reopen(self) -> None:
        while True:
            self.wanted.get()
            pause_s = REOPEN_S
            while True:
                try:
                    self.reopened.append(self.calls.open())
                    break
                except Broken as exc:
                    self.why = str(exc).encode()
                    time.sleep(pause_s)
                    pause_s = min(LONGEST_REOPEN_S, 2 * pause_s)

    # --- everything that may wait a little --------------------------------------------------------------------------

    def _chores(self, now: int) -> None:
        self.next_chore = now + CHORE_NS
        while self.reopened:
            self._add(self.reopened.popleft())
            self.missing -= 1
        if self.cut_at and now >= self.cut_at:
            self._cancel_all()
        if now >= self.next_tick:
            limit = now - self.phase.limits.request_ns
            for lane in [lane for lane in self.lanes.values() if lane.request and lane.sent < limit]:
                self._broken(lane, "request_timeout", "")
            self.ledger.tick(now)
            self.next_tick = now + TICK_NS
        self.ledger.outbox.flush()

    def _cancel_all(self) -> None:
        left, self.waiting = self.waiting, deque()
        for lane in [lane for lane in self.lanes.values() if lane.request is not None]:
            self._finish(lane, "cancelled", mono())
        for request in left:
            self._never_sent(request, "cancelled")

    def _close(self) -> None:
        self._tell_the_end()
        for lane in self.lanes.values():
            lane.close()
