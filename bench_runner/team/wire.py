"""What the pods of a team say to each other: length-prefixed msgpack over TCP, every message of a declared type.

Nothing travels while load runs but a state of some hundred bytes four times a second; values go over once a phase has
ended. A peer whose machine is gone is noticed by keep-alive probes within a quarter of a minute.
"""

from __future__ import annotations

import select
import socket
import struct
from array import array
from collections import Counter, deque
from typing import Any, get_origin

import msgspec

from tokenmark_decisions.distribution import Distribution
from tokenmark_schemas.errors import RunFailed

from ..load.counters import Tick
from ..samples.aggregate import Collected
from ..samples.flow import Bins
from ..stats.clusters import Clusters

PREFIX = struct.Struct("!I")
MOST_BYTES = 128 * 2**20
STRANGER_BYTES = 4096  # of one who has not said yet who it is
PIECE_BYTES = 2**18
SEND_LIMIT_S = 30.0
KEEP_ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3}


class PeerLost(RunFailed):
    """The other side of a line is gone."""


class Message(msgspec.Struct, tag=True):
    """Anything that is said."""


class Hello(Message):
    """A follower's first word: which run it is of, and which of its pods it is."""

    run: str
    index: int


class Ping(Message):
    """Asks for the time."""


class Pong(Message):
    at_ns: int


class Go(Message):
    """Drive a phase; `begin_ns` and `ahead_ns` as in a PhaseOrder, on the follower's clock."""

    label: str
    stage: dict[str, Any]
    repetition: int
    salt: str
    begin_ns: int
    ahead_ns: int


class State(Message):
    """How the follower's load is doing."""

    tick: Tick


class Halt(Message):
    """End the phase now."""


class Measured(Message):
    """What a phase came to."""

    collected: Collected


class Calibrate(Message):
    streams: int


class Floor(Message):
    values: dict[str, float] | None


class Finish(Message):
    """The run is over: hand over the request log and go."""


class Log(Message):
    """A follower's `requests.jsonl.gz`, or why it cannot be had."""

    data: bytes
    missing: str = ""


class Failed(Message):
    """A follower cannot go on, in its own words."""

    why: str


Command = Ping | Go | Halt | Calibrate | Finish
Told = Hello | Pong | State | Measured | Floor | Log | Failed


PACKED = (Distribution, Clusters, Bins)


def _plain(value: Any) -> Any:
    if isinstance(value, PACKED):
        return value.packed()
    if isinstance(value, array):
        return value.tobytes()
    if isinstance(value, deque):
        return []
    raise NotImplementedError(type(value))


def _typed(kind: Any, value: Any) -> Any:
    kind = get_origin(kind) or kind
    if kind in PACKED:
        return kind.unpacked(value)
    if kind is array:
        return array("q", value)
    if kind is Counter:
        return Counter(value)
    if kind is deque:
        return deque()
    raise NotImplementedError(kind)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)


class Line:
    """One end of a connection. Raises PeerLost when the other end is gone, or says what is no message.

    `most_bytes` limits a message; it is low while the other end is a stranger.
    """

    def __init__(self, sock: socket.socket, hears: Any, most_bytes: int = MOST_BYTES) -> None:
        self.sock = sock
        self.expect(hears, most_bytes)
        self._buffer = bytearray()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # keep-alive is not asked while sent data waits for its receipt
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000)
        sock.settimeout(SEND_LIMIT_S)

    def expect(self, hears: Any, most_bytes: int = MOST_BYTES) -> None:
        """Which messages may come from now on, and how large they may be."""
        self._decoder, self.most_bytes = msgspec.msgpack.Decoder(hears, dec_hook=_typed), most_bytes

    def fileno(self) -> int:
        return self.sock.fileno()

    def say(self, message: Message) -> None:
        payload = _ENCODER.encode(message)
        try:
            self.sock.sendall(PREFIX.pack(len(payload)) + payload)
        except OSError as exc:
            raise PeerLost(f"the line broke: {exc.strerror or exc}") from exc

    def heard(self, wait_s: float = 0.0) -> Any | None:
        """The next message; None when there is none within that time."""
        while (message := self._next()) is None:
            if not select.select([self.sock], [], [], wait_s)[0]:
                return None
            try:
                data = self.sock.recv(PIECE_BYTES)
            except OSError as exc:
                raise PeerLost(f"the line broke: {exc.strerror or exc}") from exc
            if not data:
                raise PeerLost("the other side closed the line")
            self._buffer += data
        return message

    def _next(self) -> Any | None:
        if len(self._buffer) < PREFIX.size:
            return None
        (size,) = PREFIX.unpack_from(self._buffer)
        if size > self.most_bytes:
            raise PeerLost(f"a message of {size} bytes, above {self.most_bytes}")
        if len(self._buffer) < PREFIX.size + size:
            return None
        payload = bytes(self._buffer[PREFIX.size : PREFIX.size + size])
        del self._buffer[: PREFIX.size + size]
        try:
            return self._decoder.decode(payload)
        except Exception as exc:  # whatever a stranger's bytes make a decoder raise
            raise PeerLost(f"what was said is no message: {str(exc)[:200]}") from exc

    def close(self) -> None:
        self.sock.close()
