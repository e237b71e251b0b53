"""Where to run a server, as a section of the report."""

from __future__ import annotations

from collections.abc import Iterator

from tokenmark_decisions.saturation import Saturation, saturation
from tokenmark_schemas.result import RunResult

from .figures import Section


def operating_range(result: RunResult) -> Section | None:
    found = saturation(result)
    return (
        None
        if found is None
        else Section("range", "Operating range", list(saturation_lines(found, judged=bool(result.objectives))))
    )


def saturation_lines(found: Saturation, *, judged: bool) -> Iterator[str]:
    """Sentences; `judged` says whether there were objectives at all."""
    unit = found.unit
    if found.saturates_at is not None:
        yield f"Throughput is spent at {found.saturates_at:g} {unit}: more load brings less than a twentieth more."
    else:
        yield f"Throughput still grew at {found.loads[-1]:g} {unit}, the highest load tried."
    if found.knee is not None:
        yield f"Throughput stops growing at about {found.knee:g} {unit}."
    elif len(found.loads) < 5:
        yield "A knee takes five loads."
    if found.bends_at is not None:
        yield f"Median TTFT is half as long again from {found.bends_at:g} {unit} on."
    if not judged:
        return
    if found.high is None:
        yield "No load that was tried keeps every objective."
    else:
        spare = (
            "."
            if found.margin is None
            else f"; the tightest of them has {100 * found.margin:.0f} % to spare at {found.high:g}."
        )
        yield f"Recommended range: {found.low:g} to {found.high:g} {unit}, within every objective{spare}"
    for each in found.breaks:
        if each.breaks_at is not None:
            held = f", holds at {each.holds_at:g}" if each.holds_at is not None else ""
            yield f"{each.objective} breaks at {each.breaks_at:g} {unit}{held}."
