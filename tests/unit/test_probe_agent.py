"""The probe's agents over real sockets: whatever segments come, over IPv6 too, and what a signal leaves behind."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from netprobe.latency import answer, measure
from netprobe.server import listening
from tokenmark_schemas.frames import FrameReader
from tokenmark_schemas.netprobe import ProbeConfig, ProbeTest


def test_a_message_in_two_segments_is_answered_whole() -> None:
    with listening(0) as listener:
        near = socket.create_connection(("127.0.0.1", listener.getsockname()[1]))
        far, _ = listener.accept()
    thread = threading.Thread(target=answer, args=(far,))
    thread.start()
    with near:
        near.settimeout(5)
        for piece in (struct.pack("!I", 8)[:2], struct.pack("!I", 8)[2:], b"abcd"):
            near.sendall(piece)
            time.sleep(0.05)
        near.sendall(b"efgh")
        assert near.recv(64) == b"abcdefgh"
    thread.join(5)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_server_answers_over_both_versions_of_ip(host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with listening(0) as listener:
        accepted = threading.Thread(target=lambda: answer(listener.accept()[0]))
        accepted.start()
        test = ProbeTest(name="rtt", type="TCPLatency", duration_seconds=1, warmup_seconds=0, rate_hz=100)
        rtt, _ = measure(host, listener.getsockname()[1], test)
        accepted.join(5)
    assert 80 <= rtt.count <= 101


def test_a_signal_keeps_what_was_measured(tmp_path: Path) -> None:
    with listening(5202) as listener:
        threading.Thread(target=lambda: [answer(listener.accept()[0]) for _ in range(3)], daemon=True).start()
        tests = [{"name": "rtt", "type": "TCPLatency", "durationSeconds": 1, "warmupSeconds": 0, "rateHz": 50},
                 {"name": "long", "type": "TCPLatency", "durationSeconds": 60, "warmupSeconds": 0, "rateHz": 50}]  # fmt: skip
        config = ProbeConfig.model_validate({
            "probe": "ew", "namespace": "bench", "uid": "u", "sourceNode": "a", "targetNode": "b",
            "serverHost": "127.0.0.1", "tests": tests, "repetitions": 1, "deadlineS": 300,
        })  # fmt: skip
        path = tmp_path / "config.json"
        path.write_text(config.model_dump_json())
        client = subprocess.Popen(
            [sys.executable, "-m", "netprobe", "client", str(path)], stdout=subprocess.PIPE, text=True
        )
        time.sleep(3)
        client.send_signal(signal.SIGTERM)
        out, _ = client.communicate(timeout=10)
    assert client.returncode == 143
    frames = FrameReader()
    for line in out.splitlines():
        frames.feed(line)
    result = json.loads(gzip.decompress(frames.blocks["result"]))
    assert [m["test"] for m in result["measurements"]] == ["rtt"]
