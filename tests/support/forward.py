"""The operator's port on this machine, for as long as a `with` block lasts."""

from __future__ import annotations

import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.lab import Lab
from tests.support.ports import free_port


@contextmanager
def forwarded(lab: Lab, scheme: str = "http", trust: ssl.SSLContext | None = None) -> Iterator[int]:
    """The operator's port on this machine."""
    port = free_port()
    words = [str(lab.cluster.kubectl()), "--kubeconfig", str(lab.cluster.kubeconfig()), "-n", "tokenmark-system"]
    process = subprocess.Popen(
        [*words, "port-forward", "svc/tokenmark-operator", f"{port}:8080"], stdout=subprocess.DEVNULL
    )
    try:
        lab.until("the operator answers", lambda: fetch(f"{scheme}://127.0.0.1:{port}/readyz", trust) == "ok", 30)
        yield port
    finally:
        process.terminate()
        process.wait()


def fetch(url: str, trust: ssl.SSLContext | None = None) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5, context=trust) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""
