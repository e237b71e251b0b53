"""Worker -> parent: length-prefixed binary frames over a socket pair.

Every read's kernel stamp, user time, earliest time and size travel beside the raw bytes; the worker decides nothing about their
meaning. A long answer leaves in parts of 64 reads, so that the worker's memory and the cost of an answer's end depend
on neither its length nor on how many end at once. Integers are nanoseconds on the machine's monotonic clock, which both processes share.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from typing import Any

from .counters import TICK, Tick

EXCHANGE, END, PART = 1, 2, 3
PART_READS = 64
READ_BYTES = 16_384  # the most that one read takes
SHORT_NS = 500_000_000

# how an exchange ended; the parent refines OK by status and content
OUTCOMES = (
    "ok", "cancelled", "connect", "proxy", "tls", "reset", "truncated", "not_http", "request_timeout",
    "first_token_timeout", "idle_timeout", "too_large", "no_descriptors", "no_ports",
)  # fmt: skip
OUTCOME_CODE = {name: code for code, name in enumerate(OUTCOMES)}

_HEADER = struct.Struct("=BI")
_EXCHANGE = struct.Struct("=qqqqqqqHqiI")
_WINDOW = struct.Struct("=qqqq")


@dataclass(slots=True)
class Exchange:
    """One request as the worker saw it. `sent_ns` is 0 when it never was sent, `connect_ns` where it found a connection
    open, `stalled_ns` where the network lost nothing of it; `conversation` and `turn` are -1 where there is none. What read i brought arrived in [since_ns[i], stamps_ns[i]],
    its last byte at stamps_ns[i]."""

    seq: int
    due_ns: int
    ready_ns: int
    connect_ns: int
    sent_ns: int
    end_ns: int
    outcome: str
    stamps_ns: array[int]
    reads_ns: array[int]
    since_ns: array[int]
    sizes: array[int]
    data: bytes
    conversation: int = -1
    turn: int = -1
    stalled_ns: int = 0
    sent_bytes: int = 0


@dataclass(slots=True)
class End:
    """The last frame: the window actually driven, and the final counters. `busiest_cores` is the processor that the
    busiest worker used while it sent; what it used up to then in all is `load_cpu_ns`."""

    start_ns: int
    stop_ns: int
    last_due_ns: int
    tick: Tick
    workers: int = 1
    skew_ns: int = 0  # from the first worker's start to the last one's
    first_stop_ns: int = 0  # when the first of several workers stopped sending
    load_cpu_ns: int = 0
    busiest: float | None = None  # of several workers

    @property
    def steady_until_ns(self) -> int:
        """Until when the whole load was there."""
        return self.first_stop_ns or self.stop_ns

    @property
    def busiest_cores(self) -> float:
        """Nothing is known of a window too short to tell: 0."""
        if self.busiest is not None:
            return self.busiest
        length = self.stop_ns - self.start_ns
        return self.load_cpu_ns / length if length > SHORT_NS else 0.0

    def moved(self, by_ns: int) -> End:
        """The same on a clock that is so much ahead."""
        if not by_ns:
            return self
        tick = replace(self.tick, at_ns=self.tick.at_ns + by_ns)
        times = {name: getattr(self, name) + by_ns for name in ("start_ns", "stop_ns", "last_due_ns")}
        if self.first_stop_ns:
            times["first_stop_ns"] = self.first_stop_ns + by_ns
        return replace(self, **times, tick=tick)

    @classmethod
    def together(cls, ends: list[End]) -> End:
        """Several workers as one: from the first start to the last stop."""
        starts = [end.start_ns for end in ends]
        return cls(
            min(starts), max(end.stop_ns for end in ends), max(end.last_due_ns for end in ends),
            Tick.together([end.tick for end in ends]), sum(end.workers for end in ends),
            max(max(starts) - min(starts), *(end.skew_ns for end in ends)),
            min((end.steady_until_ns for end in ends if end.tick.issued), default=0),
            sum(end.load_cpu_ns for end in ends), max(end.busiest_cores for end in ends),
        )  # fmt: skip


Event = Exchange | End
_PART = struct.Struct("=qI")
_ONE = struct.Struct("=BIqIqqqI")  # header and part of a single read


def pack_part(seq: int, log: list[Any]) -> bytes:
    """`log` holds kernel stamp, user time, earliest time and bytes of each read in turn."""
    if len(log) == 4:  # a short answer in one read: a third of the cost
        stamp, now, since, raw = log
        return _ONE.pack(PART, _PART.size + 28 + len(raw), seq, 1, stamp, now, since, len(raw)) + raw  # type: ignore[no-any-return]
    data: list[bytes] = log[3::4]
    raw = b"".join(data)
    times = array("q", log[0::4]) + array("q", log[1::4]) + array("q", log[2::4])
    size = _PART.size + 28 * len(data) + len(raw)
    return b"".join((_HEADER.pack(PART, size), _PART.pack(seq, len(data)), times, array("I", map(len, data)), raw))


def pack_exchange(
    seq: int,
    due: int,
    ready: int,
    connect: int,
    sent: int,
    end: int,
    stalled: int,
    outcome: int,
    conversation: int = -1,
    turn: int = -1,
    sent_bytes: int = 0,
) -> bytes:
    """Ends an exchange: its reads went before, in parts."""
    fields = (seq, due, ready, connect, sent, end, stalled, outcome, conversation, turn, sent_bytes)
    return _HEADER.pack(EXCHANGE, _EXCHANGE.size) + _EXCHANGE.pack(*fields)


def pack_end(end: End) -> bytes:
    payload = _WINDOW.pack(end.start_ns, end.stop_ns, end.last_due_ns, end.load_cpu_ns) + TICK.pack(*astuple(end.tick))
    return _HEADER.pack(END, len(payload)) + payload


class _Reads:
    """The reads of one exchange, as its parts come in."""

    __slots__ = ("data", "reads", "since", "sizes", "stamps")

    def __init__(self) -> None:
        self.stamps, self.reads, self.since, self.sizes = array("q"), array("q"), array("q"), array("I")
        self.data: list[bytes] = []

    def take(self, payload: memoryview, count: int) -> None:
        at = _PART.size
        for times in (self.stamps, self.reads, self.since):
            times.frombytes(payload[at : at + 8 * count])
            at += 8 * count
        self.sizes.frombytes(payload[at : at + 4 * count])
        self.data.append(bytes(payload[at + 4 * count :]))


class Unpacker:
    """Bytes as they come -> events."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._open: dict[int, _Reads] = {}

    def feed(self, data: bytes) -> Iterator[Event]:
        self._buffer += data
        at = 0
        view = memoryview(self._buffer)
        try:
            while len(view) - at >= _HEADER.size:
                kind, size = _HEADER.unpack_from(view, at)
                if len(view) - at - _HEADER.size < size:
                    break
                event = self._event(kind, view[at + _HEADER.size : at + _HEADER.size + size])
                at += _HEADER.size + size
                if event is not None:
                    yield event
        finally:
            view.release()
            del self._buffer[:at]

    def _event(self, kind: int, payload: memoryview) -> Event | None:
        with payload:
            if kind == PART:
                seq, count = _PART.unpack_from(payload)
                self._open.setdefault(seq, _Reads()).take(payload, count)
                return None
            if kind == EXCHANGE:
                return self._exchange(payload)
            start, stop, last_due, cpu = _WINDOW.unpack_from(payload)
            return End(start, stop, last_due, Tick(*TICK.unpack_from(payload, _WINDOW.size)), load_cpu_ns=cpu)

    def _exchange(self, payload: memoryview) -> Exchange:
        seq, due, ready, connect, sent, end, stalled, outcome, conversation, turn, size = _EXCHANGE.unpack(payload)
        reads = self._open.pop(seq, None) or _Reads()
        return Exchange(
            seq,
            due,
            ready,
            connect,
            sent,
            end,
            OUTCOMES[outcome],
            reads.stamps,
            reads.reads,
            reads.since,
            reads.sizes,
            b"".join(reads.data),
            conversation,
            turn,
            stalled,
            size,
        )
