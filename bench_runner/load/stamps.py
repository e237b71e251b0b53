"""Kernel arrival times on the monotonic clock.

`SO_TIMESTAMPNS` tells, in realtime, when the last segment queued at a read arrived. The offset between the two clocks
is sampled on every pass of the loop; when it jumps by more than 100 µs the realtime clock was stepped, and the reads of
that pass fall back to the time of the read itself, counted.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from dataclasses import dataclass

SO_TIMESTAMPNS = 35  # Linux; Python's socket module has no name for it
ANCILLARY_BYTES = 64
STEP_NS = 100_000
unpack_timespec = struct.Struct("qq").unpack_from


def enable(sock: socket.socket) -> bool:
    """Asks the kernel for arrival stamps; False where it has none to give."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


@dataclass
class ClockOffset:
    """realtime − monotonic in nanoseconds. `trusted` is False on a pass that saw the realtime clock step."""

    offset_ns: int = 0
    trusted: bool = False
    steps: int = 0

    def refresh(self) -> None:
        """One sample, taken between two monotonic reads; a sample that was interrupted is taken again."""
        for _ in range(3):
            before = time.monotonic_ns()
            real = time.time_ns()
            after = time.monotonic_ns()
            if after - before < 5_000:
                break
        measured = real - (before + after) // 2
        first = self.offset_ns == 0
        self.trusted = first or abs(measured - self.offset_ns) < STEP_NS
        if not self.trusted:
            self.steps += 1
        self.offset_ns = measured
