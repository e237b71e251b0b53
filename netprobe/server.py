"""The answering agent: pings over TCP and UDP, iperf3's server under supervision, and a port of its own for health and facts.

iperf3's port is not probed: a bare connect would be a test to it. One server serves one test at a time, by iperf3's design.
Whoever shows the token that an agent was started with may let it measure too; without a token nobody may.
"""

from __future__ import annotations

import hmac
import json
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tokenmark_schemas.errors import RunFailed
from tokenmark_schemas.probe_result import HEALTH_PORT, IPERF3_PORT, PING_PORT, ProbeConfig

from .client import Pair
from .ends import raw_facts
from .measure.tcp_ping import answer
from .measure.udp_ping import answer_datagrams

BACKLOG = 1024
RESTART_S, LONGEST_PAUSE_S = 0.5, 10.0
MOST_TALKS = 256
MAX_CONFIG_BYTES = 65_536


class Agent:
    """Everything that answers on this host; used by `serve` and by the standing mesh. Raises RunFailed where it cannot."""

    def __init__(self, *, iperf3: bool = True, token: str = "") -> None:
        self._iperf3: subprocess.Popen[bytes] | None = None
        self._pause_s, self._again_at = RESTART_S, 0.0
        try:
            self._listener, self._datagrams = listening(PING_PORT), _datagram_socket(PING_PORT)
            self._health = _Health(("", HEALTH_PORT), _Page)
        except OSError as exc:
            ports = f"{IPERF3_PORT} to {HEALTH_PORT}"
            raise RunFailed(f"ports {ports} are needed, and one is taken: {exc.strerror or exc}") from exc
        if iperf3:
            self._iperf3 = _start_iperf3()
        self._room, self._closed = threading.BoundedSemaphore(MOST_TALKS), False
        self._health.token = token
        self._answering = [
            threading.Thread(target=self._accept, daemon=True),
            threading.Thread(target=answer_datagrams, args=(self._datagrams,), daemon=True),
        ]
        self._health.alive = lambda: all(thread.is_alive() for thread in self._answering)
        for thread in (*self._answering, threading.Thread(target=self._health.serve_forever, daemon=True)):
            thread.start()

    def _accept(self) -> None:
        """A thread a conversation, so many and no more; whatever happens to one of them, the next is listened to."""
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                time.sleep(0.1)
                continue
            if not self._room.acquire(blocking=False):
                connection.close()
                continue
            try:
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
            except RuntimeError:  # no thread can be had
                self._room.release()
                connection.close()

    def _answer(self, connection: socket.socket) -> None:
        try:
            answer(connection)
        finally:
            self._room.release()

    def supervise(self) -> None:
        """iperf3's server again, where a client that died mid-test took it along; ever less often where it will not stay."""
        if self._iperf3 is None or self._iperf3.poll() is None or time.monotonic() < self._again_at:
            return
        if self._iperf3.returncode:
            print(f"iperf3's server ended with {self._iperf3.returncode}; is port {IPERF3_PORT} taken?", flush=True)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._again_at = time.monotonic() + self._pause_s
        self._iperf3 = _start_iperf3()

    def close(self) -> None:
        self._closed = True
        self._health.shutdown()
        for sock in (self._listener, self._datagrams):
            sock.close()
        if self._iperf3 is not None:
            self._iperf3.terminate()
            self._iperf3.wait(5)


def serve(deadline_s: int, token: str = "") -> int:
    """Blocks. Returns 0 at the deadline; a signal ends with 128 + n. Raises RunFailed where it cannot answer."""
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _frame: ended.append(n))
    agent = Agent(token=token)
    print(f"netprobe server is ready on ports {IPERF3_PORT} to {HEALTH_PORT}", flush=True)
    limit = time.monotonic() + deadline_s
    try:
        while not ended and time.monotonic() < limit:
            agent.supervise()
            time.sleep(RESTART_S)
    finally:
        agent.close()
    return 128 + ended[0] if ended else 0


class _Health(ThreadingHTTPServer):
    """IPv6 and IPv4."""

    daemon_threads = True
    token = ""
    alive: Callable[[], bool] = staticmethod(lambda: True)
    measuring = threading.Lock()
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def handle_error(self, *_: object) -> None:
        """A client that left is nobody's business."""

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Page(BaseHTTPRequestHandler):
    timeout = 5
    server: _Health

    def do_GET(self) -> None:
        if self.path == "/healthz":
            alive = self.server.alive()
            self._answer(200 if alive else 500, b"ok\n" if alive else b"it does not answer pings any more\n")
        elif self.path == "/facts":
            self._answer(200, json.dumps(raw_facts()).encode())
        else:
            self._answer(404, b"no such page\n")

    def do_POST(self) -> None:
        """A netprobe-config/v1 -> the netprobe-result/v1 that this agent finds. One at a time."""
        shown = self.headers.get("Authorization", "").removeprefix("Bearer ")
        known = self.server.token
        if self.path != "/measure" or not known or not hmac.compare_digest(shown.encode(), known.encode()):
            self._answer(403, b"it measures for nobody, or not with that token\n")
            return
        size = self.headers.get("Content-Length", "")
        try:
            if not size.isdigit() or int(size) > MAX_CONFIG_BYTES:
                raise ValueError("the configuration needs a length below 64 KiB")
            config = ProbeConfig.model_validate_json(self.rfile.read(int(size)))
        except ValueError as exc:
            self._answer(400, f"no netprobe-config/v1: {exc}\n".encode())
            return
        if not self.server.measuring.acquire(blocking=False):
            self._answer(409, b"it measures already\n")
            return
        try:
            self._answer(200, Pair(config, abandoned=self._left).run().model_dump_json().encode())
        finally:
            self.server.measuring.release()

    def _left(self) -> bool:
        """Whether whoever asked is gone: a connection that has something to read has nothing to read."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a probe a second is no news."""


def listening(port: int) -> socket.socket:
    """IPv6 and IPv4 where the machine has both, as iperf3's server does."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    return socket.create_server(("", port), family=socket.AF_INET, backlog=BACKLOG)


def _datagram_socket(port: int) -> socket.socket:
    if not socket.has_dualstack_ipv6():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    else:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("", port))
    return sock


def _start_iperf3() -> subprocess.Popen[bytes]:
    words = ["iperf3", "--server", "--port", str(IPERF3_PORT)]
    try:
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError as exc:
        raise RunFailed(
            f"iperf3 cannot be started: {exc.strerror}; install it (Debian: apt-get install iperf3)"
        ) from exc
