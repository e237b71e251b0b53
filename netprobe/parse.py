"""iperf3's JSON -> our figure, or a sentence saying why there is none (pure).

The exit code is no proof: some versions end with 0 on "server busy". A result counts only with an `end` section that
saw bytes arrive, and the receiver's rate is the one reported.
"""

from __future__ import annotations

import json
from typing import Any

from tokenmark_schemas.netprobe import ProbeTest, Throughput


class NoFigure(Exception):
    """Why iperf3's output holds no result."""


def parse_iperf3(text: str, test: ProbeTest) -> Throughput:
    """Raises NoFigure."""
    try:
        document = json.loads(text)
    except ValueError as exc:
        raise NoFigure(f"iperf3 printed no JSON: {text.strip()[:200] or 'nothing at all'}") from exc
    if not isinstance(document, dict):
        raise NoFigure("iperf3 printed JSON that is no object")
    if document.get("error"):
        raise NoFigure(f"iperf3: {document['error']}")
    end: dict[str, Any] = document.get("end") or {}
    received, sent = end.get("sum_received") or end.get("sum") or {}, end.get("sum_sent") or {}
    rate = received.get("bits_per_second")
    if not rate:
        raise NoFigure("iperf3 ended without a receiver's figure: nothing arrived")
    cpu = end.get("cpu_utilization_percent") or {}
    retransmits = sent.get("retransmits")
    return Throughput(
        bits_per_second=round(rate),
        retransmits=None if retransmits is None else int(retransmits),
        sender_cpu_percent=cpu.get("host_total"),
        receiver_cpu_percent=cpu.get("remote_total"),
        streams=test.parallel_streams,
        direction=test.direction,
    )
