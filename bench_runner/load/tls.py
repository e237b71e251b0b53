"""One TLS session over memory buffers: the socket stays plain, so that its reads keep their kernel stamps."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass(frozen=True)
class Tls:
    """What every session of a phase shares."""

    context: ssl.SSLContext
    host: str


class TlsChannel:
    """Bytes of the wire in, bytes of the application out, and back. Raises ssl.SSLError where the peer breaks rules."""

    __slots__ = ("_in", "_out", "_ssl", "established")

    def __init__(self, tls: Tls) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = tls.context.wrap_bio(self._in, self._out, server_hostname=tls.host)
        self.established = False

    def handshake(self, data: bytes = b"") -> bytes:
        """One step of the handshake; returns what must be sent."""
        if data:
            self._in.write(data)
        try:
            self._ssl.do_handshake()
            self.established = True
        except ssl.SSLWantReadError:
            pass
        return self._out.read()

    def encrypt(self, data: bytes) -> bytes:
        self._ssl.write(data)
        return self._out.read()

    def decrypt(self, data: bytes) -> bytes:
        """Whole records' content; nothing while a record is incomplete. The peer's goodbye reads as nothing too."""
        self._in.write(data)
        parts = []
        try:
            while piece := self._ssl.read(65_536):
                parts.append(piece)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return b"".join(parts)


def context_for(ca_file: str | None, *, verify: bool = True) -> ssl.SSLContext:
    """A client context: the system's authorities, or those of a PEM file. Raises OSError and ssl.SSLError."""
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
