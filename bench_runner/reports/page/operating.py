"""Where to run a server: the knee, and the range of loads within every objective."""

from __future__ import annotations

from tokenmark_schemas.result import RunResult

from ...analysis.search import knee
from .curves import load_of
from .figures import Cell, Section


def operating_range(result: RunResult) -> Section | None:
    """Where to run it: between what uses half of the best, and the highest load that keeps every objective."""
    levels = sorted(
        ((load_of(stage), k) for k, stage in enumerate(result.stages) if load_of(stage)), key=lambda pair: pair[0] or 0
    )
    if len(levels) < 2:
        return None
    unit = "streams" if (load := result.stages[levels[0][1]].load) and load.concurrency else "requests/s"
    lines: list[Cell] = []
    curve = [(load or 0.0, result.stages[k].throughput.output_tokens_per_s or 0.0) for load, k in levels]
    found = knee(curve)
    lines.append(
        f"Throughput stops growing at about {found:g} {unit}."
        if found is not None
        else "The loads tried show no knee: throughput still grows, or there are too few of them (five)."
    )
    if result.objectives:
        kept = [(load, k) for load, k in levels if _keeps(result, result.stages[k].name)]
        if kept:
            high, at = kept[-1]
            best = result.stages[at].throughput.output_tokens_per_s or 0.0
            low = next(
                (load for load, k in kept if (result.stages[k].throughput.output_tokens_per_s or 0.0) >= best / 2), high
            )
            margin = _margin(result, result.stages[at].name)
            lines.append(
                f"Recommended range: {low:g} to {high:g} {unit}, within every objective"
                + (
                    f"; the tightest of them has {100 * margin:.0f} % to spare at {high:g}."
                    if margin is not None
                    else "."
                )
            )
        else:
            lines.append("No load that was tried keeps every objective.")
    return Section("range", "Operating range", lines)


def _keeps(result: RunResult, stage: str) -> bool:
    return all(o.met == "true" for o in result.objectives if o.stage == stage)


def _margin(result: RunResult, stage: str) -> float | None:
    """(limit - value) / limit of the tightest upper limit."""
    found = [
        1 - o.value / o.limit
        for o in result.objectives
        if o.stage == stage and o.value is not None and o.limit and o.unit in ("s", "ratio")
    ]
    return min(found) if found else None
