"""One socket and the request it carries. Slots and plain attributes: the hot path touches them for every token."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

from .clock import NS
from .framing import Framing
from .phase import Limits
from .resending import Resending

if TYPE_CHECKING:
    from .tls import TlsChannel

TAIL_BYTES = 8
PAUSE_AFTER_FAILURE_NS = 100_000_000
MOST_RETRY_AFTER_S = 60
WAY_LIMIT_NS = 15 * NS  # for a connection to be usable
CONNECTING, TUNNELING, HANDSHAKING, IDLE, BUSY = range(5)


class Request(NamedTuple):
    """Its number, when it was due, and when the loop took it up: what it waits for from then on is not the loop."""

    seq: int
    due: int
    ready: int


NOTHING = Request(-1, 0, 0)
SAYING = b"{"  # stands in every event of every engine


def _says(read: bytes) -> bool:
    """Whether it holds an event, or a part of one. A head may name addresses in braces."""
    return SAYING in (read.partition(b"\r\n\r\n")[2] if read.startswith(b"HTTP/") else read)


class Connection:
    """Times are nanoseconds of the monotonic clock; 0 where something did not happen yet.

    `log` holds, for each read in turn, its kernel stamp, the time of the read itself, the time before which none of its
    bytes can have come, and the bytes.
    """

    __slots__ = (
        "answered", "attempt", "carries", "connect", "fd", "first", "framing", "kept", "log", "out", "reads", "ready", "recvmsg", "request", "resending", "said", "sent",
        "sent_bytes", "served", "size_bytes", "sock", "state", "tail", "tls", "touched",
    )  # fmt: skip

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.recvmsg = sock.recvmsg
        self.fd = sock.fileno()
        self.state = CONNECTING
        self.framing = Framing()
        self.log: list[int | bytes] = []
        self.kept: list[bytes] = []  # of a conversation's answer, what was already handed over
        self.out: memoryview | None = None
        self.tls: TlsChannel | None = None
        self.carries: Request | None = None  # that this connection was opened for
        self.first = 0  # the address that was tried first, as a turn of the round
        self.attempt = 0  # addresses tried before this one
        self.served = 0  # answers that came whole
        self.connect = 0  # what it took to be usable; told of the first request only
        self.request = NOTHING
        self.size_bytes = self.sent_bytes = 0
        self.resending = Resending()
        self.reads = self.ready = self.sent = self.touched = 0
        self.tail = b""  # the last bytes of what was already handed over
        self.said = 0  # when the last read came that said anything, of those that were handed over
        self.answered = False  # whether anything was said after the first read, which is a head and may be more

    def begin(self, request: bytes) -> None:
        """A new request; forgets the one before."""
        self.state, self.log, self.kept, self.framing = BUSY, [], [], Framing()
        self.sent, self.reads, self.size_bytes, self.tail, self.touched, self.said = 0, 0, 0, b"", self.ready, 0
        self.answered = False
        self.out = memoryview(self.tls.encrypt(request) if self.tls else request)
        self.sent_bytes = len(self.out)
        if not self.served:
            self.resending.note(self.sock)

    @property
    def last_read(self) -> int:
        """When anything was last read for this request; when it began, if nothing was."""
        return self.log[-3] if self.log else self.touched  # type: ignore[return-value]

    def answers(self) -> bool:
        """Whether more than a head has come, and more than came with it: some servers say whose turn it is before they read the prompt."""
        if not self.answered:
            later = range(3 if self.reads else 7, len(self.log), 4)
            self.answered = any(_says(self.log[at]) for at in later)  # type: ignore[arg-type]
        return self.answered

    def last_said(self) -> int:
        """When anything last came that holds more than a head or a comment, by which some servers keep a line alive while they read a prompt; 0 if nothing did."""
        log = self.log
        for at in range(len(log) - 1, 0, -4):
            if _says(log[at]):  # type: ignore[arg-type]
                return log[at - 2]  # type: ignore[return-value]
        return self.said

    def take_log(self, *, keep: bool) -> list[int | bytes]:
        """The reads so far; they are forgotten here, but for their bytes where the answer is to be read once more."""
        log = self.log
        if keep:
            self.kept += log[3::4]  # type: ignore[arg-type]
        self.said, self.answered = self.last_said(), self.answers()
        self.reads += len(log) // 4
        self.size_bytes += sum(map(len, log[3::4]))  # type: ignore[arg-type]
        self.touched, self.tail, self.log = self.last_read, self.tail_with_last()[-TAIL_BYTES:], []
        return log

    def tail_with_last(self) -> bytes:
        """The newest bytes: the last reads, and what went before them if they are few."""
        return self.tail + b"".join(self.log[3::4][-TAIL_BYTES:])  # type: ignore[arg-type]

    def rest_ns(self, honour_retry_after: bool) -> int:
        """How long a slot rests after a failure: a moment, or what the server asked for where that is to be honoured."""
        head = self.framing.head
        asked = head.headers.get(b"retry-after", b"") if head and honour_retry_after else b""
        return min(int(asked[:4]), MOST_RETRY_AFTER_S) * NS if asked.isdigit() else PAUSE_AFTER_FAILURE_NS

    def overdue(self, now: int, limits: Limits) -> str | None:
        """The limit that passed, as an outcome; None while none has."""
        if self.state == BUSY:
            if now - self.ready > limits.request_ns:
                return "request_timeout"
            if not self.answers():  # waiting is no silence inside an answer
                return "first_token_timeout" if now - self.ready > limits.first_token_ns else None
            return "idle_timeout" if now - self.last_said() > limits.idle_ns else None
        if self.state < IDLE and now - self.touched > min(limits.first_token_ns, WAY_LIMIT_NS):
            return {TUNNELING: "proxy", HANDSHAKING: "tls"}.get(self.state, "connect")
        return None
