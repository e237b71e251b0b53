"""The answering agent: pings over TCP and UDP, iperf3's server under supervision, and a port of its own for health and facts.

iperf3's port is not probed: a bare connect would be a test to it. One server serves one test at a time, by iperf3's design.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .ends import raw_facts
from .measure.table import HEALTH_PORT, IPERF3_PORT, PING_PORT
from .measure.tcp_ping import answer
from .measure.udp_ping import answer_datagrams

BACKLOG = 1024
RESTART_S = 0.5


class Agent:
    """Everything that answers on this host; used by `serve` and by the standing mesh."""

    def __init__(self, *, iperf3: bool = True) -> None:
        self._listener = listening(PING_PORT)
        self._datagrams = _datagram_socket(PING_PORT)
        self._health = _Health(("", HEALTH_PORT), _Page)
        self._iperf3 = _start_iperf3() if iperf3 else None
        for target in (self._accept, self._health.serve_forever):
            threading.Thread(target=target, daemon=True).start()
        threading.Thread(target=answer_datagrams, args=(self._datagrams,), daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def supervise(self) -> None:
        """iperf3's server again, where a client that died mid-test took it along."""
        if self._iperf3 is not None and self._iperf3.poll() is not None:
            self._iperf3 = _start_iperf3()

    def close(self) -> None:
        self._health.shutdown()
        for sock in (self._listener, self._datagrams):
            sock.close()
        if self._iperf3 is not None:
            self._iperf3.terminate()
            self._iperf3.wait(5)


def serve(deadline_s: int) -> int:
    """Blocks. Returns 0 at the deadline; a signal ends with 128 + n. Raises OSError where a port is taken."""
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _frame: ended.append(n))
    agent = Agent()
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
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Page(BaseHTTPRequestHandler):
    timeout = 5

    def do_GET(self) -> None:
        body = {"/healthz": b"ok\n", "/facts": json.dumps(raw_facts()).encode()}.get(self.path)
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

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
    return subprocess.Popen(
        ["iperf3", "--server", "--port", str(IPERF3_PORT)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
