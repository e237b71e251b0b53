"""A page of a target on new connections: look-up, connect, TLS, first byte of the answer. The north-south view."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from urllib.parse import urlsplit

from tokenmark_schemas.netprobe import ProbeTest

from .connect import PATIENCE_S, named
from .times import Durations, mono, turns

RATE_HZ = 20
STATUS_LINE_BYTES = 15


def http_get(test: ProbeTest) -> dict[str, object]:
    """`lookup`, `connect`, `tls`, `first_byte` and `failures` of a measurement. Raises OSError where no answer came."""
    url = test.target.url if test.target else None
    if url is None:
        raise OSError("HTTPGet needs target.url")
    page = _Page(url)
    for counts in turns(test, RATE_HZ):
        page.get(counts=counts)
    answers = page.first_byte.times()
    if answers is None:
        raise OSError(f"no answer from {page.shown}: {', '.join(page.failures) or 'nothing was asked'}")
    return {
        "lookup": page.lookup.times(), "connect": page.connect.times(), "tls": page.tls.times(), "first_byte": answers,
        "failures": dict(+page.failures) or None,
    }  # fmt: skip


class _Page:
    """One URL, asked again and again."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._secure = parts.hostname or "", parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self.shown = f"{parts.scheme}://{self._host}:{self._port}"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: tokenmark-netprobe\r\nAccept: */*\r\n"
        self._request = (head + "Connection: close\r\n\r\n").encode()
        self._context = ssl.create_default_context() if self._secure else None
        self.lookup, self.connect, self.tls, self.first_byte = (Durations() for _ in range(4))
        self.failures: Counter[str] = Counter()

    def get(self, *, counts: bool) -> None:
        try:
            began = mono()
            family, _, _, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0]
            looked = mono()
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.settimeout(PATIENCE_S)
                sock.connect(address)
                connected = mono()
                with self._encrypted(sock) as way:
                    secured = mono()
                    way.sendall(self._request)
                    head = way.recv(STATUS_LINE_BYTES)
                    answered = mono()
        except OSError as exc:
            self.failures[named(exc)] += counts
            return
        if not counts:
            return
        self.lookup.add(looked - began)
        self.connect.add(connected - looked)
        if self._secure:
            self.tls.add(secured - connected)
        if not head:
            self.failures["closed without an answer"] += 1
            return
        self.first_byte.add(answered - looked)
        status = head.split(b" ", 2)[1:2]
        if status and not status[0].startswith((b"2", b"3")):
            self.failures[f"http {status[0].decode('ascii', 'replace')}"] += 1

    def _encrypted(self, sock: socket.socket) -> socket.socket:
        return self._context.wrap_socket(sock, server_hostname=self._host) if self._context else sock
