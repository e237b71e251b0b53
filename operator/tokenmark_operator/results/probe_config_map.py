"""Verified probe results -> status summary and the ConfigMap that keeps them (pure)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import statistics
import zlib
from typing import Any

from pydantic import ValidationError

from tokenmark_schemas.kube import Artifact
from tokenmark_schemas.netprobe import NetProbe, NetProbeResult, PairStatus, ProbeMeasurement, ProbeSummary

from ..plan import names

MAX_BYTES = 16 * 2**20


def read_probe_result(payload: bytes, uid: str) -> NetProbeResult | None:
    """gzip JSON -> result of that very probe; None when it is not."""
    try:
        result = NetProbeResult.model_validate_json(zlib.decompressobj(wbits=31).decompress(payload, MAX_BYTES))
    except (zlib.error, ValidationError):
        return None
    return result if result.uid == uid else None


def errors_of(result: NetProbeResult) -> list[str]:
    return [f"{m.test}: {m.error}" for m in result.measurements if m.error]


def summarise_pair(result: NetProbeResult, pair: PairStatus) -> list[ProbeSummary]:
    """One row a test: medians over the repetitions, so that one bad second does not name a network."""
    tests = dict.fromkeys(m.test for m in result.measurements)
    return [row for test in tests if (row := _row(test, [m for m in result.measurements if m.test == test], pair))]


def _row(test: str, found: list[ProbeMeasurement], pair: PairStatus) -> ProbeSummary | None:
    rtts = [m.rtt for m in found if m.rtt]
    rates = [m.throughput for m in found if m.throughput]
    if not rtts and not rates:
        return None
    place = {
        "test": test, "source_node": pair.source_node, "target_node": pair.target_node, "source_zone": pair.source_zone,
        "target_zone": pair.target_zone, "path": found[0].path,
    }  # fmt: skip
    if rtts:
        p99 = [r.p99_ns for r in rtts if r.p99_ns is not None]
        return ProbeSummary(
            **place, rtt_nanoseconds_p50=_median([r.p50_ns for r in rtts]), rtt_nanoseconds_p90=_median([r.p90_ns for r in rtts]),
            rtt_nanoseconds_p99=_median(p99) if p99 else None, samples=sum(r.count for r in rtts),
        )  # fmt: skip
    retransmits = [r.retransmits for r in rates if r.retransmits is not None]
    return ProbeSummary(
        **place, throughput_bits_per_second=_median([r.bits_per_second for r in rates]), direction=rates[0].direction,
        streams=rates[0].streams, retransmits=sum(retransmits) if retransmits else None, samples=len(rates),
    )  # fmt: skip


def _median(values: list[int]) -> int:
    return round(statistics.median(values))


def totals(summary: list[ProbeSummary]) -> dict[str, int]:
    """The two figures of `kubectl get`: the worst p99 and the median throughput."""
    out = {}
    worst = [row.rtt_nanoseconds_p99 for row in summary if row.rtt_nanoseconds_p99 is not None]
    rates = [row.throughput_bits_per_second for row in summary if row.throughput_bits_per_second is not None]
    if worst:
        out["rttP99Microseconds"] = round(max(worst) / 1000)
    if rates:
        out["throughputMedianMegabitsPerSecond"] = round(_median(rates) / 1e6)
    return out


def plan_probe_result(probe: NetProbe, results: list[NetProbeResult]) -> tuple[dict[str, Any], Artifact]:
    """The immutable ConfigMap with every pair's measurements."""
    meta = probe.metadata
    retain = probe.spec.results.retention == "Retain"
    name = names.result_name("NetProbe", meta.name, meta.uid, retain=retain)
    document = {"schema_version": "netprobe-results/v1", "pairs": [r.snake() for r in results]}
    payload = gzip.compress(json.dumps(document).encode(), mtime=0)
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "labels": names.labels("NetProbe", meta, **{names.ROLE_LABEL: "result"}),
            **({} if retain else {"ownerReferences": [names.owner("NetProbe", meta)]}),
        },
        "immutable": True,
        "binaryData": {"result.json.gz": base64.b64encode(payload).decode()},
    }
    digest = hashlib.sha256(payload).hexdigest()
    return manifest, Artifact(
        name="result", kind="ConfigMap", ref=name, key="result.json.gz", sha256=digest, size_bytes=len(payload)
    )
