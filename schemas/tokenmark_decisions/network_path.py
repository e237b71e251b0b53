"""What a probe found of one pair -> the way of a run, and which of several ways it is (pure)."""

from __future__ import annotations

import statistics
from collections.abc import Container, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tokenmark_schemas.netprobe import ProbeTarget, ProbeTest
from tokenmark_schemas.network import NetworkPath, PathRate, PathTimes, PathUpload, RunNetwork
from tokenmark_schemas.probe_result import NetProbeResult, ProbeMeasurement, Times

from .repetitions import repeated

# 97.5 % quantiles of Student's t for 2 to 19 degrees of freedom: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2
T_975 = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093)  # fmt: skip
UPLOADS = (8192, 24_576, 65_000)  # below, at and above what ten segments carry
PREFERRED = ("PodToPod", "NodeToNode", "PodToService")  # of the paths on which round trips were measured


def before_a_run(target_node: str | None, url: str) -> list[ProbeTest]:
    """What is measured for a run, twelve seconds a repetition; where no agent can stand beside the target, its connections.

    Large messages go out as a load's requests do: after a pause that is longer than a retransmission timeout of a near way, so
    that congestion control begins as it would for them, and rarely enough for a bucket of tokens to fill up again."""
    if target_node is None:
        host, port = _address(url)
        target = ProbeTarget(host=host, port=port)
        return [ProbeTest(name="connect", type="TCPConnect", target=target, duration_seconds=5)]
    return [
        ProbeTest(name="rtt", type="TCPLatency", duration_seconds=2, warmup_seconds=0),
        ProbeTest(name="connect", type="TCPConnect", duration_seconds=1, warmup_seconds=0),
        ProbeTest(name="throughput", type="Throughput", duration_seconds=5, omit_seconds=1),
        *[
            ProbeTest(name=f"upload-{size // 1024}k", type="TCPLatency", message_bytes=size, reply_bytes=64, rate_hz=4,
                      duration_seconds=1, warmup_seconds=0)
            for size in UPLOADS
        ],
    ]  # fmt: skip


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def network_of(probe: str, pairs: Sequence[NetProbeResult], tests: Sequence[ProbeTest], url: str) -> RunNetwork:
    """What a run against `url` is told of a probe with these tests; of those that reach for targets, what they say of its own."""
    mine = {
        t.name for t in tests if t.target and t.type == "TCPConnect" and (t.target.host, t.target.port) == _address(url)
    }
    sizes = {t.name: (t.message_bytes, t.reply_bytes or t.message_bytes) for t in tests if t.type == "TCPLatency"}
    paths = [path for pair in pairs if (path := _path_of(pair, mine, sizes)).rtt or path.connect]
    return RunNetwork(
        probe=probe, paths=paths[:256], missing="" if paths else f"{probe} measured no round trip and no connection"
    )


def _path_of(result: NetProbeResult, mine: Container[str], sizes: Mapping[str, tuple[int, int]]) -> NetworkPath:
    measured = [m for m in result.measurements if m.error is None and (m.path != "PodToTarget" or m.test in mine)]
    if not result.measurements:
        return _lean(result)
    trips, larger = _of_best_path(measured, sizes)
    flows = [m for m in measured if m.throughput is not None and m.throughput.protocol == "TCP"]
    known = trips or [m for m in measured if m.connect is not None]
    return NetworkPath(
        source_node=result.source_node, target_node=result.target_node, measured_at=result.ended_at,
        path=known[0].path if known else "PodToPod", rtt=_times([(m.rtt, mean) for m in trips if m.rtt and (mean := _without_stalls(m)) is not None]),
        connect=_times([(m.connect, m.connect.mean_ns) for m in measured if m.connect is not None]),
        uploads=_uploads(trips, larger, sizes), forward=_rate(flows, "forward"), reverse=_rate(flows, "reverse"),
        mss_bytes=next((m.throughput.mss_bytes for m in flows if m.throughput and m.throughput.mss_bytes), None),
        **_judged(result),
    )  # fmt: skip


def _judged(result: NetProbeResult) -> dict[str, Any]:
    """A flow that a processor limits tells of no less than that rate: for a request's bytes that is a bound, and no lie."""
    reasons = result.verdict.reasons
    reasons = [r for r in reasons if r.reason != "TooShort"]  # means and their intervals are all that is taken
    states = ["degraded" if r.reason in ("ClientSaturated", "ServerSaturated") else r.verdict for r in reasons]
    worst = max(states, key=("valid", "degraded", "invalid").index, default="valid")
    return {"verdict": worst, "reasons": [reason.message for reason in reasons]}


def _lean(result: NetProbeResult) -> NetworkPath:
    """Of a mesh that was too large for its single repetitions: what they came to is left."""
    known = {(s.metric, s.statistic): s for s in reversed(result.statistics) if s.path != "PodToTarget"}

    def times(metric: str) -> PathTimes | None:
        p50, p99, mean = (known.get((metric, name)) for name in ("p50", "p99", "mean"))
        if p50 is None or mean is None:
            return None
        p99_ns = None if p99 is None else p99.value
        return PathTimes(
            count=mean.repetitions,
            p50_ns=p50.value,
            p99_ns=p99_ns,
            mean_ns=mean.value,
            low_ns=mean.low,
            high_ns=mean.high,
        )

    def rate(metric: str) -> PathRate | None:
        found = known.get((metric, "p50"))
        return None if found is None else PathRate(bits_per_second=found.value, low=found.low, high=found.high)

    return NetworkPath(
        source_node=result.source_node, target_node=result.target_node, measured_at=result.ended_at,
        path=next((s.path for s in result.statistics), "PodToPod"), rtt=times("rtt"), connect=times("connect"),
        forward=rate("throughput"), reverse=rate("reverse_throughput"), **_judged(result),
    )  # fmt: skip


