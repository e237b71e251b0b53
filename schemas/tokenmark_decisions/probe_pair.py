"""The measurements of one pair, and of all pairs of a probe -> statistics and the verdict on them (pure).

A statistic is the median over the repetitions of one test. The verdict asks whether the network was measured, or one of its
ends: a figure that a busy processor made says nothing of the wire.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence

from tokenmark_schemas.probe_result import (
    Flow,
    NetProbeResult,
    ProbeMeasurement,
    ProbeReason,
    ProbeStatistic,
    ProbeVerdict,
    Throughput,
    Times,
)

from .repetitions import ENOUGH, repeated

BUSY_PERCENT = 90.0  # of one core a stream: iperf3 uses one thread for each
SPREAD = 0.5  # (highest - lowest) / median of the repetitions' medians
LOSS_PPM, FAILING = 10_000, 0.01
SHORT_FLOW_S, SHORT_TIMES = 5, 50
DURATIONS = ("rtt", "connect", "tls", "first_byte", "lookup", "loaded_rtt")
MAIN = (
    ("throughput", "p50"), ("reverse_throughput", "p50"), ("rtt", "p50"), ("connect", "p50"), ("first_byte", "p50"), ("lookup", "p50"),
)  # fmt: skip
QUANTILES = ("p50", "p90", "p99", "mean", "max")
Read = Callable[[ProbeMeasurement], float | None]


def statistics_of(measurements: Sequence[ProbeMeasurement]) -> list[ProbeStatistic]:
    """Every number of every test that at least one repetition has, in the order in which tests and metrics stand."""
    tests = dict.fromkeys((m.test, m.path) for m in measurements)
    found = []
    for test, path in tests:
        of_test = [m for m in measurements if m.test == test]
        for metric, statistic, unit, read in _readings():
            values = [value for m in of_test if (value := read(m)) is not None]
            if values:
                found.append(_statistic(test, path, metric, statistic, unit, values))
    return found


def _statistic(test: str, path: str, metric: str, statistic: str, unit: str, values: list[float]) -> ProbeStatistic:
    said = repeated(values)
    return ProbeStatistic(
        test=test, path=path, metric=metric, statistic=statistic, unit=unit, value=round(said.value),
        low=None if said.low is None else round(said.low), high=None if said.high is None else round(said.high),
        repetitions=said.count, spread_percent=None if said.spread is None else round(100 * said.spread, 1),
    )  # fmt: skip


def _readings() -> Iterator[tuple[str, str, str, Read]]:
    """(metric, statistic, unit, how it is read from a measurement)."""
    for metric in DURATIONS:
        for statistic in QUANTILES:
            yield metric, statistic, "ns", _time(metric, statistic)
    yield "throughput", "p50", "bit/s", lambda m: _flow(m, "forward", lambda f: f.bits_per_second)
    yield "reverse_throughput", "p50", "bit/s", lambda m: _flow(m, "reverse", lambda f: f.bits_per_second)
    yield "retransmits", "p50", "count", _retransmits
    yield "loss", "mean", "ppm", loss_ppm
    yield "jitter", "p50", "ns", _jitter


def _time(metric: str, statistic: str) -> Read:
    def read(measurement: ProbeMeasurement) -> float | None:
        times: Times | None = getattr(measurement, metric)
        return None if times is None else getattr(times, f"{statistic}_ns")

    return read


def _flow(measurement: ProbeMeasurement, way: str, read: Callable[[Flow], float | None]) -> float | None:
    flow = getattr(measurement.throughput, way, None)
    return None if flow is None else read(flow)


def _retransmits(measurement: ProbeMeasurement) -> float | None:
    known = [_flow(measurement, way, lambda f: f.retransmits) for way in ("forward", "reverse")]
    return sum(n for n in known if n is not None) if any(n is not None for n in known) else None


def loss_ppm(measurement: ProbeMeasurement) -> float | None:
    """Messages that never came back, or packets that never arrived; in a million."""
    if measurement.datagrams is not None and measurement.datagrams.sent:
        return 1e6 * measurement.datagrams.lost / measurement.datagrams.sent
    flows = [flow for flow in _flows(measurement) if flow.packets]
    packets = sum(flow.packets or 0 for flow in flows)
    return 1e6 * sum(flow.lost_packets or 0 for flow in flows) / packets if packets else None


def _jitter(measurement: ProbeMeasurement) -> float | None:
    if measurement.datagrams is not None:
        return measurement.datagrams.jitter_ns
    return max((flow.jitter_ns for flow in _flows(measurement) if flow.jitter_ns is not None), default=None)


def _flows(measurement: ProbeMeasurement) -> list[Flow]:
    known = measurement.throughput
    return [flow for flow in (known.forward, known.reverse) if flow is not None] if known is not None else []


def main_of(keys: Container[tuple[str, str]]) -> tuple[str, str] | None:
    """The (metric, statistic) that a test is made for, of those that it has."""
    return next((key for key in MAIN if key in keys), None)


def unmeasured(result: NetProbeResult) -> str | None:
    """The first test of which no repetition has a figure, and why."""
    errors = {m.test: m.error for m in reversed(result.measurements) if m.error}
    return next((f"{test}: {errors.get(test) or 'it was not measured'}" for test in _without_figure(result)), None)


def _without_figure(result: NetProbeResult) -> list[str]:
    known = {s.test for s in result.statistics}
    return [test for test in result.tests if test not in known]


# --- the verdict ------------------------------------------------------------------------------------------------------


def verdict_of(result: NetProbeResult) -> ProbeVerdict:
    """`invalid`: an end was measured, not the network. `degraded`: the figure stands, and has to be read with its reason."""
    reasons = [reason for m in _first_of_each(result.measurements) for reason in _of_test(m, result)]
    for test in _without_figure(result):
        said = f"{test}: no repetition of it has a figure"
        reasons.append(ProbeReason(reason="Incomplete", verdict="invalid", message=said))
    return _worst_of(reasons)


def _worst_of(reasons: list[ProbeReason]) -> ProbeVerdict:
    worst = "invalid" if any(r.verdict == "invalid" for r in reasons) else "degraded" if reasons else "valid"
    return ProbeVerdict(verdict=worst, reasons=reasons)


def _first_of_each(measurements: Sequence[ProbeMeasurement]) -> list[ProbeMeasurement]:
    return list({m.test: m for m in reversed(measurements)}.values())[::-1]


def _of_test(first: ProbeMeasurement, result: NetProbeResult) -> Iterator[ProbeReason]:
    mine = [m for m in result.measurements if m.test == first.test]
    failed = [m for m in mine if m.error]
    if failed or len(mine) < result.repetitions:
        absent = result.repetitions - len(mine) + len(failed)
        why = failed[0].error if failed else "it was interrupted"
        said = f"{first.test}: {absent} of {result.repetitions} repetitions are missing: {why}"
        yield ProbeReason(reason="Incomplete", verdict="degraded", message=said[:512])
    yield from _saturated(first.test, mine, result)
    yield from _shaky(first.test, result)
    lost = [ppm for m in mine if (ppm := loss_ppm(m)) is not None]
    if lost and sorted(lost)[len(lost) // 2] > LOSS_PPM:
        said = f"{first.test}: {sorted(lost)[len(lost) // 2] / 1e4:.1f} % of the packets were lost"
        yield ProbeReason(reason="Lossy", verdict="degraded", message=said)
    yield from _failing(first.test, mine)
    counts = [t.count for m in mine for name in DURATIONS if (t := getattr(m, name)) is not None]
    if counts and min(counts) < SHORT_TIMES:
        said = f"{first.test}: {min(counts)} values in a repetition tell no percentile above p50; make it longer"
        yield ProbeReason(reason="TooShort", verdict="degraded", message=said)
    if first.throughput is not None and first.seconds < SHORT_FLOW_S:
        said = f"{first.test}: {first.seconds} s are too short for a flow to find its rate; {SHORT_FLOW_S} at least"
        yield ProbeReason(reason="TooShort", verdict="degraded", message=said)


def _failing(test: str, mine: Sequence[ProbeMeasurement]) -> Iterator[ProbeReason]:
    """Percentiles are of those that succeeded; where many did not, they are of the lucky ones."""
    failures: Counter[str] = Counter()
    for measurement in mine:
        failures.update(measurement.failures or {})
    times = [known for m in mine if (known := m.connect or m.lookup) is not None]
    unanswered = sum(count for name, count in failures.items() if not name.startswith("http "))
    tried = sum(known.count for known in times) + unanswered
    if times and failures.total() > FAILING * tried:
        said = f"{test}: {100 * failures.total() / tried:.1f} % failed ({', '.join(failures)}); the times are of the others"
        yield ProbeReason(reason="Failing", verdict="degraded", message=said[:512])


def _saturated(test: str, mine: Sequence[ProbeMeasurement], result: NetProbeResult) -> Iterator[ProbeReason]:
    """Whoever sends or receives with all of a core for each of its threads measures those cores."""
    flows = [m.throughput for m in mine if m.throughput is not None and m.throughput.protocol == "TCP"]
    ends = (("client", "ClientSaturated", result.client), ("server", "ServerSaturated", result.server))
    for end, reason, facts in ends if flows else ():
        used = sorted(cpu for flow in flows if (cpu := getattr(flow, f"{end}_cpu_percent")) is not None)
        threads = _threads(flows[0], facts.iperf3_version if facts else None)
        if used and used[len(used) // 2] >= BUSY_PERCENT * threads:
            said = (
                f"{test}: iperf3 at the {end}'s end used {used[len(used) // 2]:.0f} % of a core with {threads} "
                f"thread{'s' if threads > 1 else ''}: its processor is the limit, not the network"
            )
            yield ProbeReason(reason=reason, verdict="invalid", message=said)


def _threads(flow: Throughput, version: str | None) -> int:
    """Of iperf3 at one end: one a stream and direction, and before 3.16 a single one for all."""
    known = re.match(r"(\d+)\.(\d+)", version or "")
    if known and (int(known[1]), int(known[2])) < (3, 16):
        return 1
    return flow.streams * (2 if flow.forward and flow.reverse else 1)


def _shaky(test: str, result: NetProbeResult) -> Iterator[ProbeReason]:
    for statistic in result.statistics:
        first = statistic.test == test and statistic.statistic == "p50" and statistic.unit in ("ns", "bit/s")
        if first and (statistic.spread_percent or 0) > 100 * SPREAD and statistic.metric != "jitter":
            said = f"{test}: {statistic.metric} of the repetitions differs by {statistic.spread_percent:.0f} % of its median"
            yield ProbeReason(reason="Unstable", verdict="degraded", message=said)


def verdict_of_all(pairs: Sequence[NetProbeResult]) -> ProbeVerdict:
    """Of a probe: the reasons of its pairs, each with its pair. A node against itself is the floor of the tool, no network; a
    probe of nothing else says so."""
    crossing = [pair for pair in pairs if pair.source_node != pair.target_node]
    reasons = [
        reason.model_copy(
            update={"message": f"{pair.source_node} to {pair.target_node or 'targets'}: {reason.message}"[:512]}
        )
        for pair in crossing
        for reason in pair.verdict.reasons
    ]
    if pairs and not crossing:
        said = "no pair crosses nodes: this is the floor of the tool and of one kernel, not of a network"
        reasons = [ProbeReason(reason="SameNodeOnly", verdict="degraded", message=said)]
    return _worst_of(reasons)


def too_few(repetitions: int) -> str | None:
    """Why there is no interval, where there is none."""
    return None if repetitions >= ENOUGH else f"{repetitions} repetitions give no 95 % interval; {ENOUGH} do"
