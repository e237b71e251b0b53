"""One worker as a process of its own: forked, so that it starts in milliseconds and inherits the prepared requests."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator, Sequence

from .caller import Caller
from .counters import CounterPage, Tick
from .frames import End, Event, Unpacker
from .phase import Phase
from .worker import Worker

LINK_BYTES = 4 * 2**20
PIECE_BYTES = 2**20


class Process:
    """The parent's end of one worker. `end` is set once its last frame came; `link` is closed by then or by `reap`."""

    def __init__(self, phase: Phase, siblings: Sequence[Process] = ()) -> None:
        self.link, child = socket.socketpair()
        self.end: End | None = None
        self.gone = False  # its side is closed: nothing more will come
        self._unpacker, self._board, self._stopped = Unpacker(), CounterPage(), False
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LINK_BYTES)
        child.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LINK_BYTES)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                for one in (self, *siblings):  # a worker must not keep another's line to the parent open
                    one.link.close()
                work(phase, child, self._board)
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        child.close()

    @property
    def over(self) -> bool:
        return self.gone or self.end is not None

    @property
    def tick(self) -> Tick:
        return self._board.read()

    def stop(self) -> None:
        """Asks the worker to cancel what is in flight and report it."""
        if self._stopped:
            return
        self._stopped = True  # once: a worker that is closing reads no more orders
        with contextlib.suppress(OSError):
            self.link.send(b"S", socket.MSG_DONTWAIT)

    def take(self) -> Iterator[Event]:
        """What one read of the link brings; sets `end` and `gone`."""
        data = self.link.recv(PIECE_BYTES)
        self.gone = not data
        for event in self._unpacker.feed(data) if data else ():
            if isinstance(event, End):
                self.end = event
            else:
                yield event

    def reap(self) -> int:
        """Waits for the process; returns its wait status."""
        self.link.close()
        return os.waitpid(self.pid, 0)[1]


def work(phase: Phase, link: socket.socket, board: CounterPage) -> None:
    """Body of the forked process. Signals are the parent's business; its death ends the load."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a stream is a descriptor; logins start with 1024
    gc.collect()
    gc.freeze()
    gc.disable()
    worker = Worker(phase, link, board) if phase.calls is None else Caller(phase, phase.calls, link, board)
    began = [0]

    def note(moment: str, _info: dict[str, int]) -> None:
        if moment == "start":
            began[0] = time.monotonic_ns()
        else:
            worker.ledger.gc_pause_max = max(worker.ledger.gc_pause_max, time.monotonic_ns() - began[0])

    gc.callbacks.append(note)
    try:
        worker.run()
    except (BrokenPipeError, ConnectionResetError, TimeoutError):
        os._exit(1)
