"""`netprobe-ew/v1` -> text: a matrix a test, then what to know before it is believed (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenmark_decisions.probe_pair import main_of, too_few
from tokenmark_schemas.probe_result import EastWest, NetProbeResult, ProbeStatistic

BESIDE = (("rtt", "p99"), ("connect", "p99"), ("loaded_rtt", "p50"), ("loss", "mean"), ("jitter", "p50"), ("retransmits", "p50"), ("tls", "p50"))  # fmt: skip
CELL, NAME = 14, 24


def report(document: EastWest) -> str:
    """For a terminal of 80 columns, as long as there are few nodes."""
    lines = [
        f"{document.probe}   {document.created_at}   verdict {document.verdict.verdict}",
        f"{document.measured} of {document.pairs_of} pairs of nodes"
        + (f": {document.chosen}" if document.measured < document.pairs_of else ""),
    ]
    for test in document.tests:
        lines += ["", *_of_test(test.name, document.pairs)]
    lines += ["", *(f"! {r.reason}: {r.message}" for r in document.verdict.reasons)]
    few = [s.repetitions for pair in document.pairs for s in pair.statistics]
    if few and (said := too_few(min(few))):
        lines.append(f"! {said}")
    return "\n".join(lines).rstrip() + "\n"


def _of_test(test: str, pairs: Sequence[NetProbeResult]) -> Iterator[str]:
    known = [(pair, {(s.metric, s.statistic): s for s in pair.statistics if s.test == test}) for pair in pairs]
    known = [(pair, found) for pair, found in known if found]
    main = main_of({key for _, found in known for key in found})
    if main is None:
        errors = [m.error for pair in pairs for m in pair.measurements if m.test == test and m.error]
        yield f"{test}: not measured: {errors[0] if errors else 'no pair made this test'}"
        return
    yield f"{test}: {main[0]} {main[1]}"
    yield from _matrix([(pair, found[main]) for pair, found in known if main in found])
    for pair, found in known:
        if pair.source_node == pair.target_node and len(known) > 1:
            continue
        said = [f"{metric} {statistic} {shown(found[metric, statistic])}" for metric, statistic in BESIDE if (metric, statistic) in found]  # fmt: skip
        said = [text for text in (_interval(found[main]) if main in found else "", *said) if text]
        if said:
            yield f"  {_short(pair.source_node)} > {_short(pair.target_node or 'target')}: {', '.join(said)}"


def _matrix(cells: Sequence[tuple[NetProbeResult, ProbeStatistic]]) -> Iterator[str]:
    targets = list(dict.fromkeys(pair.target_node or "target" for pair, _ in cells))
    first = max([len("from \\ to"), *(len(_short(pair.source_node)) for pair, _ in cells)]) + 2
    width = max([CELL, *(len(_short(name)) + 2 for name in targets)])
    yield "from \\ to".ljust(first) + "".join(_short(name).rjust(width) for name in targets)
    for source in dict.fromkeys(pair.source_node for pair, _ in cells):
        row = {pair.target_node or "target": shown(value) for pair, value in cells if pair.source_node == source}
        yield _short(source).ljust(first) + "".join(row.get(name, "-").rjust(width) for name in targets)


def _short(name: str) -> str:
    """What of a node's name tells it from the others stands at its end in some clouds, at its beginning in others."""
    return name if len(name) <= NAME else f"{name[: NAME // 2 - 1]}..{name[-NAME // 2 + 1 :]}"


def _interval(statistic: ProbeStatistic) -> str:
    if statistic.low is None or statistic.high is None:
        return ""
    low, high = (shown(statistic.model_copy(update={"value": value})) for value in (statistic.low, statistic.high))
    return f"95 % {low} to {high}"


def shown(statistic: ProbeStatistic) -> str:
    """A value with the unit that suits it."""
    value = statistic.value
    match statistic.unit:
        case "ns":
            return f"{value / 1e6:.3g} ms" if value >= 1_000_000 else f"{value / 1e3:.4g} us"
        case "bit/s":
            return f"{value / 1e9:.3g} Gbit/s" if value >= 1_000_000_000 else f"{value / 1e6:.3g} Mbit/s"
        case "ppm":
            return f"{value / 1e4:.3g} %"
    return str(value)
