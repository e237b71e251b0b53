"""The probe's agents over real sockets: whatever segments come, over IPv6 too, each way to measure, and what a signal leaves."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import pytest
import trustme

from netprobe.client import Pair, facts_of
from netprobe.measure.dns_lookup import dns_lookup
from netprobe.measure.tcp_ping import answer, tcp_latency
from netprobe.measure.udp_ping import udp_latency
from netprobe.server import Agent, listening
from tokenmark_schemas.errors import RunFailed
from tokenmark_schemas.frames import FrameReader
from tokenmark_schemas.netprobe import ProbeTest
from tokenmark_schemas.probe_result import NetProbeResult, ProbeConfig


def test_a_message_in_two_segments_is_answered_whole() -> None:
    with listening(0) as listener:
        near = socket.create_connection(("127.0.0.1", listener.getsockname()[1]))
        far, _ = listener.accept()
    thread = threading.Thread(target=answer, args=(far,))
    thread.start()
    with near:
        near.settimeout(5)
        for piece in (struct.pack("!II", 16, 24)[:2], struct.pack("!II", 16, 24)[2:], b"0123"):
            near.sendall(piece)
            time.sleep(0.05)
        near.sendall(b"4567abcdefgh")
        reply = near.recv(64)
        (held,) = struct.unpack("!Q", reply[:8])
        assert len(reply) == 24
        assert 0 < held < 1_000_000_000
    thread.join(5)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_server_answers_over_both_versions_of_ip(host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with listening(0) as listener:
        accepted = threading.Thread(target=lambda: answer(listener.accept()[0]))
        accepted.start()
        test = ProbeTest(name="rtt", type="TCPLatency", duration_seconds=1, warmup_seconds=0, rate_hz=100)
        found: dict[str, Any] = tcp_latency(host, listener.getsockname()[1], test)
        accepted.join(5)
    assert 80 <= found["rtt"].count <= 101
    assert found["rtt"].p50_ns < found["held"].p50_ns + 5_000_000


@pytest.fixture(scope="module")
def agent() -> Iterator[None]:
    running = Agent(iperf3=False)
    yield
    running.close()


def config_of(*tests: dict[str, Any], **changes: Any) -> ProbeConfig:
    known = {
        "probe": "ew",
        "namespace": "bench",
        "uid": "u",
        "sourceNode": "a",
        "targetNode": "b",
        "serverHost": "127.0.0.1",
    }
    quick = [{"durationSeconds": 1, "warmupSeconds": 0, **test} for test in tests]
    return ProbeConfig.model_validate({**known, "tests": quick, "repetitions": 1, "deadlineS": 300, **changes})


def probed(*tests: dict[str, Any], **changes: Any) -> NetProbeResult:
    return Pair(config_of(*tests, **changes)).run()


def test_every_way_to_measure_a_peer_has_its_figures(agent: None) -> None:
    result = probed(
        {"name": "rtt", "type": "TCPLatency"}, {"name": "new", "type": "TCPConnect"},
        {"name": "udp", "type": "UDPLatency", "rateHz": 500}, {"name": "big", "type": "UDPLatency", "messageBytes": 9000},
    )  # fmt: skip
    by_test = {m.test: m for m in result.measurements}
    assert [m.error for m in result.measurements] == [None] * 4
    assert by_test["rtt"].rtt is not None
    assert by_test["rtt"].rtt.count > 1000
    assert by_test["new"].connect is not None
    assert by_test["new"].first_byte is not None
    assert by_test["new"].connect.p50_ns < by_test["new"].first_byte.p50_ns
    udp = by_test["udp"].datagrams
    assert udp is not None
    assert (udp.lost, udp.reordered) == (0, 0)
    assert 450 <= udp.sent <= 500
    assert result.server is not None
    assert result.server.kernel == result.client.kernel
    assert {s.metric for s in result.statistics} >= {"rtt", "connect", "first_byte", "loss", "jitter"}


def test_the_agent_tells_facts_and_health_on_a_port_of_its_own(agent: None) -> None:
    facts = facts_of("127.0.0.1")
    assert facts["cpus"] >= 1
    assert facts["total_ticks"] > facts["busy_ticks"] > 0


def test_a_peer_that_does_not_answer_is_named_with_what_may_be_in_the_way() -> None:
    config = config_of({"name": "rtt", "type": "TCPLatency"}, serverHost="nobody.invalid")
    result = Pair(config, wait_s=1).run()
    error = result.measurements[0].error or ""
    assert "no answer from the agent at nobody.invalid:5203 within 1 s" in error
    assert "NetworkPolicy" in error
    assert result.statistics == []


def test_a_plan_ends_at_its_deadline_and_when_nobody_waits_for_it_any_more(agent: None) -> None:
    rtt = {"name": "rtt", "type": "TCPLatency", "rateHz": 50}
    late = Pair(config_of(rtt, repetitions=20, deadlineS=2)).run()
    assert 2 <= len(late.measurements) <= 3
    assert late.interrupted
    asked = iter([False, True])
    left = Pair(config_of(rtt, repetitions=20), abandoned=lambda: next(asked)).run()
    assert (len(left.measurements), left.interrupted) == (1, True)


def test_an_address_that_is_none_costs_its_test_alone(agent: None) -> None:
    wrong = {"name": "wrong", "type": "TCPConnect", "target": {"host": "a..b", "port": 1}}
    by_test = {m.test: m for m in probed(wrong, {"name": "rtt", "type": "TCPLatency"}).measurements}
    assert by_test["wrong"].error
    assert by_test["rtt"].rtt is not None


def test_a_reply_is_never_answered_and_an_odd_datagram_ends_nothing(agent: None) -> None:
    """Two agents that took each other's replies for requests would never stop."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 5202))
        sock.settimeout(0.3)
        sock.send(struct.pack("!QQ", 1 << 63 | 7, 0))
        sock.send(b"short")
        with pytest.raises(TimeoutError):
            sock.recv(64)
        sock.send(struct.pack("!QQ", 7, 0))
        assert struct.unpack("!QQ", sock.recv(64))[0] == 1 << 63 | 7


