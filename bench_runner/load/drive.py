"""The parent's side of one phase: start the workers, read their events, be able to stop them.

The parent never touches a socket that carries load. Decoding is scheduled as idle work while load runs; where there is
less than a core to spare for it, it waits for the end of the phase but for a glance now and then, and what the workers
read waits on disk.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tokenmark_schemas.errors import RunFailed

from .cores import cores
from .counters import Tick
from .frames import End, Event
from .phase import Phase
from .process import Process

SPARE_CORES = 0.5
BACKLOG_BYTES = 256 * 2**20
NICE_ZERO, CAP_SYS_NICE = 20, 23  # RLIMIT_NICE for a nice value of 0; the capability's number
TOGETHER_NS = 300_000_000  # several workers begin at one moment, this long after the last was started


class Drive:
    """Iterate `events()`; call `stop()` from anywhere (a signal handler too) to end the load at once."""

    def __init__(self, phase: Phase, workers: int = 1) -> None:
        index, machines = phase.shard
        if phase.concurrency:  # a worker without a slot has nothing to do
            workers = max(1, min(workers, phase.share(phase.concurrency)))
        self._processes: list[Process] = []
        begin = phase.begin_ns or (time.monotonic_ns() + TOGETHER_NS if workers > 1 else 0)
        for number in range(workers):
            shard = replace(phase, shard=(index * workers + number, machines * workers), begin_ns=begin)
            self._processes.append(Process(shard, self._processes))

    def stop(self) -> None:
        """Asks the workers to cancel what is in flight and report it."""
        for process in self._processes:
            process.stop()

    @property
    def tick(self) -> Tick:
        """How the workers were doing a quarter of a second ago at most, all together."""
        return Tick.together([process.tick for process in self._processes])

    def events(self, wake_s: float = 0.25) -> Iterator[Event | None]:
        """Every event, one End for all workers as the last; None at least every `wake_s`, so that the caller can look
        at the time.

        Raises RunFailed when a worker died before its End; the others are stopped then.
        """
        spare = cores() - len(self._processes) >= SPARE_CORES
        _background(True)
        try:
            while waiting := [process for process in self._processes if not process.over]:
                if not spare and not self._closing():
                    time.sleep(wake_s)  # the processor is the workers'; one piece below keeps progress moving
                ready, _, _ = select.select([process.link for process in waiting], [], [], wake_s)
                for process in waiting:
                    if process.link in ready:
                        yield from process.take()
                if any(process.gone for process in waiting):
                    self.stop()
                yield None
        finally:
            _background(False)
            statuses = [process.reap() for process in self._processes]
        ends = [process.end for process in self._processes if process.end is not None]
        if len(ends) < len(self._processes):
            raise RunFailed(
                f"a load worker ended unexpectedly (wait status {max(statuses)}); what was measured before is kept"
            )
        yield End.together(ends)

    def _closing(self) -> bool:
        """The load is over, or so much of it waits that it must be taken now."""
        tick = self.tick
        return tick.load_ended == 1 or tick.backlog_bytes > BACKLOG_BYTES


def may_leave_idle(status: Path = Path("/proc/self/status")) -> bool:
    """Whether the system lets this process raise its own priority again: by its limits, or by CAP_SYS_NICE."""
    if not hasattr(os, "SCHED_IDLE"):
        return False
    if resource.getrlimit(resource.RLIMIT_NICE)[0] >= NICE_ZERO:
        return True
    try:
        effective = next(line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
        return bool(int(effective.split()[1], 16) >> CAP_SYS_NICE & 1)
    except (OSError, StopIteration, ValueError, IndexError):
        return False


def _background(on: bool) -> None:
    """While load runs, decoding gets the processor only when nothing else wants it: the worker may share the core.

    Only where the way back is open too: without the right to leave idle scheduling, the next workers would inherit it.
    """
    if may_leave_idle():
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE if on else os.SCHED_OTHER, os.sched_param(0))
