"""The simulator in a child process, for as long as a `with` block lasts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from .scenario import Scenario
from .server import Simulator, truth_file


@contextmanager
def simulator_beside(scenario: Scenario, truth: Path | None = None) -> Iterator[str]:
    """Yields the URL of a simulator; it ends with the block, or with this process, and then its truth is written."""
    simulator = Simulator(scenario, truth=truth_file(truth) if truth else None)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _serve(simulator, parent)
    simulator.listener.close()
    try:
        yield f"http://127.0.0.1:{simulator.port}"
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def _serve(simulator: Simulator, parent: int) -> None:

    def orphaned(_number: int, _frame: FrameType | None) -> None:
        if os.getppid() != parent:
            simulator.stop()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: simulator.stop())
    signal.signal(signal.SIGALRM, orphaned)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        simulator.serve()
    finally:
        os._exit(0)
