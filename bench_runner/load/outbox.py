"""What the worker tells its parent, buffered so that a slow parent never holds up the load, and the parent's one order."""

from __future__ import annotations

import os
import socket

from .poll import READ, WRITE, Poller


class Outbox:
    """The worker's end of the socket pair. A parent that is gone ends the process: nobody wants this load any more."""

    def __init__(self, link: socket.socket, poller: Poller) -> None:
        self._link, self._poller, self.fd = link, poller, link.fileno()
        self._writes = False  # whether the poller is asked for room to write
        self.data = bytearray()
        self.backlog_max_bytes = 0
        link.setblocking(False)
        poller.add(self.fd, READ)

    def flush(self) -> None:
        """As much as the parent takes now."""
        self.backlog_max_bytes = max(self.backlog_max_bytes, len(self.data))
        try:
            del self.data[: self._link.send(self.data)]
        except BlockingIOError:
            pass
        except OSError:
            os._exit(1)
        if bool(self.data) != self._writes:
            self._writes = bool(self.data)
            self._poller.modify(self.fd, READ | WRITE if self._writes else READ)

    def drain(self, limit_s: float = 30.0) -> None:
        """Everything, waiting for the parent; raises OSError when it does not take it within the limit."""
        self._link.setblocking(True)
        self._link.settimeout(limit_s)
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
