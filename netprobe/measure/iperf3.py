"""Throughput by iperf3: test -> arguments -> its JSON -> our figures. The first two are pure.

The exit code is no proof: some versions end with 0 on "server busy". A result counts only with an `end` section that saw bytes
arrive, and the receiver's rate is the one reported.
"""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any

from tokenmark_schemas.netprobe import ProbeTest
from tokenmark_schemas.probe_result import Flow, Throughput, Times

from .tcp_ping import pinged_while

PATIENCE_S = 30
BESIDE_HZ = 100
BLOCK_BYTES = 131_072


class NoFigure(OSError):
    """Why iperf3's output holds no result."""


def iperf3_command(test: ProbeTest, host: str, port: int) -> list[str]:
    """The client's command line. Durations are explicit: a test is `seconds` counted plus `omitted_seconds` before."""
    words = ["iperf3", "--client", host, "--port", str(port), "--json", "--time", str(test.seconds)]
    words += ["--omit", str(test.omitted_seconds), "--parallel", str(test.parallel_streams)]
    if test.protocol == "TCP" or test.block_bytes is not None:  # of UDP iperf3 itself takes what fits into a packet
        words += ["--len", str(test.block_bytes or BLOCK_BYTES)]
    words += ["--connect-timeout", "5000"]
    if test.protocol == "UDP":
        words += ["--udp", "--udp-counters-64bit"]
    words += {"Reverse": ["--reverse"], "Bidirectional": ["--bidir"]}.get(test.direction, [])
    for flag, value in (
        ("--bitrate", test.bitrate), ("--window", test.window_bytes), ("--set-mss", test.mss_bytes),
        ("--congestion", test.congestion_control),
    ):  # fmt: skip
        if value is not None:
            words += [flag, str(value)]
    return words


def parse_iperf3(text: str, test: ProbeTest, said: str = "") -> Throughput:
    """`said` is what stood on the standard error, warnings as well. Raises NoFigure."""
    document = _document(text, said)
    end: dict[str, Any] = document.get("end") or {}
    flow, back = _flow(end, ""), _flow(end, "_bidir_reverse")
    forward, reverse = (None, flow) if test.direction == "Reverse" else (flow, back)
    wanted = {"Forward": (forward,), "Reverse": (reverse,), "Bidirectional": (forward, reverse)}[test.direction]
    if not all(wanted):
        raise NoFigure("iperf3 ended without a receiver's figure: nothing arrived")
    cpu = end.get("cpu_utilization_percent") or {}
    senders = [stream.get("sender") or {} for stream in end.get("streams") or []]
    rtts = [sender["mean_rtt"] for sender in senders if sender.get("mean_rtt")]
    return Throughput(
        forward=forward, reverse=reverse, client_cpu_percent=cpu.get("host_total"), server_cpu_percent=cpu.get("remote_total"),
        streams=test.parallel_streams, protocol=test.protocol,
        mss_bytes=(document.get("start") or {}).get("tcp_mss_default"),
        congestion_control=end.get("sender_tcp_congestion"),
        tcp_rtt_ns=round(1000 * sum(rtts) / len(rtts)) if rtts else None,
    )  # fmt: skip


def _document(text: str, said: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as exc:
        raise NoFigure(f"iperf3 printed no JSON: {(text.strip() or said.strip())[:200] or 'nothing at all'}") from exc
    if not isinstance(document, dict):
        raise NoFigure("iperf3 printed JSON that is no object")
    if document.get("error"):
        raise NoFigure(f"iperf3: {document['error']}")
    return document


def _flow(end: dict[str, Any], suffix: str) -> Flow | None:
    """One direction; None where nothing arrived."""
    received, sent = end.get(f"sum_received{suffix}") or {}, end.get(f"sum_sent{suffix}") or {}
    if not received and not suffix:
        received = end.get("sum") or {}
    if not received.get("bits_per_second"):
        return None
    packets, jitter_ms = received.get("packets"), received.get("jitter_ms")
    return Flow(
        bits_per_second=round(received["bits_per_second"]), retransmits=sent.get("retransmits"),
        packets=packets, lost_packets=received.get("lost_packets") if packets else None,
        jitter_ns=round(jitter_ms * 1e6) if jitter_ms is not None and packets else None,
    )  # fmt: skip


def throughput(host: str, port: int, ping_port: int, test: ProbeTest) -> dict[str, object]:
    """`throughput` and, where it was asked for, `loaded_rtt` of a measurement. Raises OSError, NoFigure."""
    beside: list[Times | None] = []
    over = threading.Event()
    pinging = threading.Thread(target=_ping_beside, args=(beside, host, ping_port, test, over), daemon=True)
    limit = test.seconds + test.omitted_seconds + PATIENCE_S
    process = subprocess.Popen(
        iperf3_command(test, host, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        if test.ping_beside:
            pinging.start()
        text, said = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as exc:
        raise NoFigure(f"iperf3 did not end within {limit} s") from exc
    finally:
        over.set()
        process.kill()
        process.wait()
    found: dict[str, object] = {"throughput": parse_iperf3(text, test, said)}
    if test.ping_beside:
        pinging.join(PATIENCE_S)
        found["loaded_rtt"] = beside[0] if beside else None
    return found


def _ping_beside(found: list[Times | None], host: str, port: int, test: ProbeTest, over: threading.Event) -> None:
    """While the counted part flows: from its start-up's end to a moment before its own, or until the flow is `over`."""
    over.wait(test.omitted_seconds + 0.5)
    try:
        found.append(pinged_while(host, port, test.seconds - 1, BESIDE_HZ, over.is_set))
    except OSError:
        found.append(None)
