"""The sandbox of a pod: its container is the outer wall, and holds nothing that is worth taking.

A restricted pod may make no namespaces, so bubblewrap has no place there. What it gives is checked before anything is run: a root that cannot be written, no
privileges, no token, and that we are its first process, which nothing in it can kill. Between us and what we run stand the same seccomp filter (no
sockets) and limits as elsewhere. We cannot be looked into (`PR_SET_DUMPABLE`), and after each program everything that it left is swept away, processes and files.
What is left to a hostile program is to spend its container's memory, which ends the judging and is told.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tokenmark_schemas.errors import InvalidInput, RunFailed

ENV, POD = "TOKENMARK_SANDBOX", "pod"
TOKENS = Path("/var/run/secrets/kubernetes.io")
WRITABLE = (Path("/tmp"), Path("/dev/shm"))  # noqa: S108
PR_SET_DUMPABLE = 4
SWEEP_S = 10.0


def is_asked_for() -> bool:
    return os.environ.get(ENV) == POD


def must_be_a_wall() -> None:
    """Raises InvalidInput where the container that we are in is none."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    lacks = [
        said
        for said, holds in (
            ("the container's first process (no shell before it, no shared process namespace)", os.getpid() == 1),
            ("a user that is not root (runAsNonRoot)", os.geteuid() != 0),
            ("a root file system that cannot be written (readOnlyRootFilesystem)", _is_read_only(Path("/"))),
            ("no way to more privileges (allowPrivilegeEscalation: false)", status.get("NoNewPrivs") == "1"),
            ("no capabilities (drop: [ALL])", not any(int(status.get(name, "f"), 16) for name in ("CapEff", "CapBnd"))),
            ("no service account's token (automountServiceAccountToken: false)", not TOKENS.exists()),
        )
        if not holds
    ]
    if lacks:
        raise InvalidInput(
            f"{ENV}={POD}: this pod is no sandbox; it lacks: {'; '.join(lacks)}. See deploy/examples/code-judge.yaml"
        )
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise InvalidInput(f"{ENV}={POD}: this process can be looked into by others: {os.strerror(ctypes.get_errno())}")


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


@contextlib.contextmanager
def swept() -> Iterator[None]:
    """Whatever is run in the block, nothing of it is there after it."""
    before = {path for folder in WRITABLE if folder.is_dir() for path in folder.iterdir()}
    try:
        yield
    finally:
        _end_all()
        for folder in WRITABLE:
            for path in set(folder.iterdir()) - before if folder.is_dir() else ():
                _remove(path)


def _end_all() -> None:
    """As the first process of a namespace we reach all others with one call. Raises RunFailed where one would not end."""
    until = time.monotonic() + SWEEP_S
    while time.monotonic() < until:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # nobody is left
            return
        time.sleep(0.01)
    raise RunFailed("a process of what was run does not end; nothing more is judged beside it")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for each in (path, *(below for below in path.rglob("*") if below.is_dir() and not below.is_symlink())):
            with contextlib.suppress(OSError):
                each.chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
