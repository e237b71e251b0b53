"""Stands between us and a server that we started: when we are gone, however we went, the server goes too. Run as a script of its own, with the
standard library alone:

    keeper.py GRACE_SECONDS WORDS…

Its standard input is a pipe that ends with us. Then, or on SIGTERM, the server's process group gets SIGTERM, and after the grace SIGKILL. The server in
turn is killed by the system should the keeper be. The exit code is the server's, -N for signal N as 128 + N.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def main(grace_s: float, words: list[str]) -> int:
    try:
        server = subprocess.Popen(words, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_die_with_parent)
    except OSError as exc:
        print(f"{words[0]} cannot be started: {exc.strerror}", file=sys.stderr)
        return 127
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: we say when it is over
    asked, told = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(told, b"."))
    ended = os.pidfd_open(server.pid)
    ready, _, _ = select.select([0, asked, ended], [], [])
    if ended not in ready:
        _group(server.pid, signal.SIGTERM)
        select.select([ended], [], [], grace_s)
    _group(server.pid, signal.SIGKILL)  # also what it started and left
    code = server.wait()
    return 128 - code if code < 0 else code


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
