"""Verified probe results -> ConfigMaps that keep them, one a visit and one of all; status rows; objectives (pure)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import statistics
import zlib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tokenmark_decisions.probe_pair import main_of, verdict_of_all
from tokenmark_schemas.kube import Artifact
from tokenmark_schemas.netprobe import NetProbe, ProbeObjective
from tokenmark_schemas.probe_result import EastWest, NetProbeResult, ProbeStatistic
from tokenmark_schemas.probe_status import PairStatus, ProbeObjectiveStatus, ProbeSummary

from ..plan import names

MAX_BYTES = 16 * 2**20
ROOM_BYTES = 1_000_000
MAX_ROWS = 256
KEY = "result.json.gz"
Found = Sequence[tuple[PairStatus, NetProbeResult]]
FIELDS = {
    ("rtt", "p50"): "rtt_nanoseconds_p50", ("rtt", "p90"): "rtt_nanoseconds_p90", ("rtt", "p99"): "rtt_nanoseconds_p99",
    ("connect", "p50"): "connect_nanoseconds_p50", ("connect", "p99"): "connect_nanoseconds_p99",
    ("first_byte", "p50"): "first_byte_nanoseconds_p50", ("tls", "p50"): "tls_nanoseconds_p50",
    ("lookup", "p50"): "lookup_nanoseconds_p50", ("loaded_rtt", "p50"): "loaded_rtt_nanoseconds_p50",
    ("loaded_rtt", "p99"): "loaded_rtt_nanoseconds_p99", ("throughput", "p50"): "throughput_bits_per_second",
    ("reverse_throughput", "p50"): "reverse_throughput_bits_per_second", ("retransmits", "p50"): "retransmits",
    ("loss", "mean"): "loss_parts_per_million", ("jitter", "p50"): "jitter_nanoseconds",
}  # fmt: skip
LIMITS = (("max_microseconds", 1000, max), ("min_megabits_per_second", 1_000_000, min), ("max_parts_per_million", 1, max), ("max_count", 1, max))  # fmt: skip


def read_probe_result(payload: bytes, uid: str) -> NetProbeResult | None:
    """gzip JSON -> result of that very probe; None when it is not. What a newer agent says beyond it is passed over."""
    try:
        text = zlib.decompressobj(wbits=31).decompress(payload, MAX_BYTES)
        result = NetProbeResult.model_validate_json(text, extra="ignore")
    except (zlib.error, ValidationError):
        return None
    return result if result.uid == uid else None


def read_whole(config_map: dict[str, Any] | None) -> EastWest | None:
    """A probe's result ConfigMap -> what is in it; None where it is not there, or not as it was made."""
    if config_map is None:
        return None
    try:
        text = zlib.decompressobj(wbits=31).decompress(kept_payload(config_map), MAX_BYTES)
        return EastWest.model_validate_json(text, extra="ignore")
    except (zlib.error, ValidationError):
        return None


# --- the status -------------------------------------------------------------------------------------------------------


def summarised(found: Found) -> dict[str, Any]:
    """`summary` (a row a test and visit; of too many the worst of each test), and the figures of `kubectl get`: the worst p99,
    where it is, and the median throughput, the floor left out."""
    rows = [(result, row) for visit, result in found for row in _rows(visit, result)]
    out: dict[str, Any] = {"summary": [row.camel() for row in _worst_of_each([row for _, row in rows])]}
    if len(rows) > MAX_ROWS:
        out["summaryOf"] = len(rows)
    judged = [row for result, row in rows if _crosses(result)] or [row for _, row in rows]
    worst = max((row for row in judged if row.rtt_nanoseconds_p99), key=lambda row: row.rtt_nanoseconds_p99 or 0, default=None)  # fmt: skip
    rates = [rate for row in judged for rate in (row.throughput_bits_per_second, row.reverse_throughput_bits_per_second) if rate]  # fmt: skip
    if worst is not None and worst.rtt_nanoseconds_p99 is not None:
        out["rttP99Microseconds"] = round(worst.rtt_nanoseconds_p99 / 1000)
        out["worst"] = f"{worst.test}: {worst.source_node} to {worst.target_node}"
    if rates:
        out["throughputMedianMegabitsPerSecond"] = round(statistics.median(rates) / 1e6)
    return out


