"""The server agent: iperf3 beside the ping-pong, until it is told to stop or its own deadline passes."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time

from .latency import answer

LATENCY_PORT = 5202
IPERF3_PORT = 5201
BACKLOG = 1024


def serve(deadline_s: int) -> int:
    """Blocks. Returns 0 at the deadline; a signal ends with 128 + n."""
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _frame: ended.append(n))
    listener = listening(LATENCY_PORT)
    listener.settimeout(0.5)
    iperf3 = _start_iperf3()
    print("netprobe server is ready", flush=True)
    limit = time.monotonic() + deadline_s
    try:
        while not ended and time.monotonic() < limit:
            if iperf3.poll() is not None:  # a client that dies mid-test can take it along
                iperf3 = _start_iperf3()
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=answer, args=(connection,), daemon=True).start()
    finally:
        iperf3.terminate()
        iperf3.wait(5)
    return 128 + ended[0] if ended else 0


def listening(port: int) -> socket.socket:
    """IPv6 and IPv4 where the machine has both, as iperf3's server does."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    return socket.create_server(("", port), family=socket.AF_INET, backlog=BACKLOG)


def _start_iperf3() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["iperf3", "--server", "--port", str(IPERF3_PORT)], stdout=subprocess.DEVNULL)
