"""NetProbes -> samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import Metric

from ..observe.conditions import condition
from .families import QUANTILES, gauge

PROBE = ("probe", "probe_namespace", "test", "source_node", "target_node", "source_zone", "target_zone", "path")
PROBE_TIMES = {
    "rtt": "Round trip of one message.", "connect": "A new connection.", "first_byte": "SYN to the first byte of an answer.",
    "tls": "TLS handshake.", "lookup": "DNS look-up.", "loaded_rtt": "Round trip beside a throughput test.",
}  # fmt: skip


Extra = Callable[[dict[str, Any]], list[str]]
SHAPE = ("direction", "streams")
SINGLES: tuple[tuple[str, str, tuple[str, ...], str, float, Extra], ...] = (
    ("throughput_bits_per_second", "Receiver's rate.", SHAPE, "throughputBitsPerSecond", 1, lambda row: ["Forward", _streams(row)]),
    ("throughput_bits_per_second", "", SHAPE, "reverseThroughputBitsPerSecond", 1, lambda row: ["Reverse", _streams(row)]),
    ("retransmits", "Segments sent again.", SHAPE, "retransmits", 1, lambda row: [row.get("direction", ""), _streams(row)]),
    ("loss_ratio", "Messages that never came back, or packets that never arrived.", (), "lossPartsPerMillion", 1e6, lambda _: []),
    ("jitter_seconds", "Smoothed as RFC 3550.", (), "jitterNanoseconds", 1e9, lambda _: []),
)  # fmt: skip


def probe_metrics(probes: list[dict[str, Any]]) -> Iterator[Metric]:
    """Every series of the probes that exist, from their summaries."""
    families = {
        key: gauge(f"tokenmark_probe_{key}_seconds", about, (*PROBE, "quantile")) for key, about in PROBE_TIMES.items()
    }
    families |= {
        name: gauge(f"tokenmark_probe_{name}", about, (*PROBE, *more)) for name, about, more, *_ in SINGLES if about
    }
    valid = gauge("tokenmark_probe_valid", "1 when the network was measured, not its ends.", PROBE[:2])
    for cr in probes:
        if (status := condition(cr, "Valid").get("status")) in ("True", "False"):
            valid.add_metric([cr["metadata"]["name"], cr["metadata"].get("namespace", "")], int(status == "True"))
        for row in (cr.get("status") or {}).get("summary") or []:
            labels = _probe_labels(cr, row)
            for key in PROBE_TIMES:
                for quantile, value in _quantiles(row, key):
                    families[key].add_metric([*labels, quantile], value / 1e9)
            for name, _, _, field, divisor, more in SINGLES:
                if row.get(field) is not None:
                    families[name].add_metric([*labels, *more(row)], row[field] / divisor)
    yield from (*families.values(), valid)


def _streams(row: dict[str, Any]) -> str:
    return str(row.get("streams", ""))


def _probe_labels(cr: dict[str, Any], row: dict[str, Any]) -> list[str]:
    return [
        cr["metadata"]["name"], cr["metadata"].get("namespace", ""), row["test"], row["sourceNode"], row.get("targetNode", ""),
        row.get("sourceZone", ""), row.get("targetZone", ""), row.get("path", ""),
    ]  # fmt: skip


def _quantiles(row: dict[str, Any], key: str) -> Iterator[tuple[str, int]]:
    """(quantile, nanoseconds) of one duration of a row of the status."""
    head, *rest = key.split("_")
    stem = head + "".join(word.capitalize() for word in rest)
    for quantile in ("p50", "p90", "p99"):
        if (value := row.get(f"{stem}Nanoseconds{quantile.capitalize()}")) is not None:
            yield QUANTILES[quantile], value