def _worst_of_each(rows: list[ProbeSummary]) -> list[ProbeSummary]:
    """As many as a status holds, in their order."""
    if len(rows) <= MAX_ROWS:
        return rows
    tests = list(dict.fromkeys(row.test for row in rows))
    kept = [
        sorted((row for row in rows if row.test == test), key=_goodness)[: MAX_ROWS // len(tests)] for test in tests
    ]
    chosen = {id(row) for of_test in kept for row in of_test}
    return [row for row in rows if id(row) in chosen]


def _goodness(row: ProbeSummary) -> float:
    rate = row.throughput_bits_per_second or row.reverse_throughput_bits_per_second
    slow = (
        row.rtt_nanoseconds_p99 or row.rtt_nanoseconds_p50 or row.connect_nanoseconds_p50 or row.lookup_nanoseconds_p50
    )
    return rate if rate is not None else -(slow or 0)


def _rows(visit: PairStatus, result: NetProbeResult) -> list[ProbeSummary]:
    return [_row(visit, result, test) for test in dict.fromkeys(s.test for s in result.statistics)]


def _row(visit: PairStatus, result: NetProbeResult, test: str) -> ProbeSummary:
    mine = {(s.metric, s.statistic): s for s in result.statistics if s.test == test}
    key = main_of(mine)
    main = mine[key] if key else next(iter(mine.values()))
    measured = [m for m in result.measurements if m.test == test]
    flows = [m.throughput for m in measured if m.throughput is not None]
    failures = [sum(m.failures.values()) for m in measured if m.failures]
    return ProbeSummary(
        test=test, source_node=visit.source_node, target_node=visit.target_node, source_zone=visit.source_zone,
        target_zone=visit.target_zone, path=main.path, streams=flows[0].streams if flows else None,
        direction=_direction(flows[0].forward, flows[0].reverse) if flows else None, failures=sum(failures) if failures else None,
        low=main.low, high=main.high, repetitions=main.repetitions,
        **{FIELDS[key]: found.value for key, found in mine.items() if key in FIELDS},
    )  # fmt: skip


def _direction(forward: object, reverse: object) -> str:
    return "Bidirectional" if forward and reverse else "Forward" if forward else "Reverse"


def _crosses(result: NetProbeResult) -> bool:
    return result.source_node != result.target_node


def judge_objectives(
    objectives: Sequence[ProbeObjective], found: Found, *, complete: bool
) -> list[ProbeObjectiveStatus]:
    """Each against the worst pair, the floor left out. Met only where every pair has the figure; a single worse one is a miss
    whatever the others would have been."""
    crossing = [result for _, result in found if _crosses(result)] or [result for _, result in found]
    return [_judged(objective, crossing, complete=complete) for objective in objectives]


def _judged(objective: ProbeObjective, results: Sequence[NetProbeResult], *, complete: bool) -> ProbeObjectiveStatus:
    field, scale, worse = next(row for row in LIMITS if getattr(objective, row[0]) is not None)
    limit = getattr(objective, field) * scale
    known = [(s.value, s.test, result) for result in results for s in result.statistics if _meant(objective, s)]
    said = {"metric": objective.metric, "statistic": objective.statistic}
    if not known:
        return ProbeObjectiveStatus(**said, met="Unknown")
    value, _, result = worse(known, key=lambda entry: entry[0])
    pair = f"{result.source_node} to {result.target_node or 'targets'}"
    tests = {test for _, test, _ in known}
    have = {(test, id(result)) for _, test, result in known}
    whole_set = complete and all((test, id(r)) in have for r in results for test in tests if test in r.tests)
    missed = value < limit if worse is min else value > limit
    met = "False" if missed else "True" if whole_set else "Unknown"
    return ProbeObjectiveStatus(**said, met=met, worst=value, pair=pair)


def _meant(objective: ProbeObjective, statistic: ProbeStatistic) -> bool:
    """Throughput, retransmits, loss and jitter have one statistic each."""
    if objective.metric == "throughput":
        return statistic.metric in ("throughput", "reverse_throughput")
    single = objective.metric in ("retransmits", "loss", "jitter")
    return statistic.metric == objective.metric and (single or statistic.statistic == objective.statistic)


# --- what is kept -----------------------------------------------------------------------------------------------------


def plan_visit_result(
    probe: NetProbe, visit: PairStatus, result: NetProbeResult, job: dict[str, Any]
) -> dict[str, Any]:
    """What one visit found, as soon as it is known; goes with the Job that found it."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    payload = gzip.compress(json.dumps(result.snake()).encode(), mtime=0)
    name = names.visit_result_name(probe.metadata.name, visit.index, probe.metadata.uid)
    return _config_map(probe, name, "visit", payload, [owner])


def plan_probe_result(probe: NetProbe, document: EastWest) -> dict[str, Any]:
    """The immutable ConfigMap with all of it; where that is too much, without the single repetitions."""
    payload = gzip.compress(json.dumps(document.snake()).encode(), mtime=0)
    if len(payload) > ROOM_BYTES:
        lean = [pair.model_copy(update={"measurements": []}) for pair in document.pairs]
        said = "the single repetitions: together they are larger than a ConfigMap"
        document = document.model_copy(update={"pairs": lean, "left_out": said})
        payload = gzip.compress(json.dumps(document.snake()).encode(), mtime=0)
    meta, retain = probe.metadata, probe.spec.results.retention == "Retain"
    name = names.result_name("NetProbe", meta.name, meta.uid, retain=retain)
    return _config_map(probe, name, "result", payload, [] if retain else [names.owner("NetProbe", meta)])


def _config_map(probe: NetProbe, name: str, role: str, payload: bytes, owners: list[dict[str, Any]]) -> dict[str, Any]:
    labels = names.labels("NetProbe", probe.metadata, **{names.ROLE_LABEL: role})
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels, **({"ownerReferences": owners} if owners else {})},
        "immutable": True,
        "binaryData": {KEY: base64.b64encode(payload).decode()},
    }


def artifact_of(config_map: dict[str, Any]) -> Artifact:
    """What is said of a result, from what stands there, or will."""
    payload = kept_payload(config_map)
    digest, name = hashlib.sha256(payload).hexdigest(), config_map["metadata"]["name"]
    return Artifact(name="result", kind="ConfigMap", ref=name, key=KEY, sha256=digest, size_bytes=len(payload))


def kept_payload(config_map: dict[str, Any]) -> bytes:
    """What `_config_map` put there; nothing where it is not as it was made."""
    try:
        return base64.b64decode((config_map.get("binaryData") or {}).get(KEY, ""), validate=True)
    except ValueError:
        return b""


def whole(
    probe: NetProbe, found: Found, *, created_at: str, environment: dict[str, str], pairs_of: int, chosen: str
) -> EastWest:
    """All that was found, as one document."""
    results = [result for _, result in found]
    same = probe.spec.placement.topology == "SameNode"
    measured = len({(r.source_node, r.target_node) for r in results if r.target_node and (same or _crosses(r))})
    return EastWest(
        probe=probe.metadata.name, created_at=created_at, environment=environment, tests=probe.spec.tests,
        measured=measured, pairs_of=pairs_of, chosen=chosen, verdict=verdict_of_all(results), pairs=results,
    )  # fmt: skip
