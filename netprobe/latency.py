"""TCP ping-pong: round trips in nanoseconds, the reply stamped by the kernel where it can.

One message in flight, TCP_NODELAY, blocking sockets: nothing but the path and two wake-ups is measured. The same-node
figure of the same tool is its floor.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

from tokenmark_schemas.netprobe import ProbeTest, Rtt

SO_TIMESTAMPNS = 35
_timespec = struct.Struct("qq").unpack_from
mono = time.monotonic_ns


def measure(host: str, port: int, test: ProbeTest) -> tuple[Rtt, str]:
    """Ping-pong for the test's length after its warm-up -> figures, and `kernel` or `user` stamps. Raises OSError."""
    with socket.create_connection((host, port), timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kernel = _stamped(sock)
        sock.settimeout(5)
        message = b"\x01" * test.message_bytes
        sock.sendall(struct.pack("!I", test.message_bytes))
        _ping(sock, message, test.warmup_seconds, test.rate_hz)
        trips = _ping(sock, message, test.seconds, test.rate_hz)
    if not trips:
        raise OSError("no reply came back")
    return _figures(trips), "kernel" if kernel else "user"


def _stamped(sock: socket.socket) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def _ping(sock: socket.socket, message: bytes, seconds: int, rate_hz: int | None) -> list[int]:
    trips: list[int] = []
    start = mono()
    end, step, number = start + seconds * 1_000_000_000, 1_000_000_000 // rate_hz if rate_hz else 0, 0
    while (now := mono()) < end:
        if step:
            number += 1
            due = start + number * step
            if due > now:
                time.sleep((due - now) / 1e9)
        sent = mono()
        sock.sendall(message)
        trips.append(_reply(sock, len(message)) - sent)
    return trips


def _reply(sock: socket.socket, size: int) -> int:
    """Receives a whole reply; returns the arrival of its last segment on the monotonic clock."""
    stamp, got = 0, 0
    while got < size:
        data, ancillary, _, _ = sock.recvmsg(size - got, 64)
        now, real = mono(), time.time_ns()
        if not data:
            raise OSError("the other side closed the connection")
        got += len(data)
        stamp = now
        if ancillary:
            seconds, nanoseconds = _timespec(ancillary[0][2])
            age = real - (seconds * 1_000_000_000 + nanoseconds)
            stamp = now - age if 0 <= age < 1_000_000_000 else now
    return stamp


def _figures(trips: list[int]) -> Rtt:
    ordered = sorted(trips)
    n = len(ordered)

    def at(q: float) -> int:
        return ordered[min(n - 1, int(q * (n - 1) + 0.5))]

    return Rtt(
        count=n, min_ns=ordered[0], p50_ns=at(0.5), p90_ns=at(0.9), p99_ns=at(0.99) if n >= 500 else None,
        max_ns=ordered[-1], mean_ns=sum(ordered) // n,
    )  # fmt: skip


def _whole(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, in however many segments they come: MSG_WAITALL says nothing to a socket with a time limit.
    Raises OSError when the other side leaves."""
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise OSError("the other side closed the connection")
        data += piece
    return data


def answer(connection: socket.socket) -> None:
    """The server's half: says back what it hears, until the client leaves."""
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(60)
        try:
            (size,) = struct.unpack("!I", _whole(connection, 4))
            while 0 < size <= 65_536:
                connection.sendall(_whole(connection, size))
        except OSError:
            return