def test_where_nothing_comes_back_all_of_it_is_lost() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        found: dict[str, Any] = udp_latency(
            "127.0.0.1",
            deaf.getsockname()[1],
            ProbeTest(name="u", type="UDPLatency", duration_seconds=1, warmup_seconds=0),
        )
    assert found["datagrams"].lost == found["datagrams"].sent > 100
    assert "none of" in found["error"]


def test_a_taken_port_is_a_sentence(agent: None) -> None:
    with pytest.raises(RunFailed, match="5201 to 5203 are needed, and one is taken"):
        Agent(iperf3=False)


# --- targets ----------------------------------------------------------------------------------------------------------


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(0.02)
        self.send_response(503 if self.path == "/down" else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def asked(target: dict[str, Any], kind: str = "HTTPGet", rate_hz: int = 20) -> Any:
    result = probed({"name": "t", "type": kind, "target": target, "rateHz": rate_hz}, serverHost=None, targetNode=None)
    return result.measurements[0]


def test_a_page_tells_connect_and_first_byte_and_which_answers_were_no_success() -> None:
    with serving() as port:
        good, down = asked({"url": f"http://127.0.0.1:{port}/"}), asked({"url": f"http://127.0.0.1:{port}/down"})
        bare = asked({"host": "127.0.0.1", "port": port}, "TCPConnect")
    assert good.first_byte.p50_ns > 20_000_000 > good.connect.p50_ns
    assert (good.failures, good.tls) == (None, None)
    assert down.failures == {"http 503": down.first_byte.count}
    assert bare.connect.count >= 15


def test_tls_has_a_figure_of_its_own_and_a_certificate_of_nobody_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with serving(context) as port:
        unknown = asked({"url": f"https://localhost:{port}/"}, rate_hz=5)
        with authority.cert_pem.tempfile() as bundle:
            monkeypatch.setenv("SSL_CERT_FILE", bundle)
            known = asked({"url": f"https://localhost:{port}/"}, rate_hz=5)
    assert "certificate verify failed" in unknown.error
    assert known.tls.p50_ns > 0
    assert known.first_byte.p50_ns > known.tls.p50_ns


def test_a_port_that_nobody_listens_on_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "refused" in asked({"host": "127.0.0.1", "port": port}, "TCPConnect").error
    assert "refused" in asked({"url": f"http://127.0.0.1:{port}/"}).error


def test_lookups_tell_time_and_what_the_server_would_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nameserver that knows one name, and is deaf to another."""
    monkeypatch.setattr("netprobe.measure.dns_lookup.PATIENCE_S", 0.2)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.53", 53))

    def serve() -> None:
        while True:
            try:
                wire, sender = sock.recvfrom(4096)
            except OSError:
                return
            query = dns.message.from_wire(wire)
            name = query.question[0].name.to_text()
            if name.startswith("deaf"):
                continue
            reply = dns.message.make_response(query)
            reply.set_rcode(dns.rcode.NOERROR if name.startswith("known") else dns.rcode.NXDOMAIN)
            sock.sendto(reply.to_wire(), sender)

    threading.Thread(target=serve, daemon=True).start()
    target = {"names": ["known.example.", "unknown.example.", "deaf.example."], "nameserver": "127.0.0.53"}
    test = ProbeTest.model_validate({"name": "dns", "type": "DNSLookup", "target": target, "rateHz": 30, "durationSeconds": 2, "warmupSeconds": 0})  # fmt: skip
    try:
        found: dict[str, Any] = dns_lookup(test)
    finally:
        sock.close()
    assert found["lookup"].count >= 6
    assert set(found["failures"]) == {"nxdomain", "timed out"}


def test_a_signal_keeps_what_was_measured(agent: None, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(config_of({"name": "rtt", "type": "TCPLatency", "rateHz": 50}, repetitions=20).model_dump_json())
    words = [sys.executable, "-m", "netprobe", "client", str(path)]
    client = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert client.stderr is not None
    while "repetition 3 of" not in client.stderr.readline():
        pass
    client.send_signal(signal.SIGTERM)
    out, _ = client.communicate(timeout=10)
    assert client.returncode == 143
    frames = FrameReader()
    for line in out.splitlines():
        frames.feed(line)
    result = json.loads(gzip.decompress(frames.blocks["result"]))
    assert [m["test"] for m in result["measurements"]] == ["rtt", "rtt"]
