"""A server of the standard library in a thread, for as long as a `with` block lasts."""

from __future__ import annotations

import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def in_thread(server: socketserver.BaseServer) -> Iterator[None]:
    """Serves until the block ends; opening and closing the server is the caller's."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def simulated(*flags: str) -> Iterator[str]:
    """The product's simulator in a process of its own; its address, once it listens."""
    words = [sys.executable, "-m", "bench_runner", "sim", "--listen", "127.0.0.1:0", *flags]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            found = re.search(r"http://[0-9.:]+", said)
            assert found, said
            yield found[0]
        finally:
            process.terminate()
            process.wait(10)
