"""A real S3 server on loopback: versitygw over a folder, for as long as a `with` block lasts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port

from .shell import wait_for
from .tools import program

ACCESS, SECRET, BUCKET = "tokenmark-tests", "not-a-secret-of-anybody", "bench"


@dataclass
class S3Server:
    """`folder` holds the buckets."""

    endpoint: str
    folder: Path
    process: subprocess.Popen[bytes]

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def start(folder: Path, port: int, tls: tuple[Path, Path] | None = None) -> S3Server:
    """Running, whether it answers yet or not; `tls` are the files of a certificate and of its key."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    sealed = ["--cert", tls[0], "--key", tls[1]] if tls else []
    words = [
        program("versitygw"), "--quiet", "--access", ACCESS, "--secret", SECRET, "--port", f"127.0.0.1:{port}",
        "--health", "/health", *sealed, "posix", folder,
    ]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return S3Server(f"http{'s' if tls else ''}://127.0.0.1:{port}", folder, process)


@contextmanager
def serving(folder: Path, tls: tuple[Path, Path] | None = None) -> Iterator[S3Server]:
    """Ends whatever of it still runs."""
    port = free_port()
    server = start(folder, port, tls)
    try:
        wait_for("the S3 server listens", lambda: _listens(port), 20)
        yield server
    finally:
        if server.process.poll() is None:
            server.thaw()
            server.kill()


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False
