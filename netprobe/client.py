"""The client agent: every test, every repetition, against one server agent -> `netprobe-result/v1` in the log."""

from __future__ import annotations

import gzip
import json
import os
import platform
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tokenmark_schemas.frames import frame
from tokenmark_schemas.netprobe import NetProbeResult, ProbeConfig, ProbeMeasurement, ProbeTest

from .command import iperf3_command
from .latency import measure
from .parse import NoFigure, parse_iperf3
from .server import IPERF3_PORT, LATENCY_PORT

WAIT_FOR_SERVER_S = 60


class Stopped(Exception):
    """A signal asks for the end."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"signal {signal}")
        self.signal = signal


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def probe(config: ProbeConfig) -> int:
    """Runs the plan; returns 0 when every measurement has a figure, 128 + n after a signal, else 5. What was measured before
    a signal is written."""
    started, measurements, stopped = now(), [], 0
    try:
        wait_for_server(config.server_host)
        for repetition in range(config.repetitions):
            for test in config.tests:
                measurements.append(measured(config, test, repetition))
    except Stopped as exc:
        stopped = exc.signal
    result = NetProbeResult(
        probe=config.probe, namespace=config.namespace, uid=config.uid, source_node=config.source_node,
        target_node=config.target_node, started_at=started, ended_at=now(), iperf3_version=_iperf3_version(),
        kernel=platform.release(), mtu_bytes=_mtu(), congestion_control=_read("/proc/sys/net/ipv4/tcp_congestion_control"),
        measurements=measurements,
    )  # fmt: skip
    for line in frame("result", gzip.compress(json.dumps(result.snake()).encode(), mtime=0)):
        print(line)
    sys.stdout.flush()
    failed = [m.error for m in measurements if m.error]
    said = f"stopped by signal {stopped}" if stopped else failed[0] if failed else ""
    _terminate({"outcome": "interrupted" if stopped else "failed" if failed else "completed", "message": said})
    return 128 + stopped if stopped else 5 if failed else 0


def measured(config: ProbeConfig, test: ProbeTest, repetition: int) -> ProbeMeasurement:
    """One test once. A failure is a measurement with an error, never an exception."""
    facts = {"test": test.name, "type": test.type, "path": test.path, "repetition": repetition}
    try:
        if test.type == "TCPLatency":
            rtt, stamps = measure(config.server_host, LATENCY_PORT, test)
            return ProbeMeasurement(**facts, stamps=stamps, rtt=rtt)
        done = subprocess.run(
            iperf3_command(test, config.server_host, IPERF3_PORT), capture_output=True, text=True, check=False,
            timeout=test.seconds + test.omitted_seconds + 30,
        )  # fmt: skip
        return ProbeMeasurement(**facts, throughput=parse_iperf3(done.stdout, test))
    except (OSError, NoFigure, subprocess.TimeoutExpired) as exc:
        return ProbeMeasurement(**facts, error=str(exc)[:300])


def wait_for_server(host: str) -> None:
    """Until the server agent accepts connections; after a minute the tests report what they meet."""
    limit = time.monotonic() + WAIT_FOR_SERVER_S
    while time.monotonic() < limit:
        try:
            socket.create_connection((host, LATENCY_PORT), timeout=2).close()
        except OSError:
            time.sleep(0.3)
        else:
            return


def _terminate(summary: dict[str, str]) -> None:
    path = Path(os.environ.get("TOKENMARK_TERMINATION_LOG", "/dev/termination-log"))
    if path.exists():
        path.write_text(json.dumps(summary)[:4000])


def _iperf3_version() -> str | None:
    try:
        out = subprocess.run(["iperf3", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    match = re.search(r"iperf (\S+)", out)
    return match[1] if match else None


def _mtu() -> int | None:
    text = _read("/sys/class/net/eth0/mtu")
    return int(text) if text and text.isdigit() else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
