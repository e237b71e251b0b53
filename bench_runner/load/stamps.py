"""Kernel arrival times on the monotonic clock.

`SO_TIMESTAMPNS` tells, in realtime, when the last segment queued at a read arrived. The offset between the two clocks
is sampled on every pass of the loop; when it jumps by more than 100 µs the realtime clock was stepped, and the reads of
that pass fall back to the time of the read itself, counted.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time

SO_TIMESTAMPNS = 35  # Linux; Python's socket module has no name for it
ANCILLARY_BYTES = 64
STEP_NS = 100_000
NEAR_NS = 2_000
unpack_timespec = struct.Struct("qq").unpack_from


def portable() -> bool:
    """Whether to do without what only Linux has: elsewhere always, on Linux where TOKENMARK_STAMPS=user asks for it."""
    return not sys.platform.startswith("linux") or os.environ.get("TOKENMARK_STAMPS") == "user"


def enable(sock: socket.socket) -> bool:
    """Asks the kernel for arrival stamps; False where it has none to give."""
    if portable():
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


class ClockOffset:
    """realtime − monotonic in nanoseconds. `trusted` is False on a pass that saw the realtime clock step."""

    __slots__ = ("offset_ns", "steps", "trusted")

    def __init__(self) -> None:
        self.offset_ns, self.trusted, self.steps = 0, False, 0

    def refresh(self) -> None:
        """One sample a pass. One near the last is taken as it is; another is taken again, because it may only have
        been interrupted, and only if it stays far off was the clock stepped."""
        measured = time.time_ns() - time.monotonic_ns()
        if -NEAR_NS < measured - self.offset_ns < NEAR_NS:
            self.offset_ns, self.trusted = measured, True
            return
        self._look_closer()

    def _look_closer(self) -> None:
        for _ in range(5):
            before = time.monotonic_ns()
            real = time.time_ns()
            after = time.monotonic_ns()
            if after - before < 5_000:
                break
        measured = real - (before + after) // 2
        self.trusted = not self.offset_ns or abs(measured - self.offset_ns) < STEP_NS
        self.steps += not self.trusted
        self.offset_ns = measured
