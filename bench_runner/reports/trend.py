"""Series of runs as lines of text, with a mark where each moved. 80 columns are enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenmark_decisions.changes import LEAST_RUNS, Change, Series

from .units import rate, seconds

WIDTH = 24


def trend_lines(found: Sequence[Series], metric: str) -> Iterator[str]:
    """A heading, a line a run, and before a run where the series moved what it did."""
    if not found:
        yield "no run that can be compared with another"
    for series in found:
        head = (series.provider, series.model, series.workload, series.stage, f"fingerprint {series.fingerprint[:12]}")
        yield f"\n{metric}  {' · '.join(filter(None, head))}"
        moved = {change.at: change for change in series.changes}
        most = max(point.value for point in series.points)
        for place, point in enumerate(series.points):
            if place in moved:
                yield f"  ── {_said(moved[place], metric)}"
            bar = "▇" * max(1, round(WIDTH * point.value / most))
            yield f"  {point.at[:16]:<16}  {_shown(point.value, metric):>9}  {bar:<{WIDTH}}  {_short(point.source)}"
        if not moved:
            yield f"  {_counted(len(series.points))}"


def _counted(runs: int) -> str:
    if runs < 2 * LEAST_RUNS:
        return f"{runs} run{'s' if runs > 1 else ''}; it takes {2 * LEAST_RUNS} to tell a change"
    return f"{runs} runs, no change"


def _said(change: Change, metric: str) -> str:
    return (
        f"{change.change:+.1%} ({change.low:+.1%} … {change.high:+.1%}): "
        f"{_shown(change.before, metric)} before, {_shown(change.after, metric)} since"
    )


def _shown(value: float, metric: str) -> str:
    return rate(value) if metric.partition(":")[0].endswith("_per_s") else seconds(value)


def _short(source: str) -> str:
    """The end of it, where the name stands."""
    return source if len(source) <= 21 else "…" + source[-20:]
