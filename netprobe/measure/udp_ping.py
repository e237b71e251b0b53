"""UDP messages there and back at a pace: round trips, loss, order, jitter. A message that never comes back is lost on one way
or the other; which one, nobody here can tell."""

from __future__ import annotations

import select
import socket
import struct
from collections import Counter

from tokenmark_schemas.netprobe import ProbeTest
from tokenmark_schemas.probe_result import Datagrams

from .connect import named
from .stamps import ANCILLARY_BYTES, arrival_ns, ask_for
from .times import SECOND_NS, Durations, mono, paced

HEAD = struct.Struct("!QQ")  # number, and in a reply how long it was held
REPLY = 1 << 63  # marks the number of a reply, which is never answered: two agents must not echo each other
RATE_HZ = 200
GRACE_NS = SECOND_NS


class Exchange:
    """What was sent, and what of it came back."""

    def __init__(self, host: str, port: int, message_bytes: int) -> None:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._sock = socket.socket(family, kind)
        self._sock.connect(address)
        self._sock.setblocking(False)
        self.kernel = ask_for(self._sock)
        self._padding = bytes(message_bytes - HEAD.size)
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self._waiting: dict[int, int] = {}
        self.trips, self.held = Durations(), Durations()
        self.sent = self.reordered = self.late = 0
        self.failures: Counter[str] = Counter()
        self._highest, self._last, self._jitter = -1, 0, 0.0

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def send(self) -> None:
        """One message. One that the kernel will not take, or that an earlier one's refusal meets, is lost too."""
        self._waiting[self.sent] = mono()
        self.sent += 1
        try:
            self._sock.send(HEAD.pack(self.sent - 1, 0) + self._padding)
        except OSError as exc:
            self.failures[named(exc)] += 1

    def hear(self, until_ns: int) -> None:
        """Takes replies until then, at least those that are there."""
        while self._waiting and self._poll.poll(max(0, until_ns - mono()) / 1e6):
            try:
                reply, ancillary, _, _ = self._sock.recvmsg(65_535, ANCILLARY_BYTES)
            except OSError as exc:  # a refusal comes back to the next call
                if not isinstance(exc, BlockingIOError):
                    self.failures[named(exc)] += 1
                continue
            self._take(reply, arrival_ns(ancillary))

    def _take(self, reply: bytes, arrived: int) -> None:
        if len(reply) < HEAD.size:
            return
        number, held = HEAD.unpack_from(reply)
        sent = self._waiting.pop(number ^ REPLY, None)
        if sent is None:
            return
        trip = max(0, arrived - sent - held)
        if trip > GRACE_NS:
            self.late += 1
            return
        number ^= REPLY
        if self._highest > number:
            self.reordered += 1
        elif self._highest >= 0:
            self._jitter += (abs(trip - self._last) - self._jitter) / 16
        self._highest, self._last = max(self._highest, number), trip
        self.trips.add(trip)
        self.held.add(held)

    def datagrams(self) -> Datagrams:
        return Datagrams(
            sent=self.sent, lost=len(self._waiting) + self.late, reordered=self.reordered, jitter_ns=round(self._jitter)
        )


def udp_latency(host: str, port: int, test: ProbeTest) -> dict[str, object]:
    """`rtt`, `held`, `datagrams`, `failures` and `stamps` of a measurement; an `error` where nothing came back. Raises OSError."""
    rate = test.rate_hz or RATE_HZ
    for warm in (True, False):
        seconds = test.warmup_seconds if warm else test.seconds
        with Exchange(host, port, test.message_bytes) as exchange:
            for due in paced(seconds, rate):
                exchange.send()
                exchange.hear(due + SECOND_NS // rate)
            exchange.hear(mono() + GRACE_NS)
            rtt, held, counted = exchange.trips.times(), exchange.held.times(), exchange.datagrams()
            stamps, failures = "kernel" if exchange.kernel else "user", dict(exchange.failures) or None
    error = None if rtt is not None else f"none of {counted.sent} UDP messages came back"
    return {"rtt": rtt, "held": held, "datagrams": counted, "stamps": stamps, "failures": failures, "error": error}


def answer_datagrams(sock: socket.socket) -> None:
    """The other half: says back what it hears, until the socket is closed."""
    ask_for(sock)
    while sock.fileno() >= 0:
        try:
            message, ancillary, _, sender = sock.recvmsg(65_535, ANCILLARY_BYTES)
            arrived = arrival_ns(ancillary)
            if len(message) < HEAD.size:
                continue
            number, _ = HEAD.unpack_from(message)
            if not number & REPLY:
                sock.sendto(HEAD.pack(number | REPLY, max(0, mono() - arrived)) + message[HEAD.size :], sender)
        except OSError:  # of this one sender: its port is closed, or the way to it
            continue
