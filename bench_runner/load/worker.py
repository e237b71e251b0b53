"""The worker: one plain epoll loop over non-blocking sockets, in a process of its own.

A receive takes the kernel's arrival stamp, appends bytes and stamp, and does nothing else: no parsing, no logging,
garbage collection off. Reads come first in every pass, because segments that queue up behind a late read share the last
one's stamp. The loop finds only what it must know: is this response complete?
"""

from __future__ import annotations

import errno
import heapq
import socket
import time
from collections import deque

from . import stamps
from .connection import BUSY, CONNECTING, IDLE, TAIL_BYTES, Connection
from .framing import BLANK, BROKEN, CHUNKED, DONE, UNTIL_CLOSE, ends_chunked
from .link import OUTCOME_CODE, PART_READS, End, Tick, pack_end, pack_exchange, pack_tick
from .outbox import Outbox
from .pacers import PACERS
from .phase import NS, Phase
from .poll import READ, WRITE, new_poller

TICK_NS = 250_000_000
SWEEP_NS = 50_000_000
PAUSE_AFTER_FAILURE_NS = 100_000_000
READ_BYTES = 65_536
MAX_ANSWER_BYTES = 64 * 2**20
SLOT_STEP_NS = 50_000  # slots open this far apart, so that the first requests do not delay each other
mono = time.monotonic_ns


