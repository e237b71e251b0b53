"""The worker: one plain epoll loop over non-blocking sockets, in a process of its own.

A receive takes the kernel's arrival stamp, notes bytes and stamp, and does nothing else: no parsing, no logging, garbage
collection off. Reads come first in every pass, because segments that queue up behind a late read share the last one's
stamp. The loop finds only what it must know: is this response complete? Then the freed slot sends at once; packing what
was read for the parent waits for a pass without events.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

from . import stamps
from .arrival import Arrival
from .clock import NS
from .connection import BUSY, CONNECTING, IDLE, PAUSE_AFTER_FAILURE_NS, TAIL_BYTES, Connection, Request
from .counters import CounterPage
from .dialogue import NOWHERE
from .frames import PART_READS, READ_BYTES
from .framing import BLANK, BROKEN, CHUNKED, DONE, UNTIL_CLOSE, ends_chunked
from .ledger import ABSENCE_NS
from .loop import CHORE_NS, TICK_NS, TIMER_GRAIN_NS, Loop, mono
from .phase import Phase
from .poll import MOST_EVENTS, READ, WRITE
from .pool import Pool, Refused
from .stamps import ANCILLARY_BYTES
from .turns import Turns

CLOCK_NS = 1_000_000  # an offset drifts by half a microsecond in that time at most
PART_LOG = 4 * PART_READS
AT_ONCE = 8  # connections on their way before the clock starts
MAX_ANSWER_BYTES = 64 * 2**20


class Worker(Loop):
    """Drives one phase of HTTP requests."""

    def __init__(self, phase: Phase, link: socket.socket, board: CounterPage) -> None:
        super().__init__(phase, link, board)
        self.pool = Pool(phase.route, phase.max_connections, self.poller)
        self.turns = Turns(phase.dialogue, self.schedule) if phase.dialogue is not None else None
        self.next_clock = 0

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the phase is over and the parent has everything."""
        self._open_ahead()
        self._start()
        poll, schedule, ledger, turns, now = self.poller.poll, self.schedule, self.ledger, self.turns, mono()
        arrival = Arrival(now, ledger.run_delay)
        while not schedule.ended or ledger.in_flight or self.waiting:
            asked = 0.0 if ledger.waits or (turns is not None and turns.dialogue.unread) else self._sleep_s(now)
            slept, events = mono(), poll(asked)
            woke = now = mono()
            absent = woke - slept - int(asked * NS) - TIMER_GRAIN_NS
            if absent > 0:  # the system did not let this process run: stopped, throttled, crowded out
                ledger.absence(absent)
            if now >= self.next_clock:
                self.clock.refresh()
                self.next_clock = now + CLOCK_NS
            since = arrival.since(slept, woke, plain=absent <= 0 and len(events) < MOST_EVENTS)
            if events:
                self._receive(events, since)
                now = mono()
            if now >= schedule.next_due:
                self._advance()
            if ledger.waits and (not events or ledger.presses):
                ledger.pack()
            elif turns is not None and not events and turns.dialogue.unread:
                turns.dialogue.read_one()
            if now >= self.next_chore:
                self._chores(now)
            if (passed := mono() - woke) > ABSENCE_NS:  # whatever else a pass does keeps the loop from its sockets too
                ledger.absence(passed)
        self._close()

    def _open_ahead(self) -> None:
        """Connections are opened before the clock starts, so that the first requests do not wait for a handshake."""
        limit = mono() + 2 * NS
        self.clock.refresh()
        for _ in range(self.phase.lanes):
            self.pool.open()
            # else each would wait for all the others' handshakes
            while self.pool.opening >= AT_ONCE and mono() < limit:
                self._receive(self.poller.poll(0.05), mono())
        while self.pool.opening and mono() < limit:
            self._receive(self.poller.poll(0.05), mono())

    def _receive(self, events: list[tuple[int, int]], since: int) -> None:  # noqa: C901 - one flat loop, on purpose
        """The hot path: everything a token costs the client happens here, with locals for all it looks up."""
        connections, offset, trusted = self.pool.all, self.clock.offset_ns, self.clock.trusted
        unpack, clock, busy, chunked, blank = stamps.unpack_timespec, mono, BUSY, CHUNKED, BLANK
        stamped, advance = 0, self._advance
        for fd, mask in events:
            conn = connections.get(fd)
            if mask != READ or conn is None:
                conn = self._unusual(fd, mask)
                if conn is None:
                    continue
            try:
                data, ancillary, _, _ = conn.recvmsg(READ_BYTES, ANCILLARY_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                self._broken(conn)
                self._advance()
                continue
            now = stamp = clock()
            if ancillary and trusted:
                seconds, nanoseconds = unpack(ancillary[0][2])
                stamp = seconds * 1_000_000_000 + nanoseconds - offset
                stamped += 1
                if stamp > now:  # younger than the read itself: the clocks disagree by a little, or were stepped
                    self.ledger.fallbacks += stamp - now > stamps.STEP_NS
                    stamp = now
            elif data:  # the other side's end has no stamp, and needs none
                self.ledger.fallbacks += 1
            if conn.state != busy or not data:
                self._out_of_turn(conn, data, stamp)
                self._advance()
                continue
            if conn.tls is not None and not (data := self._decrypted(conn, data)):
                continue
            log, framing = conn.log, conn.framing
            log += (stamp, now, since, data)
            if framing.mode == chunked:
                if (data[-4:] == blank or len(data) < TAIL_BYTES) and ends_chunked(conn.tail_with_last()):
                    self._finish(conn, "ok", stamp)
                    advance()
                elif len(log) >= PART_LOG:
                    self._hand_over(conn, stamp)
                continue
            mode = framing.feed(data)
            if mode == DONE:
                self._finish(conn, "ok", stamp)
            elif mode == BROKEN:
                self._finish(conn, "not_http", stamp)
            elif len(log) >= PART_LOG:
                self._hand_over(conn, stamp)
                continue
            else:
                continue
            advance()
        self.ledger.kernel_stamps += stamped

    def _unusual(self, fd: int, mask: int) -> Connection | None:
        """An event that is not just data: the connection to read from now, if it is one and there is something."""
        conn = self.pool.all.get(fd)
        if conn is None:
            self._not_of_a_target(fd, mask)
            return None
        if mask & WRITE:
            self._writable(conn)
            self._advance()
            if not mask & ~WRITE or self.pool.all.get(fd) is not conn:  # writing found it broken
                return None
        return conn

    def _out_of_turn(self, conn: Connection, data: bytes, stamp: int) -> None:
        """The other side's end, a step on the way to the target, or bytes that nobody asked for."""
        if not data:
            self._closed(conn, stamp)
        elif conn.state == IDLE and conn.tls is None:
            self.pool.drop(conn)
        elif conn.state == IDLE:
            self._decrypted(conn, data)  # session tickets
        else:
            self._on_the_way(conn, lambda: self.pool.advance(conn, data))

    def _decrypted(self, conn: Connection, data: bytes) -> bytes:
        try:
            return conn.tls.decrypt(data) if conn.tls is not None else data
        except OSError:  # which ssl.SSLError is
            self._broken(conn)
            self._advance()
            return b""

    # --- requests ---------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Everything that is due gets a connection. What fails at once frees its slot, which may make more due: a loop, so
        that a target that refuses everything is no recursion."""
        while True:
            while self.waiting and self._assign():
                pass
            if (due := self.schedule.take(mono())) is None:
                break
            if self.turns is not None:
                self.turns.took(self.schedule.seq)
            self._waits(due)
        if self.schedule.ended and not self.stop:
            self._issuing_ended(mono())

    def _assign(self) -> bool:
        """The oldest request that waits gets a connection, or one is opened for it; False when it has to wait."""
        conn = self.pool.take()
        if conn is not None:
            self._send(conn, self.waiting.popleft())
        elif self.pool.unclaimed >= len(self.waiting) or self.pool.full:
            return False
        elif (refused := self.pool.open()) is not None:
            self._never_sent(self.waiting.popleft(), refused)
        return True

    def _send(self, conn: Connection, request: Request) -> None:
        conn.request, conn.ready = request, mono()
        conn.begin(self.phase.render(request.seq))
        self._write(conn)

    def _write(self, conn: Connection) -> None:
        if conn.out is None:
            return
        if not conn.sent:
            conn.sent = mono()
        try:
            count = conn.sock.send(conn.out)
        except BlockingIOError:
            count = 0
        except OSError:
            self._broken(conn)
            return
        if count == len(conn.out):
            conn.out = None
        else:
            conn.out = conn.out[count:]
            self.poller.modify(conn.fd, READ | WRITE)

    def _finish(self, conn: Connection, outcome: str, end: int) -> None:
        """The exchange is over: note it for the parent, keep or drop the connection, free the slot. Callers `_advance`."""
        framing, head = conn.framing, conn.framing.head
        failed = outcome != "ok" or head is None or head.status >= 400
        place, free_at = self.turns.ended(conn, end, failed) if self.turns is not None else (NOWHERE, end)
        request, connect = conn.request, 0 if conn.served else conn.connect
        times = (request.due, request.ready, connect, conn.sent, end, conn.resending.stalled_ns(conn.sock))
        self.ledger.ended(request.seq, times, outcome, conn.log, place, conn.sent_bytes)
        conn.log = []
        whole = outcome == "ok" and conn.out is None and head is not None and head.keep_alive and not framing.extra
        if whole and framing.mode != UNTIL_CLOSE and self.phase.route.reuse:
            conn.served += 1
            self.pool.keep(conn)
        else:
            self.pool.drop(conn)
        self.ledger.refused += failed and outcome != "cancelled"
        self._over(request.seq, mono() + conn.rest_ns(self.phase.route.honour_retry_after) if failed else free_at)

    def _over(self, seq: int, free_at: int | None) -> None:
        """The request's slot is free from then on; None while its conversation keeps it."""
        self.ledger.in_flight -= 1
        if free_at is not None:
            if self.turns is not None:
                self.turns.over(seq)
            self.schedule.freed(free_at)

    def _hand_over(self, conn: Connection, stamp: int) -> None:
        self.ledger.part(conn.request.seq, conn.take_log(keep=self.turns is not None))
        if conn.size_bytes > MAX_ANSWER_BYTES:
            self._finish(conn, "too_large", stamp)
            self._advance()

    def _never_sent(self, request: Request, outcome: str) -> None:
        now = mono()
        self.ledger.refused += outcome != "cancelled"
        place = self.turns.dialogue.place(request.seq) if self.turns is not None else NOWHERE
        self.ledger.ended(request.seq, (request.due, request.ready, 0, 0, now, 0), outcome, [], place)
        self._over(request.seq, now + PAUSE_AFTER_FAILURE_NS)

    def _cancel_all(self) -> None:
        now = mono()
        left, self.waiting = self.waiting, deque()  # first: what is freed below must not carry them
        for conn in list(self.pool.all.values()):
            if conn.state == BUSY:
                self._finish(conn, "cancelled", now)
            elif conn.carries and conn.state < IDLE:
                left.append(conn.carries)
                self.pool.drop(conn)
        for request in left:
            self._never_sent(request, "cancelled")

    # --- connections ------------------------------------------------------------------------------------------------

    def _writable(self, conn: Connection) -> None:
        if conn.state == CONNECTING:
            self._on_the_way(conn, lambda: self.pool.connected(conn))
        elif conn.state == BUSY:
            self.poller.modify(conn.fd, READ)
            self._write(conn)

    def _on_the_way(self, conn: Connection, step: Callable[[], bool]) -> None:
        """One step towards a usable connection, which then takes its request."""
        try:
            usable = step()
        except Refused as exc:
            self._broken(conn, exc.outcome)
            return
        if usable and conn.carries:
            self._send(conn, conn.carries)
        elif usable:
            self.pool.keep(conn)

    def _broken(self, conn: Connection, outcome: str = "connect") -> None:
        """The socket reported an error, or the way to the target is closed."""
        if conn.state == BUSY:
            if not self._sent_again(conn):
                self._finish(conn, "reset", mono())
            return
        on_its_way = conn.state < IDLE
        self.pool.drop(conn)
        if not on_its_way or self._tried_elsewhere(conn):
            return
        if conn.carries:
            self._never_sent(conn.carries, outcome)
        elif self.waiting and self.pool.unclaimed < len(self.waiting):
            self._never_sent(self.waiting.popleft(), outcome)

    def _tried_elsewhere(self, conn: Connection) -> bool:
        """A name with several addresses has not failed before each of them has."""
        return bool(conn.carries or self.waiting) and self.pool.open(conn.carries, after=conn) is None

    def _closed(self, conn: Connection, stamp: int) -> None:
        """The server closed its side."""
        if conn.state != BUSY:
            self._broken(conn, "proxy" if conn.state != CONNECTING and self.phase.route.connect_request else "connect")
        elif conn.framing.mode == UNTIL_CLOSE:
            self._finish(conn, "ok", stamp)
        elif conn.reads or conn.log:
            self._finish(conn, "truncated", stamp)
        elif not self._sent_again(conn):
            self._finish(conn, "reset", stamp)

    def _sent_again(self, conn: Connection) -> bool:
        """A kept connection that ends before the first byte of an answer was closed while idle: some servers do so
        without having said so. The request goes out once more, on a new connection, due when it always was."""
        if not conn.served or conn.reads or conn.log or mono() >= self.cut_at > 0:
            return False
        self.ledger.stale += 1
        carried = conn.request
        self.pool.drop(conn)
        if (refused := self.pool.open(carried)) is not None:
            self._never_sent(carried, refused)
        return True

    # --- everything that may wait a little --------------------------------------------------------------------------

    def _chores(self, now: int) -> None:
        self.next_chore = now + CHORE_NS
        if self.cut_at and now >= self.cut_at:
            self._cancel_all()
        if now >= self.next_tick:
            self._sweep(now)
            self.ledger.tick(now)
            self.next_tick = now + TICK_NS
        self.ledger.outbox.flush()

    def _sweep(self, now: int) -> None:
        """Time limits, looked at every quarter of a second: a limit is met late by at most that."""
        for conn, outcome in self.pool.overdue(now, self.phase.limits):
            if conn.state < IDLE:
                self._broken(conn, outcome)
            else:
                self._finish(conn, outcome, now)
        self._advance()

    def _close(self) -> None:
        self._tell_the_end()
        for conn in list(self.pool.all.values()):
            self.pool.drop(conn)
