"""When a message arrived, by the kernel's word where it gives it: waking up is no part of a path."""

from __future__ import annotations

import socket
import struct
import sys
import time

SO_TIMESTAMPNS = 35
ANCILLARY_BYTES = 64
OLDEST_NS = 10_000_000_000
TIGHT_NS, TRIES = 3_000, 4
_timespec = struct.Struct("qq").unpack_from
mono = time.monotonic_ns


def ask_for(sock: socket.socket) -> bool:
    """True where the kernel will stamp what this socket receives."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def arrival_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """When the message that was just received arrived, on the monotonic clock; now, where nobody knows, or where the clock was
    set meanwhile. Call it at once."""
    before = mono()
    if not ancillary:
        return before
    seconds, nanoseconds = _timespec(ancillary[0][2])
    for _ in range(TRIES):  # two clocks are read as one only where nothing came in between
        before, real, after = mono(), time.time_ns(), mono()
        if after - before < TIGHT_NS:
            break
    age = real - (seconds * 1_000_000_000 + nanoseconds)
    return before - age if 0 <= age < OLDEST_NS else before
