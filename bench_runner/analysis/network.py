"""How much of TTFT and TPOT the network explains: a sum of terms, each with its bounds (pure).

Of means, because only means add up: mean TTFT = mean time on the network + mean time in the engine. The probe tells what a
round trip and a byte cost; the run itself tells how many bytes its requests had, and how long its connections waited for
segments that the network lost. The bounds of terms are added, as if all of them erred in the same direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import ceil, log2

from tokenmark_decisions.network_path import way_of
from tokenmark_schemas.network import (
    Network,
    NetworkPath,
    NetworkShare,
    NetworkTerm,
    PathRate,
    PathTimes,
    RunNetwork,
    WayTimes,
)
from tokenmark_schemas.result import MeasuredStage

NS = 1e9
BOUNDS = ("mean_ns", "low_ns", "high_ns")
FIRST_SEGMENTS, MSS_BYTES = 10, 1448  # what goes out before the first acknowledgement: RFC 6928
TIMER_S = 0.006  # how late such a timer is in the mean: the kernel keeps them in steps of 8 ms, or of a tick
FULL = 0.5  # of a way's throughput, from which on waiting for each other matters


def network_facts(network: RunNetwork | None, stages: list[MeasuredStage], node: str | None) -> Network | None:
    """What the result says of the network; `node` is where the load came from, None outside a cluster."""
    if network is None:
        return None
    found, turned = way_of(network, node)
    if not found:
        there = ", ".join(network.target_nodes) or "the target"
        why = network.missing or f"{network.probe} measured no pair of {node} and {there}"
        return Network(probe=network.probe, missing=why)
    way = _together(found)
    if turned:
        way = way.model_copy(update={"forward": way.reverse, "reverse": way.forward})
    return Network(
        probe=network.probe, path=way.path, reversed=turned, measured_at=way.measured_at, verdict=way.verdict,
        source_node=way.target_node if turned else way.source_node, target_node=way.source_node if turned else way.target_node,
        reasons=way.reasons, rtt=_seconds(way.rtt), connect=_seconds(way.connect),
        throughput_bits_per_s=way.forward.bits_per_second if way.forward else None,
        reverse_throughput_bits_per_s=way.reverse.bits_per_second if way.reverse else None,
        shares=[share for stage in stages for share in _shares(way, stage)],
    )  # fmt: skip


def _together(paths: list[NetworkPath]) -> NetworkPath:
    """Several nodes behind one target as one: its requests go to each of them alike. The bounds hold all."""
    first = paths[0]
    if len(paths) == 1:
        return first
    return first.model_copy(
        update={
            "target_node": ", ".join(str(path.target_node) for path in paths)[:253],
            "rtt": _pooled([path.rtt for path in paths if path.rtt]),
            "connect": _pooled([path.connect for path in paths if path.connect]),
            "uploads": first.uploads if all(path.uploads for path in paths) else [],
            "forward": _slowest([path.forward for path in paths if path.forward]),
            "reverse": _slowest([path.reverse for path in paths if path.reverse]),
            "verdict": max((path.verdict for path in paths), key=("valid", "degraded", "invalid").index),
            "reasons": [reason for path in paths for reason in path.reasons],
        }
    )


def _pooled(times: list[PathTimes]) -> PathTimes | None:
    if not times:
        return None
    count = len(times)
    p99 = [t.p99_ns for t in times if t.p99_ns is not None]
    return PathTimes(
        count=sum(t.count for t in times), p50_ns=sum(t.p50_ns for t in times) // count, p99_ns=max(p99, default=None),
        mean_ns=sum(t.mean_ns for t in times) // count,
        low_ns=min(t.mean_ns if t.low_ns is None else t.low_ns for t in times),
        high_ns=max(t.mean_ns if t.high_ns is None else t.high_ns for t in times),
    )  # fmt: skip


def _slowest(rates: list[PathRate]) -> PathRate | None:
    return min(rates, key=lambda rate: rate.bits_per_second, default=None)


def _seconds(times: PathTimes | None) -> WayTimes | None:
    if times is None:
        return None
    known = times.low_ns is not None and times.high_ns is not None
    return WayTimes(
        p50_s=times.p50_ns / NS, mean_s=times.mean_ns / NS, p99_s=None if times.p99_ns is None else times.p99_ns / NS,
        ci95_mean=((times.low_ns or 0) / NS, (times.high_ns or 0) / NS) if known else None,
    )  # fmt: skip


# --- shares -----------------------------------------------------------------------------------------------------------


def _shares(way: NetworkPath, stage: MeasuredStage) -> Iterator[NetworkShare]:
    for metric, share in (("ttft", _ttft), ("tpot", _tpot)):
        if stage.metrics[metric].mean:
            yield share(way, stage)


def _ttft(way: NetworkPath, stage: MeasuredStage) -> NetworkShare:
    terms = [term for term in _ttft_terms(way, stage) if term.high_s > 0]
    mean = stage.metrics["ttft"].mean or 0.0
    value = sum(term.value_s for term in terms)
    if value > mean:
        said = f"the probe's way takes {value:.6f} s, longer than the whole of TTFT: it is not the way of this run"
        return _untold(stage, "ttft", said, terms)
    full = max(_fullness(way, stage))
    note = (
        f"the run itself fills {100 * full:.0f} % of the way; what waiting there takes is not in it"
        if full >= FULL
        else ""
    )
    return _told(stage, "ttft", terms, note)


def _ttft_terms(way: NetworkPath, stage: MeasuredStage) -> Iterator[NetworkTerm]:
    trip = way.rtt or way.connect
    assert trip is not None
    what = "round trip" if way.rtt else "handshake with whoever ends the connections"
    low, high = (trip.mean_ns if bound is None else bound for bound in (trip.low_ns, trip.high_ns))
    yield NetworkTerm(
        name="round_trip",
        value_s=trip.mean_ns / NS,
        low_s=low / NS,
        high_s=high / NS,
        how=f"mean of {trip.count:,} times, {what}",
    )
    yield from _upload(way, trip, stage)
    yield from _losses(trip, stage)


def _upload(way: NetworkPath, trip: PathTimes, stage: MeasuredStage) -> Iterator[NetworkTerm]:
    """Getting the request there: as measured with messages of several sizes, else as its bytes and the throughput have it."""
    size = _request_bytes(stage)
    if size is None:
        return
    bits = 8 * size
    if way.uploads:
        value, low, high = (
            _between([(u.message_bytes, getattr(u, name)) for u in way.uploads], size) for name in BOUNDS
        )
        sizes = ", ".join(f"{u.message_bytes:,}" for u in way.uploads)
        yield NetworkTerm(
            name="request", value_s=value / NS, low_s=low / NS, high_s=high / NS,
            how=f"{size:,.0f} bytes, between messages of {sizes} bytes as the probe sent them",
        )  # fmt: skip
    elif way.forward is not None:
        rate = way.forward
        yield NetworkTerm(
            name="request", value_s=bits / rate.bits_per_second, low_s=0.0, high_s=bits / (rate.low or rate.bits_per_second),
            how=f"{size:,.0f} bytes / {rate.bits_per_second / 1e6:,.1f} Mbit/s; none where a burst of so many may pass at once",
        )  # fmt: skip
    if way.forward is not None:
        full = min(_fullness(way, stage)[0], 0.9)
        yield NetworkTerm(
            name="queue", value_s=0.0, low_s=0.0, high_s=bits / way.forward.bits_per_second * full / (1 - full),
            how=f"the run's requests fill {100 * full:.1f} % of it: at most so long behind each other",
        )  # fmt: skip
    at_once = FIRST_SEGMENTS * (way.mss_bytes or MSS_BYTES)
    rounds = 0 if way.uploads else ceil(log2(size / at_once + 1)) - 1
    if rounds > 0:
        most = rounds * trip.mean_ns / NS
        yield NetworkTerm(
            name="window", value_s=most / 2, low_s=0.0, high_s=most,
            how=f"more than {at_once:,} bytes: up to {rounds} more round trips, as congestion control has it",
        )  # fmt: skip


def _between(points: list[tuple[int, int]], size: float) -> float:
    """Linear between the sizes that were measured, from nothing; beyond the last as steep as before it."""
    known = [(0, 0), *points]
    (x0, y0), (x1, y1) = next((pair for pair in pairwise(known) if size <= pair[1][0]), (known[-2], known[-1]))
    return max(0.0, y0 + (y1 - y0) * (size - x0) / (x1 - x0))


def _losses(trip: PathTimes, stage: MeasuredStage) -> Iterator[NetworkTerm]:
    """Requests that were lost waited for the kernel's timeout, and the run's own connections know how long. First tokens are
    lost as often, and the token behind them tells: they wait for that one and a round trip."""
    traffic, count = stage.traffic, stage.requests.succeeded
    if traffic is None or not traffic.stalled or not traffic.stalled_s or not count:
        return
    each, lost = traffic.stalled_s / traffic.stalled, traffic.stalled
    answers = lost * _answer_stall_s(each, trip, stage)
    yield NetworkTerm(
        name="loss", value_s=(traffic.stalled_s + lost * TIMER_S + answers) / count, low_s=traffic.stalled_s / count,
        high_s=(traffic.stalled_s + 2 * lost * TIMER_S + 3 * answers) / count,
        how=f"{traffic.stalled} of {count:,} requests were sent again after {1000 * each:.0f} ms; as many first tokens",
    )  # fmt: skip


def _answer_stall_s(timeout_s: float, trip: PathTimes, stage: MeasuredStage) -> float:
    behind = stage.metrics["tpot"].mean
    return timeout_s if behind is None else min(timeout_s, behind + trip.mean_ns / NS)


def _tpot(way: NetworkPath, stage: MeasuredStage) -> NetworkShare:
    """What delays the first and the last token alike cancels out; what is left is how much one may be delayed more than the
    other, and a line that is full of tokens."""
    trip, count = way.rtt or way.connect, stage.requests.succeeded
    assert trip is not None
    gaps = stage.tokens.output / count - 1 if count else 0.0
    if _fullness(way, stage)[1] >= FULL:
        said = f"the answers fill {100 * _fullness(way, stage)[1]:.0f} % of the way: its throughput may be what paces the tokens"
        return _untold(stage, "tpot", said, [])
    if gaps <= 0:
        return _untold(stage, "tpot", "answers of one token have no time between tokens", [])
    wander = ((trip.p99_ns or trip.p50_ns) - trip.p50_ns) / NS
    term = NetworkTerm(
        name="round_trip", value_s=0.0, low_s=0.0, high_s=wander / gaps,
        how=f"the same delay for the first and the last token, give or take p99 − p50, over {gaps:.1f} gaps",
    )  # fmt: skip
    return _told(stage, "tpot", [term, *_token_losses(trip, stage, gaps)], "")


def _token_losses(trip: PathTimes, stage: MeasuredStage, gaps: float) -> Iterator[NetworkTerm]:
    traffic, count = stage.traffic, stage.requests.succeeded
    if traffic is None or not traffic.stalled or not traffic.stalled_s:
        return
    each = traffic.stalled_s / traffic.stalled
    most = traffic.stalled * _answer_stall_s(each, trip, stage) / count / gaps
    yield NetworkTerm(
        name="loss", value_s=0.0, low_s=0.0, high_s=3 * most, how="a lost last token, less a lost first one"
    )


def _fullness(way: NetworkPath, stage: MeasuredStage) -> tuple[float, float]:
    """Which share of the way's throughput the stage used: requests, answers."""
    traffic, seconds = stage.traffic, stage.window.duration_s
    if traffic is None or not seconds:
        return 0.0, 0.0
    back = way.reverse or way.forward
    rates = ((traffic.sent_bytes, way.forward), (traffic.received_bytes, back))
    up, down = (8 * size / seconds / rate.bits_per_second if rate else 0.0 for size, rate in rates)
    return up, down


def _request_bytes(stage: MeasuredStage) -> float | None:
    traffic, count = stage.traffic, stage.requests.succeeded
    return traffic.sent_bytes / count if traffic is not None and count and traffic.sent_bytes else None


def _told(stage: MeasuredStage, metric: str, terms: list[NetworkTerm], note: str) -> NetworkShare:
    mean = stage.metrics[metric].mean or 0.0
    value, low, high = (sum(getattr(term, name) for term in terms) for name in ("value_s", "low_s", "high_s"))
    return NetworkShare(
        stage=stage.name, metric=metric, mean_s=mean, network_s=value, low_s=low, high_s=high, ratio=value / mean,
        ratio_low=low / mean, ratio_high=min(1.0, high / mean), at_least=bool(note), terms=terms, note=note,
    )  # fmt: skip


def _untold(stage: MeasuredStage, metric: str, why: str, terms: list[NetworkTerm]) -> NetworkShare:
    return NetworkShare(
        stage=stage.name, metric=metric, mean_s=stage.metrics[metric].mean or 0.0, network_s=None, low_s=None, high_s=None,
        ratio=None, terms=terms, note=why,
    )  # fmt: skip
