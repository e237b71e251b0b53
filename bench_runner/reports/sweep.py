"""A sweep's answer: how far each engine, model and workload goes, side by side, as Markdown and in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from rich.table import Table

from tokenmark_decisions.saturation import Saturation, load_of, saturation
from tokenmark_schemas.result import RunResult, StageResult

from .page.operating import saturation_lines
from .units import rate, seconds


@dataclass(frozen=True)
class Swept:
    """One run of it; without a result where it failed or was left."""

    name: str
    engine: str
    model: str
    workload: str
    state: str
    result: RunResult | None

    @classmethod
    def of_run(cls, name: str, state: str, result: RunResult | None) -> Swept:
        """Of a run in a cluster: what it was asked stands in its result alone."""
        if result is None:
            return cls(name, "–", "–", "–", state, None)
        facts = result.provenance
        return cls(name, facts.engine.name, facts.model or "–", facts.workload.name, state, result)

    @cached_property
    def far(self) -> Saturation | None:
        return saturation(self.result) if self.result else None


def summary_table(found: Sequence[Swept]) -> Table:
    """80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    best = "best calls/s" if _calls(found) else "best tok/s"
    for head in ("run", "verdict", "saturates", best, "range", "margin"):
        table.add_column(head, overflow="fold")
    for each in found:
        far = each.far
        if each.result is None or far is None:
            table.add_row(each.name, each.state, "–", "–", "–", "–")
            continue
        table.add_row(
            each.name, each.result.verdict.state, _at(far), rate(far.best_tokens_per_s), _range(far), _margin(far)
        )
    return table


def summaries(found: Sequence[Swept]) -> list[dict[str, Any]]:
    """The table for programs: loads in `unit`; what is not known is null."""
    return [
        {
            "run": each.name, "engine": each.engine, "model": each.model, "workload": each.workload, "state": each.state,
            "verdict": each.result.verdict.state if each.result else None,
            "saturation": asdict(each.far) if each.far else None,
        }
        for each in found
    ]  # fmt: skip


def _calls(found: Sequence[Swept]) -> bool:
    """Whether it is a database that was asked."""
    return any(each.result is not None and each.result.database is not None for each in found)


def _at(far: Saturation) -> str:
    return f"above {far.loads[-1]:g}" if far.saturates_at is None else f"{far.saturates_at:g} {far.unit}"


def _range(far: Saturation) -> str:
    return "–" if far.high is None else f"{far.low:g} to {far.high:g} {far.unit}"


def _margin(far: Saturation) -> str:
    return "–" if far.margin is None else f"{100 * far.margin:.0f} %"


def markdown(identity: str, purpose: str | None, found: Sequence[Swept]) -> str:
    """report.md: the answer first, then each run's levels."""
    out = [f"# {identity}", ""]
    out += [purpose, ""] if purpose else []
    out += [
        f"| run | engine | model | workload | verdict | saturates | best {'calls' if _calls(found) else 'tokens'}/s | recommended range | margin |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        far = each.far
        facts = (
            (each.result.verdict.state, _at(far), rate(far.best_tokens_per_s), _range(far), _margin(far))
            if each.result and far
            else (each.state, *["–"] * 4)
        )
        out.append("| " + " | ".join((each.name, each.engine, each.model, each.workload, *facts)) + " |")
    for each in found:
        out += ["", f"## {each.name}", ""]
        if each.result is None:
            out.append(f"{each.state}: there is no result.")
            continue
        if each.far is not None:
            out += [f"- {line}" for line in saturation_lines(each.far, judged=bool(each.result.objectives))]
        out += [f"- {reason.message}" for reason in each.result.verdict.reasons]
        out += ["", *_levels(each.result)]
    return "\n".join(out) + "\n"


def _levels(result: RunResult) -> Iterator[str]:
    calls = result.database is not None
    heads = (
        ("E2E p50", "E2E p95", "E2E p99", "recall", "calls/s")
        if calls
        else ("TTFT p50", "TTFT p99", "TPOT p50", "E2E p50", "tokens/s")
    )
    yield f"| load | requests | failed | {' | '.join(heads)} | objectives |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for stage in sorted(result.stages, key=lambda stage: load_of(stage) or 0):
        outcomes = [o.met for o in result.objectives if o.stage == stage.name]
        met = (
            "–" if not outcomes else "missed" if "false" in outcomes else "unknown" if "unknown" in outcomes else "met"
        )
        figures = " | ".join(_of_calls(stage) if calls else _of_streams(stage))
        yield f"| {load_of(stage):g} | {stage.requests.succeeded} | {stage.requests.failed} | {figures} | {met} |"


def _of_streams(stage: StageResult) -> Iterator[str]:
    ttft, tpot, e2e = (stage.metrics[name] for name in ("ttft", "tpot", "e2e"))
    yield from (seconds(value) for value in (ttft.p50, ttft.p99, tpot.p50, e2e.p50))
    yield rate(stage.throughput.output_tokens_per_s)


def _of_calls(stage: StageResult) -> Iterator[str]:
    """Of several kinds of search the worst recall."""
    e2e = stage.metrics["e2e"]
    yield from (seconds(value) for value in (e2e.p50, e2e.p95, e2e.p99))
    yield f"{stage.worst_recall:.3f}" if stage.worst_recall is not None else "–"
    yield rate(stage.throughput.requests_per_s)
