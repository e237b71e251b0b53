"""A path of a given width: a TCP relay in a thread that hands on so many bytes a second towards the server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PIECE_BYTES = 65_536


@dataclass
class Throttle:
    port: int
    target: int
    bytes_per_s: float
    passed: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def until_passed(self, count: int, timeout_s: float = 30) -> None:
        limit = time.monotonic() + timeout_s
        while self.passed < count:
            assert time.monotonic() < limit, f"{self.passed} of {count} bytes passed within {timeout_s} s"
            time.sleep(0.02)

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self.ended.is_set():
                client, _ = listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self.target)) as server:
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            while data := client.recv(PIECE_BYTES):
                server.sendall(data)
                self.passed += len(data)
                time.sleep(len(data) / self.bytes_per_s)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(PIECE_BYTES):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)  # the server went; whoever waits for it must know


@contextmanager
def throttled(target: int, *, bytes_per_s: float) -> Iterator[Throttle]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        throttle = Throttle(listener.getsockname()[1], target, bytes_per_s)
        threading.Thread(target=throttle.serve, args=(listener,), daemon=True).start()
        try:
            yield throttle
        finally:
            throttle.ended.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
