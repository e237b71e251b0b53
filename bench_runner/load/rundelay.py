"""How long this thread was ready to run and had no processor, as Linux counts it (/proc/thread-self/schedstat)."""

from __future__ import annotations

import os


class RunDelay:
    """Kept open: a reading costs a microsecond."""

    def __init__(self) -> None:
        try:
            self._fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
            self.read()
        except OSError:
            self._fd = -1

    def read(self) -> int:
        """Nanoseconds since the thread began; 0 where the system does not tell."""
        if self._fd < 0:
            return 0
        try:
            return int(os.pread(self._fd, 64, 0).split()[1])
        except (OSError, IndexError, ValueError):
            return 0

    @property
    def told(self) -> bool:
        return self._fd >= 0 and self.read() > 0
