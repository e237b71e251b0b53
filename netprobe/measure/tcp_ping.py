"""TCP request and response on one connection (netperf's RR): one small message in flight, `TCP_NODELAY`.

A round trip runs from handing the request to the kernel to the reply's arrival there, less what the other side held it: the
answering agent tells with each reply how long ago the request had arrived when it sent. So neither side's waking up counts.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from tokenmark_schemas.netprobe import ProbeTest
from tokenmark_schemas.probe_result import Stalled, Times

from .stamps import ANCILLARY_BYTES, arrival_ns, ask_for
from .times import Durations, mono, paced

HELD = struct.Struct("!Q")
SIZES = struct.Struct("!II")  # of requests and of replies: what a conversation begins with
MIN_BYTES, MAX_BYTES = 16, 65_507
PATIENCE_S = 5
TCP_INFO, TIMEOUT_US = 11, struct.Struct("=8xI")  # Linux: `tcpi_rto` of struct tcp_info
NEARLY, SLOW_NS, TIMEOUT_NS = 0.9, 20_000_000, 200_000_000


class Ping:
    """One connection to an answering agent. Raises OSError."""

    def __init__(self, host: str, port: int, message_bytes: int, reply_bytes: int | None = None) -> None:
        self._sock = socket.create_connection((host, port), timeout=PATIENCE_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.kernel = ask_for(self._sock)
        self._message, self._reply_bytes = b"\x01" * message_bytes, reply_bytes or message_bytes
        self._sock.sendall(SIZES.pack(message_bytes, self._reply_bytes))

    def __enter__(self) -> Ping:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def timeout_ns(self) -> tuple[int, ...]:
        """After how long the kernel sends again what got no answer; nothing where it does not tell."""
        if not self.kernel:
            return ()
        raw = self._sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, TIMEOUT_US.size)
        return (1000 * int(TIMEOUT_US.unpack(raw)[0]),)

    def trip(self) -> tuple[int, int]:
        """(round trip without what the other side held it, what it held), in nanoseconds."""
        size, got, reply = self._reply_bytes, 0, b""
        sent = mono()
        self._sock.sendall(self._message)
        while got < size:
            piece, ancillary, _, _ = self._sock.recvmsg(size - got, ANCILLARY_BYTES)
            arrived = arrival_ns(ancillary)
            if not piece:
                raise OSError("the answering agent closed the connection")
            got += len(piece)
            reply = reply + piece if reply else piece
        (held,) = HELD.unpack_from(reply)
        return max(0, arrived - sent - held), held


def tcp_latency(host: str, port: int, test: ProbeTest) -> dict[str, object]:
    """`rtt`, `stalled`, `held` and `stamps` of a measurement. Raises OSError."""
    with Ping(host, port, test.message_bytes, test.reply_bytes) as ping:
        for _ in paced(test.warmup_seconds, test.rate_hz):
            ping.trip()
        trips, held, slow, timeouts = Durations(), Durations(), list[int](), list[int]()
        for _ in paced(test.seconds, test.rate_hz):
            trip, kept = ping.trip()
            trips.add(trip)
            held.add(kept)
            if trip > SLOW_NS or not timeouts:
                slow.append(trip)
                timeouts += ping.timeout_ns()
        stamps, times = "kernel" if ping.kernel else "user", trips.times()
        waited = _stalled(slow, timeouts, times.min_ns if times else 0)
        return {"rtt": times, "stalled": waited, "held": held.times(), "stamps": stamps}


def _stalled(slow: list[int], timeouts: list[int], shortest: int) -> Stalled | None:
    """Trips that took a timeout longer than the shortest. The kernel's may be long for a while, where the handshake was repeated
    or after a loss; it begins with 200 ms, or less where an administrator says so."""
    if not timeouts:
        return None
    limit = shortest + NEARLY * min(TIMEOUT_NS, *timeouts)
    found = [trip for trip in slow if trip > limit]
    return Stalled(count=len(found), total_ns=sum(found))


def pinged_while(host: str, port: int, seconds: float, rate_hz: int, over: Callable[[], bool]) -> Times | None:
    """Round trips beside something else, until that is over; None where there were none."""
    trips = Durations()
    with Ping(host, port, MIN_BYTES) as ping:
        for _ in paced(seconds, rate_hz):
            if over():
                break
            trips.add(ping.trip()[0])
    return trips.times()


def answer(connection: socket.socket) -> None:
    """The other half: says how long it held what it heard, in as many bytes as are wanted, until the client leaves."""
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(60)
        ask_for(connection)
        try:
            size, reply_bytes = SIZES.unpack(whole(connection, SIZES.size)[0])
            padding = bytes(max(0, reply_bytes - HELD.size))
            while MIN_BYTES <= size <= MAX_BYTES and MIN_BYTES <= reply_bytes <= MAX_BYTES:
                _, arrived = whole(connection, size)
                connection.sendall(HELD.pack(max(0, mono() - arrived)) + padding)
        except OSError:
            return


def whole(connection: socket.socket, size: int) -> tuple[bytes, int]:
    """Exactly so many bytes, in however many segments they come, and when the last of them arrived. Raises OSError when the
    other side leaves."""
    data, arrived = b"", 0
    while len(data) < size:
        piece, ancillary, _, _ = connection.recvmsg(size - len(data), ANCILLARY_BYTES)
        arrived = arrival_ns(ancillary)
        if not piece:
            raise OSError("the other side closed the connection")
        data += piece
    return data, arrived
