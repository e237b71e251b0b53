"""A real S3 server on loopback: versitygw over a folder, for as long as a `with` block lasts."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

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


def start(folder: Path, port: int) -> S3Server:
    """Running, whether it answers yet or not."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    words = [
        program("versitygw"),
        "--quiet",
        "--access",
        ACCESS,
        "--secret",
        SECRET,
        "--port",
        f"127.0.0.1:{port}",
        "--health",
        "/health",
        "posix",
        folder,
    ]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return S3Server(f"http://127.0.0.1:{port}", folder, process)


@contextmanager
def serving(folder: Path) -> Iterator[S3Server]:
    """Ends whatever of it still runs."""
    server = start(folder, free_port())
    try:
        wait_for("the S3 server answers", lambda: _answers(server.endpoint), 20)
        yield server
    finally:
        if server.process.poll() is None:
            server.thaw()
            server.kill()


def _answers(endpoint: str) -> bool:
    try:
        with urlopen(f"{endpoint}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
