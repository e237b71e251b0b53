"""What a worker says of itself and of every exchange: packed when a pass had nothing else to do."""

from __future__ import annotations

import socket
import time
from collections import deque

from .counters import CounterPage, Tick
from .frames import OUTCOME_CODE, End, pack_end, pack_exchange, pack_part
from .outbox import Outbox
from .poll import Poller
from .rundelay import RunDelay

PACK_BATCH = 8
BACKLOG_MOST = 512
FLUSH_BYTES = 2**16
ABSENCE_NS = 5_000_000
Reads = list[int | bytes]


class Ledger:
    """Counters, and the queue to the parent. Maxima in nanoseconds."""

    def __init__(self, link: socket.socket, poller: Poller, board: CounterPage) -> None:
        self.outbox = Outbox(link, poller)
        self.run_delay = RunDelay()
        self._board = board
        self._unpacked: deque[tuple[int, Reads, bytes]] = deque()  # (seq, reads, what follows them)
        self.in_flight = self.issued = self.finished = self.refused = self.stale = 0
        self.kernel_stamps = self.fallbacks = self.clock_steps = 0
        self.loop_lag_max = self.gc_pause_max = self.away = 0

    def part(self, seq: int, reads: Reads) -> None:
        """The beginning or middle of a long answer."""
        self._unpacked.append((seq, reads, b""))

    def ended(
        self, seq: int, times: tuple[int, int, int, int, int, int], outcome: str, reads: Reads, place: tuple[int, int],
        sent_bytes: int = 0,
    ) -> None:  # fmt: skip
        """The end of an exchange, and what was read since its last part. `times`: due, ready, connect, sent, end, stalled."""
        self.finished += 1
        self._unpacked.append((seq, reads, pack_exchange(seq, *times, OUTCOME_CODE[outcome], *place, sent_bytes)))

    def absence(self, length: int) -> None:
        """Whatever kept the loop from its sockets for so long, itself included."""
        self.loop_lag_max = max(self.loop_lag_max, length)
        self.away += length if length > ABSENCE_NS else 0

    @property
    def waits(self) -> bool:
        return bool(self._unpacked)

    @property
    def presses(self) -> bool:
        return len(self._unpacked) > BACKLOG_MOST

    def pack(self, most: int = PACK_BATCH) -> None:
        """Some of what was read, as bytes for the parent."""
        unpacked, data = self._unpacked, self.outbox.data
        for _ in range(min(max(most, len(unpacked) // 32), len(unpacked))):  # what comes faster is packed faster
            seq, reads, ending = unpacked.popleft()
            if reads:
                data += pack_part(seq, reads)
            data += ending
        if len(data) > FLUSH_BYTES:
            self.outbox.flush()

    def tick(self, now: int, *, load_ended: bool = False) -> Tick:
        """The state as it is now, on the board too."""
        tick = Tick(
            at_ns=now,
            in_flight=self.in_flight,
            issued=self.issued,
            finished=self.finished,
            refused=self.refused,
            cpu_ns=time.process_time_ns(),
            run_delay_ns=self.run_delay.read(),
            loop_lag_max_ns=self.loop_lag_max,
            away_ns=self.away,
            gc_pause_max_ns=self.gc_pause_max,
            stamp_fallbacks=self.fallbacks,
            stale_connections=self.stale,
            kernel_stamps=self.kernel_stamps,
            clock_steps=self.clock_steps,
            backlog_bytes=self.outbox.backlog_bytes,
            backlog_max_bytes=self.outbox.backlog_max_bytes,
            load_ended=int(load_ended),
        )
        self._board.write(tick)
        return tick

    def close(self, now: int, window: tuple[int, int, int], load_cpu_ns: int) -> None:
        """Everything that is left, and the End (`window`: start, stop, last due); waits for the parent."""
        tick = self.tick(now, load_ended=True)
        self.pack(len(self._unpacked))
        self.outbox.data += pack_end(End(*window, tick, load_cpu_ns=load_cpu_ns))
        self.outbox.drain()
