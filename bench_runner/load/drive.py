"""The parent's side of one phase: fork the worker, read its events, be able to stop it.

Forked, not spawned: a worker starts in milliseconds and inherits the prepared requests. The parent never touches a
socket that carries load. Decoding is scheduled as idle work while load runs; where there is less than a core to spare
for it, it waits for the end of the phase but for a glance now and then, and what the worker read waits on disk.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator

from tokenmark_schemas.errors import RunFailed

from .board import Board, Tick
from .cores import cores
from .link import End, Event, Unpacker
from .phase import Phase
from .worker import Worker

LINK_BYTES = 4 * 2**20
SPARE_CORES = 1.5
BACKLOG_BYTES = 256 * 2**20


class Drive:
    """Iterate `events()`; call `stop()` from anywhere (a signal handler too) to end the load at once."""

    def __init__(self, phase: Phase) -> None:
        self._parent, child = socket.socketpair()
        self._stopped = False
        self._board = Board()
        self._parent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LINK_BYTES)
        child.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LINK_BYTES)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                self._parent.close()
                work(phase, child, self._board)
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        child.close()

    def stop(self) -> None:
        """Asks the worker to cancel what is in flight and report it."""
        if self._stopped:
            return
        self._stopped = True  # once: a worker that is closing reads no more orders
        try:
            self._parent.send(b"S", socket.MSG_DONTWAIT)
        except OSError:
            return

    @property
    def tick(self) -> Tick:
        """How the worker was doing a quarter of a second ago at most."""
        return self._board.read()

    def events(self, wake_s: float = 0.25) -> Iterator[Event | None]:
        """Every event up to the End; None at least every `wake_s`, so that the caller can look at the time.

        Raises RunFailed when the worker died before its End.
        """
        unpacker, ended, spare = Unpacker(), False, cores() >= SPARE_CORES
        _background(True)
        try:
            while not ended:
                if not spare and not self._closing():
                    time.sleep(wake_s)  # the processor is the worker's; one piece below keeps progress moving
                ready, _, _ = select.select([self._parent], [], [], wake_s)
                data = self._parent.recv(2**20) if ready else None
                if data == b"":
                    break
                for event in unpacker.feed(data) if data else ():
                    ended = ended or isinstance(event, End)
                    yield event
                yield None
        finally:
            _background(False)
            self._parent.close()
            _, status = os.waitpid(self.pid, 0)
        if not ended:
            raise RunFailed(
                f"the load worker ended unexpectedly (wait status {status}); what was measured before is kept"
            )

    def _closing(self) -> bool:
        """The load is over, or so much of it waits that it must be taken now."""
        tick = self.tick
        return tick.load_ended == 1 or tick.backlog_bytes > BACKLOG_BYTES


def _background(on: bool) -> None:
    """While load runs, decoding gets the processor only when nothing else wants it: the worker may share the core."""
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE if on else os.SCHED_OTHER, os.sched_param(0))


def work(phase: Phase, link: socket.socket, board: Board) -> None:
    """Body of the forked process. Signals are the parent's business; its death ends the load."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a stream is a descriptor; logins start with 1024
    gc.collect()
    gc.freeze()
    gc.disable()
    worker = Worker(phase, link, board)
    began = [0]

    def note(moment: str, _info: dict[str, int]) -> None:
        if moment == "start":
            began[0] = time.monotonic_ns()
        else:
            worker.report.gc_pause_max = max(worker.report.gc_pause_max, time.monotonic_ns() - began[0])

    gc.callbacks.append(note)
    try:
        worker.run()
    except (BrokenPipeError, ConnectionResetError, TimeoutError):
        os._exit(1)
