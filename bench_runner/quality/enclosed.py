"""The sandbox of a pod: its container is the outer wall, and holds nothing that is worth taking.

A restricted pod may make no namespaces, so bubblewrap has no place there. What it gives is checked before anything is run: a root that cannot be written, no
privileges, no secret, nothing else to write to, and that we are its first process, which nothing in it can end. Between us and what we run stand the same
seccomp filter (no sockets) and limits as elsewhere. We cannot be looked into (`PR_SET_DUMPABLE`), and after each program everything that it left is swept away,
processes and files. What is left to a hostile program is to spend its container's memory or its time, which ends the judging and is told.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tokenmark_schemas.errors import InvalidInput, RunFailed

ENV, POD = "TOKENMARK_SANDBOX", "pod"
SECRETS = Path("/var/run/secrets")
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
            (
                "no secret below /var/run/secrets (automountServiceAccountToken: false)",
                not SECRETS.exists() or not any(SECRETS.iterdir()),
            ),
            ("no place to write to beside /tmp", not _other_places()),
        )
        if not holds
    ]
    if lacks:
        raise InvalidInput(
            f"{ENV}={POD}: this pod is no sandbox; it lacks: {'; '.join(lacks)}. See deploy/examples/code-judge.yaml"
        )
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise InvalidInput(f"{ENV}={POD}: this process can be looked into by others: {os.strerror(ctypes.get_errno())}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the kernel keeps from us what we do not heed; Python heeds this one
    _there()


def _other_places() -> list[str]:
    """Mounts that we may write to. What the kernel and the kubelet put there (/proc, /dev with its termination message) takes no file for the next program."""
    points = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    ours = {str(path) for path in WRITABLE}
    return sorted(
        point
        for point in points - ours
        if not point.startswith(("/proc", "/sys", "/dev")) and os.access(point, os.W_OK)
    )


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


@contextlib.contextmanager
def swept() -> Iterator[None]:
    """Whatever is run in the block, nothing of it is there after it. Raises RunFailed where something stays: it could lie to what comes next."""
    before = _there()
    try:
        yield
    finally:
        _end_all()
        for path in _found() - before:
            _remove(path)
        if left := _found() - before:
            raise RunFailed(f"{min(left)} cannot be taken away; nothing more is judged beside it")


@functools.cache
def _there() -> frozenset[Path]:
    """Before anything was run."""
    return frozenset(_found())


def _found() -> set[Path]:
    return {path for folder in WRITABLE if folder.is_dir() for path in folder.iterdir()}


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
    """From the top down, for a folder that may not be entered hides what is in it. What is too deep for us stays, and is seen to."""
    with contextlib.suppress(OSError, RecursionError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        path.chmod(0o700)
        for folder, names, _ in os.walk(path):
            for below in (Path(folder) / name for name in names):
                if not below.is_symlink():
                    below.chmod(0o700)
        shutil.rmtree(path)
