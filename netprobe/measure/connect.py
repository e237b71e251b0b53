"""New connections: to an answering agent (netperf's CRR: connect, request, response), or to any port."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable

from tokenmark_schemas.netprobe import ProbeTest

from .tcp_ping import MIN_BYTES, SIZES
from .times import Durations, mono, turns

RATE_HZ = 100
PATIENCE_S = 5
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: no TIME_WAIT, else the ports run out


def connect_to_agent(host: str, port: int, test: ProbeTest) -> dict[str, object]:
    """`connect` and `first_byte` of a measurement: SYN to SYN-ACK, and to the first answer. Raises OSError."""
    request = SIZES.pack(MIN_BYTES, MIN_BYTES) + bytes(MIN_BYTES)

    def talk(sock: socket.socket) -> None:
        sock.sendall(request)
        if not sock.recv(MIN_BYTES):
            raise ConnectionError("closed without an answer")

    return _measured((host, port), test, talk)


def connect_to_target(test: ProbeTest) -> dict[str, object]:
    """`connect` of a measurement, to `target.host` and `target.port`. Nothing is sent. Raises OSError."""
    target = test.target
    if target is None or target.host is None or target.port is None:
        raise OSError("TCPConnect needs target.host and target.port")
    return _measured((target.host, target.port), test, None)


def _measured(
    address: tuple[str, int], test: ProbeTest, talk: Callable[[socket.socket], None] | None
) -> dict[str, object]:
    family, _, _, _, where = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
    connects, answers, failures = Durations(), Durations(), Counter[str]()
    for counts in turns(test, RATE_HZ):
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            sock.settimeout(PATIENCE_S)
            began = mono()
            try:
                sock.connect(where)
                connected = mono()
                if talk is not None:
                    talk(sock)
                    if counts:
                        answers.add(mono() - began)
            except OSError as exc:
                failures[named(exc)] += counts
                continue
            if counts:
                connects.add(connected - began)
    times = connects.times()
    if times is None:
        raise OSError(f"no connection to {address[0]}:{address[1]}: {', '.join(failures) or 'none was tried'}")
    return {"connect": times, "first_byte": answers.times(), "failures": dict(+failures) or None}


def named(exc: OSError) -> str:
    """A failure as a word that can be counted."""
    if isinstance(exc, TimeoutError):
        return "timed out"
    return (exc.strerror or str(exc) or type(exc).__name__).lower()[:80]
