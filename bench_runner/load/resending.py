"""Requests that the network lost: what the kernel knows of a connection (Linux, `struct tcp_info` of linux/tcp.h).

A segment that was sent again and that the other side had already (it says so: DSACK) was not lost, only its acknowledgement
was; the request waited for neither. For the others it waited a retransmission timeout, twice that for the second time.
"""

from __future__ import annotations

import socket
from struct import Struct

from .stamps import portable

_INFO = Struct("=8xI88xI112xI")  # tcpi_rto (µs), tcpi_total_retrans, tcpi_dsack_dups
_OLD = Struct("=8xI88xI")  # kernels before 4.19 end before the last
_TCP_INFO = 11  # not every build of Python has a name for it
TELLS = not portable()


class Resending:
    """Of one connection. `note` when a request begins on a new one, `stalled_ns` when one is over."""

    __slots__ = ("_count", "_rto_ns")

    def __init__(self) -> None:
        self._count = self._rto_ns = 0

    def note(self, sock: socket.socket) -> None:
        self._count, self._rto_ns = _told(sock)

    def stalled_ns(self, sock: socket.socket) -> int:
        """How long the request waited for its segments to be sent again, 0 where none was lost."""
        count, rto_ns = _told(sock)
        lost = count - self._count
        if lost <= 0:  # the timeout after a loss may still be a doubled one
            self._rto_ns = rto_ns
            return 0
        self._count = count
        return ((1 << min(lost, 8)) - 1) * self._rto_ns


def _told(sock: socket.socket) -> tuple[int, int]:
    """(segments lost since the connection began, its retransmission timeout in ns)."""
    if not TELLS:
        return 0, 0
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO.size)
    except OSError:
        return 0, 0
    if len(raw) == _INFO.size:
        rto_us, again, twice = _INFO.unpack(raw)
        return again - twice, rto_us * 1000
    if len(raw) < _OLD.size:
        return 0, 0
    rto_us, again = _OLD.unpack_from(raw)
    return again, rto_us * 1000
