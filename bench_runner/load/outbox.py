"""What the worker tells its parent, and the parent's one order.

The parent decodes when the processor has nothing better to do, so what it has not taken yet waits: in memory up to a
quarter of a mebibyte, on disk beyond it. Only when that is full too does the load wait for the parent, and the loop lag
tells.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile

from .poll import READ, WRITE, Poller
from .spool import Spool

IN_MEMORY_BYTES = 2**18
ON_DISK_BYTES = 2**29
PIECE_BYTES = 2**18


def room_on_disk() -> int:
    """What may be spooled: at most 512 MiB, at most half of what is free."""
    try:
        return min(ON_DISK_BYTES, shutil.disk_usage(tempfile.gettempdir()).free // 2)
    except OSError:
        return 0


class Outbox:
    """The worker's end of the socket pair. A parent that is gone ends the process: nobody wants this load any more."""

    def __init__(self, link: socket.socket, poller: Poller, room_bytes: int | None = None) -> None:
        self._link, self._poller, self.fd = link, poller, link.fileno()
        self._room_bytes = room_on_disk() if room_bytes is None else room_bytes
        self._spool = Spool()
        self.blocked = False  # the parent takes nothing now; the poller tells when it does
        self.data = bytearray()
        self.backlog_max_bytes = 0
        link.setblocking(False)
        poller.add(self.fd, READ)

    def flush(self) -> None:
        """As much as the parent takes now; the rest waits in order."""
        self.backlog_max_bytes = max(self.backlog_max_bytes, self.backlog_bytes)
        if not self.blocked:
            self._send()
        if len(self.data) > IN_MEMORY_BYTES:
            self._set_aside()

    @property
    def backlog_bytes(self) -> int:
        return len(self.data) + self._spool.pending

    def writable(self) -> None:
        """The poller says that the parent takes more."""
        self.blocked = False
        self._poller.modify(self.fd, READ)

    def _send(self) -> None:
        try:
            if self._spool.pending:
                self._spool.drop(self._link.send(self._spool.front(PIECE_BYTES)))
            elif self.data:
                del self.data[: self._link.send(self.data)]
        except BlockingIOError:
            pass
        except OSError:
            os._exit(1)
        if self.data or self._spool.pending:
            self.blocked = True
            self._poller.modify(self.fd, READ | WRITE)

    def _set_aside(self) -> None:
        try:
            if self._spool.pending < self._room_bytes:
                self._spool.append(self.data)
                self.data.clear()
                return
        except OSError:
            self._room_bytes = self._spool.pending  # the disk is full: what is there stays, no more goes there
        self._wait_for_parent()

    def _wait_for_parent(self) -> None:
        """No room left: hand over one piece, however long that takes."""
        self._link.setblocking(True)
        if self._spool.pending:
            piece = self._spool.front(PIECE_BYTES)
            self._sendall(piece)
            self._spool.drop(len(piece))
        else:
            self._sendall(self.data)
            self.data.clear()
        self._link.setblocking(False)

    def _sendall(self, data: bytes | bytearray) -> None:
        try:
            self._link.sendall(data)
        except OSError:
            os._exit(1)

    def drain(self, limit_s: float = 600.0) -> None:
        """Everything, waiting for the parent; raises OSError when it takes nothing of it within the limit."""
        self._link.setblocking(True)
        self._link.settimeout(limit_s)
        while self._spool.pending:
            piece = self._spool.front(PIECE_BYTES)
            self._link.sendall(piece)
            self._spool.drop(len(piece))
        self._link.sendall(self.data)

    def asked_to_stop(self) -> bool:
        """Whether the parent sent its order to stop."""
        try:
            order = self._link.recv(64)
        except BlockingIOError:
            return False
        except OSError:
            order = b""
        if not order:
            os._exit(1)
        return b"S" in order