class Worker:
    """Drives one phase and tells the parent everything over `link`."""

    def __init__(self, phase: Phase, link: socket.socket) -> None:
        self.phase, self.poller = phase, new_poller()
        self.outbox = Outbox(link, self.poller)
        self.clock = stamps.ClockOffset()
        self.connections: dict[int, Connection] = {}
        self.idle: deque[Connection] = deque()
        self.waiting: deque[tuple[int, int]] = deque()  # (seq, due) that no connection carries yet
        self.slots: list[int] = []  # closed loop: heap of times at which a free slot may send again
        self.offsets = PACERS[phase.arrival](phase.rate_per_s, phase.seed) if phase.rate_per_s else None
        self.next_offset = next(self.offsets) if self.offsets else 0
        self.issued = self.finished = self.in_flight = self.connecting = 0
        self.start = self.stop = self.last_due = 0
        self.stopping = False  # no new requests
        self.cut_at = 0  # when the drain ends
        self.loop_lag_max = self.gc_pause_max = self.fallbacks = self.kernel_stamps = self.stale = 0
        self.next_tick = self.next_sweep = 0

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the phase is over and the parent has everything."""
        self._open_ahead()
        self._begin()
        while not (self.stopping and self.in_flight == 0 and not self.waiting):
            events = self.poller.poll(self._timeout_s())
            woke = mono()
            self.clock.refresh()
            self._receive(events)
            self._issue()
            self._housekeeping(mono())
            self.loop_lag_max = max(self.loop_lag_max, mono() - woke)
        self._close()

    def _open_ahead(self) -> None:
        """Connections are opened before the clock starts, so that the first requests do not wait for a handshake."""
        lanes = self.phase.concurrency or min(256, max(1, round(self.phase.rate_per_s or 1)))
        for _ in range(min(lanes, self.phase.max_connections)):
            self._connect()
        limit = mono() + 2 * NS
        while self.connecting and mono() < limit:
            self._receive(self.poller.poll(0.05))

    def _begin(self) -> None:
        self.start = self.last_due = mono()
        self.next_tick = self.start + TICK_NS
        if self.phase.concurrency:
            self.slots = [self.start + i * SLOT_STEP_NS for i in range(self.phase.concurrency)]

    def _timeout_s(self) -> float:
        now = mono()
        until = min(self.next_tick, self.next_sweep or now + SWEEP_NS)
        if not self.stopping:
            if self.offsets is not None:
                until = min(until, self.start + self.next_offset)
            elif self.slots:
                until = min(until, self.slots[0])
        return max(0.0, (until - now) / NS)

    def _receive(self, events: list[tuple[int, int]]) -> None:  # noqa: C901 - one flat loop, on purpose
        """The hot path: everything a token costs the client happens here."""
        connections, offset, trusted = self.connections, self.clock.offset_ns, self.clock.trusted
        unpack, outbox = stamps.unpack_timespec, self.outbox
        for fd, mask in events:
            conn = connections.get(fd)
            if conn is None:
                if fd == outbox.fd and mask & READ and outbox.asked_to_stop():
                    self._stop_issuing(mono())
                    self.cut_at = mono()
                continue
            if mask & WRITE:
                self._writable(conn)
                if not mask & READ or connections.get(fd) is not conn:  # writing found it broken
                    continue
            try:
                data, ancillary, _, _ = conn.sock.recvmsg(READ_BYTES, stamps.ANCILLARY_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                self._broken(conn)
                continue
            now = stamp = mono()
            if ancillary and trusted:
                seconds, nanoseconds = unpack(ancillary[0][2])
                stamp = seconds * NS + nanoseconds - offset
                self.kernel_stamps += 1
                if stamp > now:  # younger than the read itself: the clocks disagree by a little, or were stepped
                    self.fallbacks += stamp - now > stamps.STEP_NS
                    stamp = now
            else:
                self.fallbacks += 1
            if not data:
                self._closed(conn, stamp)
                continue
            if conn.state != BUSY:  # bytes nobody asked for
                self._drop(conn)
                continue
            conn.times.append(stamp)
            conn.times.append(now)
            conn.data.append(data)
            conn.touched = now
            framing = conn.framing
            if framing.mode == CHUNKED:
                if (data[-4:] == BLANK or len(data) < TAIL_BYTES) and ends_chunked(conn.tail_with(data)):
                    self._finish(conn, "ok", stamp)
                elif len(conn.data) >= PART_READS:
                    self._hand_over(conn, stamp)
                continue
            mode = framing.feed(data)
            if mode == DONE:
                self._finish(conn, "ok", stamp)
            elif mode == BROKEN:
                self._finish(conn, "not_http", stamp)
            elif len(conn.data) >= PART_READS:
                self._hand_over(conn, stamp)

    # --- requests ---------------------------------------------------------------------------------------------------

    def _issue(self) -> None:
        """Everything that is due now gets a connection."""
        now = mono()
        phase = self.phase
        if not self.stopping and phase.issuing_ended(self.issued, now - self.start):
            self._stop_issuing(now)
        while not self.stopping:
            if self.offsets is not None:
                due = self.start + self.next_offset
                if due > now or (phase.duration_ns and due - self.start >= phase.duration_ns):
                    break
                self.next_offset = next(self.offsets)
            elif self.slots and self.slots[0] <= now:
                due = heapq.heappop(self.slots)
            else:
                break
            self.waiting.append((self.issued, due))
            self.last_due = due
            self.issued += 1
            self.in_flight += 1
            if phase.issuing_ended(self.issued, now - self.start):
                self._stop_issuing(now)
        self._assign()

    def _assign(self) -> None:
        while self.waiting:
            if self.idle:
                conn = self.idle.popleft()
                if self.connections.get(conn.fd) is conn:  # a dropped one's number may be another's by now
                    self._send(conn, *self.waiting.popleft())
                continue
            if self.connecting >= len(self.waiting) or len(self.connections) >= self.phase.max_connections:
                return
            if not self._connect():
                self._refuse(*self.waiting.popleft())

    def _send(self, conn: Connection, seq: int, due: int) -> None:
        conn.seq, conn.due, conn.ready = seq, due, mono()
        conn.begin(self.phase.render(seq))
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
        conn.out = conn.out[count:]
        if len(conn.out):
            self.poller.modify(conn.fd, READ | WRITE)
        else:
            conn.out = None

    def _finish(self, conn: Connection, outcome: str, end: int) -> None:
        """The exchange is over: tell the parent, free the slot, keep or drop the connection."""
        self._part(conn)
        self.outbox.data += pack_exchange(conn.seq, conn.due, conn.ready, conn.sent, end, OUTCOME_CODE[outcome])
        self.finished += 1
        self.in_flight -= 1
        framing = conn.framing
        reusable = outcome == "ok" and framing.head is not None and framing.head.keep_alive and not framing.extra
        if self.phase.concurrency:
            failed = outcome != "ok" or (framing.head is not None and framing.head.status >= 400)
            heapq.heappush(self.slots, mono() + PAUSE_AFTER_FAILURE_NS if failed else end)
        if reusable and framing.mode != UNTIL_CLOSE:
            conn.state, conn.served = IDLE, conn.served + 1
            self.idle.append(conn)
        else:
            self._drop(conn)

    def _hand_over(self, conn: Connection, stamp: int) -> None:
        """The middle of a long answer; one without an end is ended here."""
        self._part(conn)
        if conn.size_bytes > MAX_ANSWER_BYTES:
            self._finish(conn, "too_large", stamp)

    def _part(self, conn: Connection) -> None:
        """Hands the reads so far to the parent."""
        if conn.data:
            self.outbox.data += conn.take_part()

    def _refuse(self, seq: int, due: int) -> None:
        """A request could not get a connection at all."""
        now = mono()
        self.outbox.data += pack_exchange(seq, due, now, 0, now, OUTCOME_CODE["connect"])
        self.finished += 1
        self.in_flight -= 1
        if self.phase.concurrency:
            heapq.heappush(self.slots, now + PAUSE_AFTER_FAILURE_NS)

    def _stop_issuing(self, now: int) -> None:
        self.stopping, self.stop = True, now
        self.cut_at = now + self.phase.limits.drain_ns

    def _cancel_all(self) -> None:
        now = mono()
        for conn in list(self.connections.values()):
            if conn.state == BUSY:
                self._finish(conn, "cancelled", now)
            elif conn.carries and conn.state == CONNECTING:
                self.waiting.append(conn.carries)
                self._drop(conn)
        while self.waiting:
            seq, due = self.waiting.popleft()
            self.outbox.data += pack_exchange(seq, due, now, 0, now, OUTCOME_CODE["cancelled"])
            self.finished += 1
            self.in_flight -= 1

    # --- connections ------------------------------------------------------------------------------------------------

    def _connect(self, carried: tuple[int, int] | None = None) -> bool:
        """Begins a connection, for one request or for any; False when the system refuses at once."""
        address = self.phase.address
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError:  # no file descriptors left
            return False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stamps.enable(sock)
        code = sock.connect_ex(address.sockaddr)
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            return False
        conn = Connection(sock)
        conn.carries = carried
        conn.touched = mono()
        self.connections[conn.fd] = conn
        self.connecting += 1
        self.poller.add(conn.fd, READ | WRITE)
        return True

    def _writable(self, conn: Connection) -> None:
        if conn.state == CONNECTING:
            if conn.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._broken(conn)
                return
            self.connecting -= 1
            self._connected(conn)
        elif conn.state == BUSY:
            self.poller.modify(conn.fd, READ)
            self._write(conn)

    def _connected(self, conn: Connection) -> None:
        conn.state = IDLE
        self.poller.modify(conn.fd, READ)
        if conn.carries:
            self._send(conn, *conn.carries)
        else:
            self.idle.append(conn)

    def _broken(self, conn: Connection) -> None:
        """The socket reported an error."""
        if conn.state == CONNECTING:
            self._drop(conn)
            if conn.carries:
                self._refuse(*conn.carries)
            elif self.waiting and self.connecting < len(self.waiting):
                self._refuse(*self.waiting.popleft())
        elif conn.state == BUSY:
            if not self._sent_again(conn):
                self._finish(conn, "reset", mono())
        else:
            self._drop(conn)

    def _closed(self, conn: Connection, stamp: int) -> None:
        """The server closed its side."""
        if conn.state != BUSY:
            self._broken(conn)
        elif conn.framing.mode == UNTIL_CLOSE:
            self._finish(conn, "ok", stamp)
        elif conn.reads or conn.data:
            self._finish(conn, "truncated", stamp)
        elif not self._sent_again(conn):
            self._finish(conn, "reset", stamp)

    def _sent_again(self, conn: Connection) -> bool:
        """A kept connection that ends before the first byte of an answer was closed while idle: some servers do so
        without having said so. The request goes out once more, on a new connection, due when it always was."""
        if not conn.served or conn.reads or conn.data or mono() >= self.cut_at > 0:
            return False
        self.stale += 1
        carried = (conn.seq, conn.due)
        self._drop(conn)
        if not self._connect(carried):
            self._refuse(*carried)
        return True

    def _drop(self, conn: Connection) -> None:
        if self.connections.get(conn.fd) is conn:
            del self.connections[conn.fd]
            if conn.state == CONNECTING:
                self.connecting -= 1
            self.poller.remove(conn.fd)
            conn.sock.close()

    # --- everything that may wait a little --------------------------------------------------------------------------

    def _housekeeping(self, now: int) -> None:
        if now >= self.next_sweep:
            self._sweep(now)
            self.next_sweep = now + SWEEP_NS
        if self.stopping and self.cut_at and now >= self.cut_at:
            self._cancel_all()
        if now >= self.next_tick:
            self.outbox.data += pack_tick(self._tick(now))
            self.next_tick = now + TICK_NS
        if self.outbox.data:
            self.outbox.flush()

    def _sweep(self, now: int) -> None:
        """Time limits, looked at every 50 ms: a limit is met late by at most that."""
        limits = self.phase.limits
        for conn in list(self.connections.values()):
            if conn.state == BUSY:
                if now - conn.ready > limits.request_ns:
                    self._finish(conn, "request_timeout", now)
                elif conn.reads + len(conn.data) < 2 and now - conn.ready > limits.first_token_ns:
                    self._finish(conn, "first_token_timeout", now)
                elif now - conn.touched > limits.idle_ns:
                    self._finish(conn, "idle_timeout", now)
            elif conn.state == CONNECTING and now - conn.touched > limits.first_token_ns:
                self._broken(conn)

    def _tick(self, now: int) -> Tick:
        return Tick(
            now, self.in_flight, self.issued, self.finished, time.process_time_ns(), self.loop_lag_max,
            self.gc_pause_max, self.fallbacks, self.stale, self.kernel_stamps, self.outbox.backlog_max_bytes,
        )  # fmt: skip

    def _close(self) -> None:
        now = mono()
        self.outbox.data += pack_end(End(self.start, self.stop or now, self.last_due, self._tick(now)))
        for conn in list(self.connections.values()):
            self._drop(conn)
        self.outbox.drain()
