"""Long-running programs of the cluster: started into their own session, remembered by pid and start time.

A pid alone is not an identity: only a process whose start time agrees is ever signalled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from .layout import LOGS, RUN
from .shell import ClusterError

_children: dict[int, subprocess.Popen[bytes]] = {}


def start(name: str, arguments: list[str | Path], *, netns: str | None = None) -> None:
    """Starts a program, output to its log. Not twice: a living one of that name is left alone."""
    if alive(name):
        return
    words = [str(a) for a in arguments]
    if netns:
        words = ["nsenter", f"--net=/run/netns/{netns}", *words]
    with (LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=_environment()
        )
    _children[process.pid] = process
    (RUN / f"{name}.pid").write_text(f"{process.pid} {start_time(process.pid)}\n")


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}


def start_time(pid: int) -> int | None:
    """Kernel start time of a process in clock ticks, None when it is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def pid_of(name: str) -> int | None:
    """The pid of a program of ours that still runs."""
    try:
        pid, began = (RUN / f"{name}.pid").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if began.isdigit() and start_time(int(pid)) == int(began) else None


def alive(name: str) -> bool:
    _reap()
    return pid_of(name) is not None


def names() -> list[str]:
    return sorted(path.stem for path in RUN.glob("*.pid")) if RUN.is_dir() else []


def send(name: str, number: int) -> None:
    """Signals one program of ours."""
    if (pid := pid_of(name)) is not None:
        os.kill(pid, number)


def stop(*wanted: str, patience_s: float = 8.0) -> None:
    """Ends programs: asks first, then insists."""
    for name in wanted:
        send(name, signal.SIGCONT)
        send(name, signal.SIGTERM)
    limit = time.monotonic() + patience_s
    while any(alive(name) for name in wanted) and time.monotonic() < limit:
        _reap()
        time.sleep(0.05)
    for name in wanted:
        send(name, signal.SIGKILL)
    limit = time.monotonic() + 5
    while any(alive(name) for name in wanted):
        _reap()
        if time.monotonic() > limit:
            raise ClusterError(f"could not end {[name for name in wanted if alive(name)]}")
        time.sleep(0.05)
    for name in wanted:
        (RUN / f"{name}.pid").unlink(missing_ok=True)


def _reap() -> None:
    """Collects those that this very process started and that have ended."""
    for pid in [pid for pid, child in _children.items() if child.poll() is not None]:
        del _children[pid]


def kill_by_argument(text: str) -> None:
    """SIGKILLs every process with `text` in its command line: shims that outlived their containerd."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"containerd-shim" in words and text.encode() in words:
            try:
                os.kill(int(folder.name), signal.SIGKILL)
            except ProcessLookupError:
                continue
