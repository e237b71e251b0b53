"""One socket and the request it carries. Slots and plain attributes: the hot path touches them for every token."""

from __future__ import annotations

import socket
from array import array

from .framing import Framing
from .link import pack_part

TAIL_BYTES = 8
CONNECTING, IDLE, BUSY = range(3)


class Connection:
    """Times are nanoseconds of the monotonic clock; 0 where something did not happen yet."""

    __slots__ = (
        "carries", "data", "due", "fd", "framing", "out", "reads", "ready", "sent", "seq", "served", "size_bytes", "sock", "state",
        "tail", "times", "touched",
    )  # fmt: skip

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.state = CONNECTING
        self.framing = Framing()
        self.times: array[int] = array("q")  # kernel stamp and user time of each read, in turn
        self.data: list[bytes] = []
        self.out: memoryview | None = None
        self.carries: tuple[int, int] | None = None  # (seq, due) that this connection was opened for
        self.served = 0  # answers that came whole
        self.seq = -1
        self.size_bytes = 0
        self.reads = self.due = self.ready = self.sent = self.touched = 0
        self.tail = b""  # the last bytes of what already went to the parent

    def begin(self, request: bytes) -> None:
        """A new request; forgets the one before."""
        self.state, self.times, self.data, self.framing = BUSY, array("q"), [], Framing()
        self.sent, self.reads, self.size_bytes, self.tail, self.touched = 0, 0, 0, b"", self.ready
        self.out = memoryview(request)

    def take_part(self) -> bytes:
        """The reads so far, packed for the parent; they are forgotten here."""
        packed = pack_part(self.seq, self.times, self.data)
        self.reads += len(self.data)
        self.size_bytes += sum(map(len, self.data))
        self.tail = b"".join(self.data[-TAIL_BYTES:])[-TAIL_BYTES:]
        self.times, self.data = array("q"), []
        return packed

    def tail_with(self, data: bytes) -> bytes:
        """The newest bytes, with the ones before them where they are few."""
        return data if len(data) >= TAIL_BYTES else self.tail + b"".join(self.data[-TAIL_BYTES:])
