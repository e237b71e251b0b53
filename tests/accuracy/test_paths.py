"""Healthy servers over long, encrypted and buffered ways are `valid`; what this machine runs out of is said by its name."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.accuracy.test_truth import CLI, healthy, run, simulator
from tests.cluster import fronts
from tests.support.serving import in_thread
from tests.support.shapes import MODEL

DELAY_MS = 45.0  # each way


@contextmanager
def relay(url: str) -> Iterator[str]:
    """The same server, 90 ms away."""
    words = [sys.executable, "-m", "tests.support.relay", url.split("//")[1], str(DELAY_MS)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"{url.split('://')[0]}://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@contextmanager
def encrypted(url: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """https before a plain server, by socat: (address, CA file)."""
    if shutil.which("socat") is None:
        pytest.skip("socat is missing; the cluster's packages bring it")
    authority, port = trustme.CA(), fronts.free_port()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server = authority.issue_cert("localhost", "127.0.0.1")
    server.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    listen = (
        f"OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=512,verify=0,cert={folder}/server.pem"
    )
    process = subprocess.Popen(["socat", listen, f"TCP:{url.split('//')[1]},nodelay"], stderr=subprocess.DEVNULL)
    try:
        fronts.wait_for("socat listens", lambda: _listens(port), 10)
        yield f"https://127.0.0.1:{port}", folder / "ca.pem"
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_server_on_starlette_is_valid(tmp_path: Path) -> None:
    with fronts.starlette(tmp_path) as url:
        result = healthy(url, tmp_path, "--concurrency", "4", "--duration", "5", "--model", "m")
    stage = result["stages"][0]
    assert stage["requests"]["errors"] == {}
    assert stage["metrics"]["ttft"]["p50"] == pytest.approx(0.045, abs=0.015)


def test_https_is_valid(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "30") as (plain, _), encrypted(plain, tmp_path) as (url, ca):
        result = healthy(url, tmp_path, "--ca-file", str(ca), "--concurrency", "4", "--duration", "5")
    assert result["stages"][0]["requests"]["succeeded"] > 80


@pytest.mark.parametrize(
    "load",
    [
        ("--rate", "10", "--duration", "12"),
        pytest.param(("--concurrency", "4", "--duration", "15"), marks=pytest.mark.trial),
    ],
    ids=["open", "closed"],
)
def test_a_new_connection_for_each_request_over_a_long_way_is_the_ways_doing(
    load: tuple[str, ...], tmp_path: Path
) -> None:
    """Handshakes of 90 ms a round trip are no lateness of the client: they are `connect`, and in `ttft_scheduled`."""
    with (
        simulator(tmp_path, "--ttft-ms", "30") as (plain, _),
        encrypted(plain, tmp_path) as (near, ca),
        relay(near) as url,
    ):
        result = healthy(url, tmp_path, "--ca-file", str(ca), "--new-connections", *load)
    metrics = result["stages"][0]["metrics"]
    assert result["stages"][0]["client"]["send_lag"]["tail"] < 0.02
    assert metrics["connect"]["count"] == metrics["ttft"]["count"]
    assert 0.085 < metrics["connect"]["p50"] < 0.4, "one or two round trips, by the version of TLS"
    assert metrics["ttft"]["p50"] == pytest.approx(0.12, abs=0.04)
    if load[0] == "--rate":
        waited = metrics["ttft_scheduled"]["p50"] - metrics["ttft"]["p50"]
        assert waited == pytest.approx(metrics["connect"]["p50"], abs=0.05)


def test_a_plain_server_far_away_is_valid(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "30") as (plain, _), relay(plain) as url:
        result = healthy(url, tmp_path, "--concurrency", "8", "--duration", "6")
    assert result["stages"][0]["metrics"]["ttft"]["p50"] == pytest.approx(0.12, abs=0.02)


WHOLE = {"id": "c", "model": MODEL, "choices": [{"message": {"role": "assistant", "content": "a b"}, "finish_reason": "stop"}],
         "usage": {"prompt_tokens": 3, "completion_tokens": 2}}  # fmt: skip


def test_one_piece_where_a_stream_was_asked_for_is_said(tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Whole(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(WHOLE).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Whole) as server, in_thread(server):
        url = f"http://127.0.0.1:{server.server_address[1]}"
        result = run(url, tmp_path, "--concurrency", "1", "--requests", "120", code=4)
    stage = result["stages"][0]
    assert stage["requests"]["unstreamed"] == stage["requests"]["succeeded"] == 120
    assert "unstreamed" in {reason["code"] for reason in result["verdict"]["reasons"]}


def _short_of(tmp_path: Path, url: str, *before: str, limit: int | None = None) -> dict[str, Any]:
    words = [*before, *CLI, "run", "--target", url, "--model", "sim", "--out", str(tmp_path), "--name", "t", "--quiet",
             "--format", "json", "--warmup-requests", "0", "--concurrency", "100", "--duration", "2", "--new-connections"]  # fmt: skip

    def few() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, preexec_fn=few)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_machine_out_of_descriptors_is_said_to_be(tmp_path: Path) -> None:
    with simulator(tmp_path, "--ttft-ms", "200") as (url, _):
        result = _short_of(tmp_path, url, limit=60)
    errors = result["stages"][0]["requests"]["errors"]
    assert set(errors) == {"client"}
    assert result["verdict"]["state"] != "valid"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root for a network of its own")
def test_a_machine_out_of_ports_is_said_to_be(tmp_path: Path) -> None:
    script = (
        "ip link set lo up; echo 40000 40019 > /proc/sys/net/ipv4/ip_local_port_range\n"
        f"{CLI[0]} -m bench_runner sim --listen 127.0.0.1:18099 --ttft-ms 200 2>/dev/null & server=$!\n"
        'sleep 1.5; "$@"; code=$?; kill $server; exit $code'
    )
    result = _short_of(tmp_path, "http://127.0.0.1:18099", "unshare", "-n", "bash", "-c", script, "-")
    assert set(result["stages"][0]["requests"]["errors"]) == {"client"}
