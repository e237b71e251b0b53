"""The way to the target: TLS, proxies, IPv6, several addresses, connection policies, and a server that asks for patience.

Servers here are real sockets of the standard library; what they saw is what is asserted.
"""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from bench_runner.load.clock import NS
from bench_runner.load.drive import Drive
from bench_runner.load.frames import Exchange
from bench_runner.load.phase import Limits, Phase
from bench_runner.load.route import Address, Route
from bench_runner.target import route as reach
from tests.accuracy.test_truth import CLI
from tests.support.serving import in_thread

EVENT = b'data: {"model":"m","choices":[{"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"model":"m","choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass
class Seen:
    """What a server saw."""

    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    most_open: int = 0
    open: int = 0


def read_request(stream: Any) -> bytes:
    """Head and body of one request; empty at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    size = next((int(at.split(b":")[1]) for at in head.split(b"\r\n") if at.lower().startswith(b"content-length")), 0)
    return head + stream.read(size)


class Streams(socketserver.StreamRequestHandler):
    """Answers every request with two tokens, 5 ms apart."""

    timeout = 20

    def setup(self) -> None:
        if (context := getattr(self.server, "context", None)) is not None:
            self.request.settimeout(self.timeout)
            self.request = context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        self.request.close()

    def handle(self) -> None:
        seen: Seen = self.server.seen  # type: ignore[attr-defined]
        carried = False
        try:
            while request := read_request(self.rfile):
                if request.startswith(b"GET"):  # the client asks which engine this is, beside the load
                    self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                if not carried:
                    carried = True
                    seen.connections += 1
                    seen.open += 1
                    seen.most_open = max(seen.most_open, seen.open)
                seen.requests.append(request)
                seen.at.append(time.monotonic())
                self.answer()
        except OSError:
            pass
        finally:
            seen.open -= carried

    def answer(self) -> None:
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(EVENT)
        )
        self.wfile.flush()
        time.sleep(0.005)
        self.wfile.write(chunk(EVENT) + chunk(STOP) + b"0\r\n\r\n")


class Busy(Streams):
    """Has no time at first, and says for how long."""

    def answer(self) -> None:
        if len(self.server.seen.requests) <= 1:  # type: ignore[attr-defined]
            self.wfile.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nwait")
        else:
            super().answer()


class Tunnel(socketserver.StreamRequestHandler):
    """A proxy: CONNECT opens a tunnel, a plain request with a whole address is passed on."""

    def handle(self) -> None:
        self.server.seen.requests.append(request := read_request(self.rfile))  # type: ignore[attr-defined]
        method, target, _ = request.split(b" ", 2)
        if getattr(self.server, "refuses", False):
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        if method == b"CONNECT":
            host, port = target.decode().rsplit(":", 1)
        else:
            host, port = target.decode().split("/")[2].rsplit(":", 1)
        with socket.create_connection((host, int(port)), 5) as upstream:
            if method == b"CONNECT":
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(request)
            back = threading.Thread(target=self.pump, args=(upstream, self.connection), daemon=True)
            back.start()
            self.pump(self.connection, upstream)

    @staticmethod
    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@contextmanager
def serving(
    handler: type[socketserver.BaseRequestHandler], host: str = "127.0.0.1", **facts: Any
) -> Iterator[tuple[int, Seen]]:
    kind = type("Server", (socketserver.ThreadingTCPServer,), {
        "allow_reuse_address": True, "daemon_threads": True, "block_on_close": False,
        "address_family": socket.AF_INET6 if ":" in host else socket.AF_INET,
    })  # fmt: skip
    with kind((host, 0), handler) as server:
        server.seen = Seen()
        for name, value in facts.items():
            setattr(server, name, value)
        with in_thread(server):
            yield server.server_address[1], server.seen


def run(url: str, out: Path, *flags: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    words = [*CLI, "run", "--target", url, "--model", "m", "--out", str(out), "--name", "t", "--quiet", "--format",
             "json", "--warmup-requests", "0", *flags]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    return done, json.loads(done.stdout) if done.stdout else {}


def stage(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = result["stages"][0]
    return found


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def context(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(made)
    return made


def test_tls_is_measured_with_kernel_stamps_and_reused(context: ssl.SSLContext, ca_file: str, tmp_path: Path) -> None:
    with serving(Streams, context=context) as (port, seen):
        done, result = run(f"https://127.0.0.1:{port}", tmp_path, "--ca-file", ca_file, "--concurrency", "2",
                           "--requests", "40")  # fmt: skip
    assert stage(result)["requests"]["succeeded"] == 40, done.stderr
    assert seen.connections == 2
    assert result["provenance"]["stamps"] == "kernel"
    assert 0.005 <= stage(result)["metrics"]["e2e"]["p50"] < 0.1


def test_a_certificate_that_nobody_vouches_for_is_refused_and_taken_when_told(
    context: ssl.SSLContext, tmp_path: Path
) -> None:
    with serving(Streams, context=context) as (port, _):
        flags = ("--concurrency", "1", "--requests", "3")
        done, _ = run(f"https://127.0.0.1:{port}", tmp_path, *flags)
        assert (done.returncode, "TLS handshake failed" in done.stderr) == (5, True), done.stderr
        done, result = run(f"https://127.0.0.1:{port}", tmp_path, *flags, "--insecure")
        assert stage(result)["requests"]["succeeded"] == 3, done.stderr


def test_https_to_a_plain_server_is_a_sentence(tmp_path: Path) -> None:
    with serving(Streams) as (port, _):
        done, _ = run(f"https://127.0.0.1:{port}", tmp_path, "--concurrency", "1", "--requests", "2", "--timeout", "3")
    assert done.returncode == 5
    assert "TLS handshake failed" in done.stderr or "could not be opened" in done.stderr


def test_a_proxy_passes_plain_requests_on_and_tunnels_tls(
    context: ssl.SSLContext, ca_file: str, tmp_path: Path
) -> None:
    flags = ("--concurrency", "1", "--requests", "3")
    with serving(Tunnel) as (gate, passed), serving(Streams) as (port, _):
        done, result = run(f"http://127.0.0.1:{port}", tmp_path, *flags, "--proxy", f"http://127.0.0.1:{gate}")
        assert stage(result)["requests"]["succeeded"] == 3, done.stderr
        assert passed.requests[0].startswith(b"POST http://127.0.0.1:%d/v1/chat/completions HTTP/1.1" % port)
    with serving(Tunnel) as (gate, passed), serving(Streams, context=context) as (port, _):
        done, result = run(f"https://127.0.0.1:{port}", tmp_path, *flags, "--proxy", f"http://127.0.0.1:{gate}",
                           "--ca-file", ca_file)  # fmt: skip
        assert stage(result)["requests"]["succeeded"] == 3, done.stderr
        assert passed.requests == [b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (port, port)]


def test_a_proxy_that_refuses_is_named(tmp_path: Path) -> None:
    with serving(Tunnel, refuses=True) as (gate, _):
        done, _ = run("https://127.0.0.1:9", tmp_path, "--concurrency", "1", "--requests", "1", "--proxy",
                      f"http://127.0.0.1:{gate}", "--insecure")  # fmt: skip
    assert (done.returncode, "the proxy could not be used to reach the target" in done.stderr) == (5, True), done.stderr


def test_ipv6_works(tmp_path: Path) -> None:
    with serving(Streams, "::1") as (port, seen):
        done, result = run(f"http://[::1]:{port}", tmp_path, "--concurrency", "1", "--requests", "3")
    assert stage(result)["requests"]["succeeded"] == 3, done.stderr
    assert b"Host: [::1]:%d\r\n" % port in seen.requests[0]


def test_a_name_with_a_dead_address_is_reached_by_the_others() -> None:
    """Every second connection begins at an address where nobody listens, and no request fails for it."""
    body = b'{"model":"m"}'
    request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with serving(Streams) as (port, seen):
        both = (Address(socket.AF_INET, ("127.0.0.1", 1)), Address(socket.AF_INET, ("127.0.0.1", port)))
        seconds = Limits(*[10 * NS] * 4)
        drive = Drive(Phase("p", Route(both, reuse=False), lambda _: request, seconds, concurrency=2, count=10))
        ends = [event.outcome for event in drive.events() if isinstance(event, Exchange)]
    assert ends == ["ok"] * 10
    assert len(seen.requests) == 10


def test_every_address_of_a_name_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(socket.AF_INET, 1, 6, "", ("198.18.0.1", 80)), (socket.AF_INET, 1, 6, "", ("198.18.0.2", 80))]
    monkeypatch.setattr(reach.socket, "getaddrinfo", lambda *_, **__: [*rows, rows[0]])
    assert reach.resolve("many", 80) == tuple(Address(family, at) for family, _, _, _, at in rows)


@pytest.mark.parametrize(
    ("flags", "connections"),
    [
        pytest.param(("--concurrency", "2"), 2, id="kept"),
        pytest.param(("--concurrency", "2", "--new-connections"), 12, id="one a request"),
        pytest.param(("--concurrency", "6", "--max-connections", "2"), 2, id="at most two"),
    ],
)
def test_connections_follow_their_policy(tmp_path: Path, flags: tuple[str, ...], connections: int) -> None:
    with serving(Streams) as (port, seen):
        done, result = run(f"http://127.0.0.1:{port}", tmp_path, *flags, "--requests", "12")
    assert stage(result)["requests"]["succeeded"] == 12, done.stderr
    assert seen.connections == connections
    if "--max-connections" in flags:
        assert seen.most_open == 2
        assert stage(result)["metrics"]["ttft_scheduled"]["max"] > stage(result)["metrics"]["ttft"]["max"]


def test_compression_is_not_asked_for(tmp_path: Path) -> None:
    with serving(Streams) as (port, seen):
        run(f"http://127.0.0.1:{port}", tmp_path, "--concurrency", "1", "--requests", "1")
    assert b"Accept-Encoding: identity\r\n" in seen.requests[0]


@pytest.mark.parametrize(("flags", "rest_s"), [((), 0.1), (("--honour-retry-after",), 1.0)])
def test_retry_after_is_honoured_only_when_asked_for(tmp_path: Path, flags: tuple[str, ...], rest_s: float) -> None:
    with serving(Busy) as (port, seen):
        _, result = run(f"http://127.0.0.1:{port}", tmp_path, "--concurrency", "1", "--requests", "3", *flags)
    assert stage(result)["requests"]["errors"] == {"rate_limited": 1}
    assert rest_s <= seen.at[1] - seen.at[0] < rest_s + 0.6


class Impatient(Streams):
    """Says no as soon as it has seen the head, and leaves the connection open."""

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        if head.startswith(b"POST"):
            self.server.seen.connections += 1  # type: ignore[attr-defined]
        self.wfile.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\n\r\ntoo big")
        self.wfile.flush()
        time.sleep(0.3)


def test_a_connection_that_still_owes_half_a_request_is_not_used_again(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "word " * 1_200_000}))
    with serving(Impatient) as (port, seen):
        done, _ = run(f"http://127.0.0.1:{port}", tmp_path, "--prompts", str(tmp_path / "prompts.jsonl"), "--concurrency",
                      "1", "--requests", "3", "--timeout", "20")  # fmt: skip
    assert done.returncode == 5
    assert "HTTP 413: too big" in done.stderr or "closed" in done.stderr
    assert seen.connections == 3
