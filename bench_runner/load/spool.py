"""A queue of bytes on disk: what the parent has not taken yet, when it is too much to keep in memory.

Unlinked temporary files of 64 MiB, so that space is freed as the front is read and nothing is left behind, however the
process ends.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from typing import BinaryIO

SEGMENT_BYTES = 64 * 2**20


class Spool:
    """Append at the end, take from the front. `pending` bytes are in between."""

    def __init__(self) -> None:
        self._segments: deque[BinaryIO] = deque()
        self._written = 0  # into the last segment
        self._taken = 0  # out of the first
        self.pending = 0

    def append(self, data: bytes | bytearray) -> None:
        """Raises OSError when the disk is full; nothing of `data` counts as written then."""
        if not self._segments or self._written >= SEGMENT_BYTES:
            self._segments.append(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - lives until it is read
            self._written = 0
        fd, at = self._segments[-1].fileno(), 0
        while at < len(data):
            at += os.pwrite(fd, memoryview(data)[at:], self._written + at)
        self._written += len(data)
        self.pending += len(data)

    def front(self, size: int) -> bytes:
        """Up to `size` bytes from the front, which stay until `drop`."""
        first_ends = self._written if len(self._segments) == 1 else os.fstat(self._segments[0].fileno()).st_size
        if self._taken >= first_ends and len(self._segments) > 1:
            self._next()
            return self.front(size)
        return os.pread(self._segments[0].fileno(), min(size, first_ends - self._taken), self._taken)

    def drop(self, size: int) -> None:
        """Forgets that many bytes at the front."""
        self._taken += size
        self.pending -= size
        if not self.pending:
            while self._segments:
                self._segments.popleft().close()
            self._taken = self._written = 0

    def _next(self) -> None:
        self._segments.popleft().close()
        self._taken = 0
