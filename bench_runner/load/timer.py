"""A wake-up at an absolute time, to the microsecond: epoll's own timeout counts whole milliseconds.

Linux has timerfd; Python's `os` has it from 3.13 on, before that it is reached through libc. Elsewhere there is none, and
the poller's timeout has to do.
"""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress

from .clock import NS
from .stamps import portable

_NONBLOCK_CLOEXEC = 0o2004000
_ABSOLUTE = 1


class _Times(ctypes.Structure):
    _fields_ = [("interval_s", ctypes.c_long), ("interval_ns", ctypes.c_long),
                ("value_s", ctypes.c_long), ("value_ns", ctypes.c_long)]  # fmt: skip


class Timer:
    """`fd` becomes readable at the time set; -1 where the system has no such thing."""

    def __init__(self) -> None:
        self.fd = -1
        self._set_at = 0
        if not portable():
            with suppress(OSError, AttributeError):
                libc = ctypes.CDLL(None)
                self._settime = libc.timerfd_settime
                self.fd = libc.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)

    def set(self, at_ns: int) -> bool:
        """Rings at that monotonic time (at once, if it has passed); False where it cannot."""
        if self.fd < 0:
            return False
        if at_ns != self._set_at:
            self._set_at = at_ns
            times = _Times(0, 0, *divmod(max(1, at_ns), NS))
            self._settime(self.fd, _ABSOLUTE, ctypes.byref(times), None)
        return True

    def rang(self) -> None:
        """Takes the ring off the descriptor."""
        with suppress(BlockingIOError):
            os.read(self.fd, 8)
        self._set_at = 0

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
