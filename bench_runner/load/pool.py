"""The connections of one worker: opened to each address in turn, through a proxy or TLS where asked, kept or not."""

from __future__ import annotations

import errno
import socket
import time
from collections import deque

from . import stamps
from .connection import HANDSHAKING, IDLE, TUNNELING, Connection, Request
from .framing import BLANK
from .phase import Limits
from .poll import READ, WRITE, Poller
from .route import Route

mono = time.monotonic_ns
MAX_TUNNEL_BYTES = 16_384
NOTHING_LEFT = {errno.EMFILE: "no_descriptors", errno.ENFILE: "no_descriptors", errno.EADDRNOTAVAIL: "no_ports"}


class Refused(Exception):
    """The way to the target cannot be opened: a proxy's refusal, a failed handshake."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Pool:
    """`all` by descriptor; `idle` may hold dropped ones, which `take` passes over."""

    def __init__(self, route: Route, most: int, poller: Poller) -> None:
        self.route, self._most, self._poller = route, most, poller
        self.all: dict[int, Connection] = {}
        self._idle: deque[Connection] = deque()
        self._opened = 0
        self.opening = 0  # on their way to being usable
        self.unclaimed = 0  # those of them that will take any request

    def open(self, carried: Request | None = None, after: Connection | None = None) -> str | None:
        """Begins a connection, for one request or for any, or in place of one that failed at its address. An outcome
        where the system refuses at once, at each address that is left."""
        first, refused = after.first if after else self._opened, "connect"
        self._opened += 1
        for tried in range(after.attempt + 1 if after else 0, len(self.route.addresses)):
            sock = self._begun(first + tried)
            if isinstance(sock, str):
                refused = sock
            else:
                conn = Connection(sock)
                conn.carries, conn.first, conn.attempt, conn.touched = carried, first, tried, mono()
                self.all[conn.fd] = conn
                self.opening += 1
                self.unclaimed += carried is None
                self._poller.add(conn.fd, READ | WRITE)
                return None
        return refused

    def _begun(self, turn: int) -> socket.socket | str:
        address = self.route.addresses[turn % len(self.route.addresses)]
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as exc:
            return NOTHING_LEFT.get(exc.errno or 0, "connect")
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stamps.enable(sock)
        failure = sock.connect_ex(address.sockaddr)
        if failure in (0, errno.EINPROGRESS):
            return sock
        sock.close()
        return NOTHING_LEFT.get(failure, "connect")

    @property
    def full(self) -> bool:
        return len(self.all) >= self._most

    def take(self) -> Connection | None:
        """A connection that waits for a request."""
        while self._idle:
            conn = self._idle.popleft()
            if self.all.get(conn.fd) is conn and conn.state == IDLE:  # a dropped one's number may be another's by now
                return conn
        return None

    def keep(self, conn: Connection) -> None:
        """Usable again, or for the first time."""
        conn.state = IDLE
        self._idle.append(conn)

    def drop(self, conn: Connection) -> None:
        if self.all.get(conn.fd) is conn:
            del self.all[conn.fd]
            if conn.state < IDLE:
                self._arrived(conn)
            self._poller.remove(conn.fd)
            conn.sock.close()

    def overdue(self, now: int, limits: Limits) -> list[tuple[Connection, str]]:
        """Connections over a time limit, with its name."""
        found = [(conn, conn.overdue(now, limits)) for conn in self.all.values()]
        return [(conn, outcome) for conn, outcome in found if outcome is not None]

    # --- the way there ----------------------------------------------------------------------------------------------

    def connected(self, conn: Connection) -> bool:
        """TCP stands: begins what comes before the first request; True when that is nothing. Raises Refused."""
        if conn.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise Refused("connect")
        self._poller.modify(conn.fd, READ)
        if self.route.connect_request is not None:
            conn.state = TUNNELING
            self._say(conn, self.route.connect_request)
            return False
        return self._secure(conn)

    def advance(self, conn: Connection, data: bytes) -> bool:
        """Bytes that arrived on the way; True when the connection is usable. Raises Refused."""
        if conn.state == TUNNELING:
            conn.tail += data
            if BLANK not in conn.tail:
                if len(conn.tail) > MAX_TUNNEL_BYTES:
                    raise Refused("proxy")
                return False
            status = conn.tail.split(b" ", 2)[1:2]
            conn.tail = b""
            if status != [b"200"]:
                raise Refused("proxy")
            return self._secure(conn)
        return self._shake_hands(conn, data)

    def _secure(self, conn: Connection) -> bool:
        if self.route.tls is None:
            self._usable(conn)
            return True
        from .tls import TlsChannel  # here, because most runs need no TLS and start sooner without it

        conn.state, conn.tls = HANDSHAKING, TlsChannel(self.route.tls)
        return self._shake_hands(conn, b"")

    def _shake_hands(self, conn: Connection, data: bytes) -> bool:
        assert conn.tls is not None
        try:
            self._say(conn, conn.tls.handshake(data))
        except OSError as exc:  # which ssl.SSLError is
            raise Refused("tls") from exc
        if conn.tls.established:
            self._usable(conn)
        return conn.tls.established

    def _usable(self, conn: Connection) -> None:
        self._arrived(conn)
        conn.state, conn.connect = IDLE, mono() - conn.touched

    def _arrived(self, conn: Connection) -> None:
        """No longer on its way: it is there, or will never be."""
        self.opening -= 1
        self.unclaimed -= conn.carries is None

    @staticmethod
    def _say(conn: Connection, data: bytes) -> None:
        """A few hundred bytes into an empty socket buffer: they fit."""
        if not data:
            return
        try:
            conn.sock.sendall(data)
        except OSError as exc:
            raise Refused("connect") from exc