def _of_best_path(
    measured: Sequence[ProbeMeasurement], sizes: Mapping[str, tuple[int, int]]
) -> tuple[list[ProbeMeasurement], list[list[ProbeMeasurement]]]:
    """Round trips of the smallest messages, on the path that a load takes; and of the larger ones, a list a test."""
    for path in PREFERRED:
        found: dict[str, list[ProbeMeasurement]] = {}
        for m in measured:
            if m.rtt is not None and m.path == path:
                found.setdefault(m.test, []).append(m)
        if found:
            first, *rest = sorted(found, key=lambda test: sizes.get(test, (0, 0)))
            return found[first], [found[test] for test in rest]
    return [], []


def _uploads(
    small: Sequence[ProbeMeasurement],
    larger: Sequence[Sequence[ProbeMeasurement]],
    sizes: Mapping[str, tuple[int, int]],
) -> list[PathUpload]:
    """What a larger message takes beyond a small one, repetition by repetition; half of it where the answer is as large."""
    base = {m.repetition: mean for m in small if (mean := _without_stalls(m)) is not None}
    known = sizes.get(small[0].test) if small else None
    found = []
    for measured in larger:
        size, reply = sizes.get(measured[0].test, (0, 0))
        if known is None or size <= known[0] or reply not in (known[1], size):
            continue
        part = 2 if reply == size else 1
        means = [(m.repetition, mean) for m in measured if (mean := _without_stalls(m)) is not None]
        extra = [max(0.0, mean - base[repetition]) / part for repetition, mean in means if repetition in base]
        mean, half = _mean_of(extra) or (0.0, None)
        if half is not None:
            low, high = max(0, round(mean - half)), round(mean + half)
            found.append(PathUpload(message_bytes=size, mean_ns=round(mean), low_ns=low, high_ns=high))
    return sorted(found, key=lambda upload: upload.message_bytes)


def _without_stalls(measurement: ProbeMeasurement) -> float | None:
    """The mean trip of a repetition without those that waited for a retransmission; None where all of them did."""
    assert measurement.rtt is not None
    times, stalled = measurement.rtt, measurement.stalled
    if stalled is None or not stalled.count:
        return times.mean_ns
    if stalled.count >= times.count:
        return None
    return (times.count * times.mean_ns - stalled.total_ns) / (times.count - stalled.count)


def _times(repetitions: Sequence[tuple[Times, float]]) -> PathTimes | None:
    """The mean of the repetitions' means, each as good as the other, and its interval by Student's t."""
    if not repetitions:
        return None
    mean, half = _mean_of([mean for _, mean in repetitions]) or (0.0, None)
    p99 = [times.p99_ns for times, _ in repetitions if times.p99_ns is not None]
    return PathTimes(
        count=sum(times.count for times, _ in repetitions),
        p50_ns=round(statistics.median(times.p50_ns for times, _ in repetitions)),
        p99_ns=round(statistics.median(p99)) if p99 else None,
        mean_ns=round(mean),
        low_ns=None if half is None else max(0, round(mean - half)),
        high_ns=None if half is None else round(mean + half),
    )


def _mean_of(values: Sequence[float]) -> tuple[float, float | None] | None:
    """(mean, half of its 95 % interval by Student's t); no interval of fewer than three or of too many."""
    if not values:
        return None
    if not 3 <= len(values) <= len(T_975) + 2:
        return statistics.fmean(values), None
    return statistics.fmean(values), T_975[len(values) - 3] * statistics.stdev(values) / len(values) ** 0.5


def _rate(flows: Sequence[ProbeMeasurement], way: str) -> PathRate | None:
    found = [flow.bits_per_second for m in flows if (flow := getattr(m.throughput, way)) is not None]
    if not found:
        return None
    said = repeated(found)
    low, high = (None if bound is None else round(bound) for bound in (said.low, said.high))
    return PathRate(bits_per_second=round(said.value), low=low, high=high)


def way_of(network: RunNetwork, node: str | None) -> tuple[list[NetworkPath], bool]:
    """(the paths between a node and the targets', whether the probe went them the other way). `node` None: there is but one.

    Several nodes may be behind a target; a probe of another node's floor stands for the node itself."""
    to, paths = set(network.target_nodes), network.paths
    if node is None:
        wanted = [path for path in paths if path.target_node in to or path.target_node is None] or paths
        return wanted[:1], False
    ahead = [p for p in paths if p.source_node == node and (p.target_node is None or p.target_node in to)]
    back = [p for p in paths if p.target_node == node and p.source_node in to and p.source_node != node]
    floor = [p for p in paths if p.source_node == p.target_node] if node in to else []
    for found, turned in ((ahead, False), (back, True), (floor, False)):
        if found:
            return found, turned
    return [], False
