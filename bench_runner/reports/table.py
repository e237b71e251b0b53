"""The result as a terminal table: 80 columns are enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tokenmark_decisions.repetitions import said
from tokenmark_schemas.quality import Share
from tokenmark_schemas.result import OperationResult, RunResult, StageResult, Stat

from .cost import cost_lines
from .network import network_lines
from .units import rate, seconds

MOST_TURNS = 12
SHOWN = (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "E2E"))
MARK = {"valid": ("valid", "bold green"), "degraded": ("degraded", "bold yellow"), "invalid": ("INVALID", "bold red"),
        "unknown": ("unknown", "bold yellow")}  # fmt: skip


def render(result: RunResult) -> RenderableType:
    """Heading, one table, objectives, verdict with reasons."""
    env = result.provenance.environment
    place = " · ".join(filter(None, (env.get("provider"), env.get("region"), env.get("cluster_label"))))
    model = result.provenance.engine.reported_model or ""
    heading = Text.assemble(
        ("\n" + result.run.name, "bold"), f"  {result.provenance.engine.name} {model}".rstrip(),
        f"  {result.provenance.workload.name}", f"  {place}" if place else "",
    )  # fmt: skip
    return Group(
        heading,
        _table(result),
        *_quality(result),
        *_objectives(result),
        *_search(result),
        *network_lines(result.network),
        *cost_lines(result.cost),
        _verdict(result),
    )


def _table(result: RunResult) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    calls = any(stage.operations for stage in result.stages)
    for name in (
        "stage",
        "",
        "p50",
        "p90",
        "p95",
        "p99",
        "calls/s" if calls else "tok/s",
        "req",
        "err",
        *(["recall"] if calls else []),
    ):
        table.add_column(name, justify="left" if name in ("stage", "") else "right", no_wrap=True)
    for stage in result.stages:
        if stage.operations:
            _operations(table, stage, stage.operations)
            continue
        for row, (metric, title) in enumerate(SHOWN):
            first = row == 0
            table.add_row(
                stage.name if first else "",
                title,
                *_quantiles(stage.metrics[metric]),
                rate(stage.throughput.output_tokens_per_s) if first else "",
                str(stage.requests.succeeded) if first else "",
                _errors(stage) if first else "",
            )
        for name, stat in (stage.steps or {}).items():
            table.add_row("", f"· {name}", *_quantiles(stat), "", "", "")
        for turn in (stage.turns or [])[:MOST_TURNS]:
            table.add_row(f"  turn {turn.turn}", "TTFT", *_quantiles(turn.ttft), "", str(turn.count), "")
    return table


def _operations(table: Table, stage: StageResult, operations: Sequence[OperationResult]) -> None:
    """All calls of a stage, then by operation; what a search found of the nearest beside how fast it was."""
    done = str(stage.requests.succeeded)
    pace = rate(stage.throughput.requests_per_s)
    alone = operations[0] if len(operations) == 1 else None
    title, recall = (alone.name, _recall(alone)) if alone else ("all", "")
    table.add_row(stage.name, title, *_quantiles(stage.metrics["e2e"]), pace, done, _errors(stage), recall)
    for each in () if alone else operations:
        times = _quantiles(each.e2e)
        table.add_row("", f"· {each.name}", *times, "", str(each.e2e.count), str(each.failed), _recall(each))


def _recall(found: OperationResult) -> str:
    return f"{found.recall.mean:.3f}" if found.recall and found.recall.mean is not None else ""


def _quantiles(stat: Stat) -> list[str]:
    return [seconds(getattr(stat, name)) for name in ("p50", "p90", "p95", "p99")]


def _quality(result: RunResult) -> Iterator[Text]:
    """Of tests: what was right, how sure that is, and by kind."""
    for stage in result.stages:
        if (found := stage.quality) is not None:
            kinds = " · ".join(f"{each.kind} {each.right}/{each.asked}" for each in found.kinds)
            yield Text.assemble(("quality   ", "bold"), f"{right_of(found)}; {kinds}")


def right_of(found: Share) -> str:
    """`71 of 100 right (61 to 79 %)`."""
    sure = f" ({100 * found.ci95[0]:.0f} to {100 * found.ci95[1]:.0f} %)" if found.ci95 else ""
    return f"{found.right} of {found.asked} right{sure}"


def _errors(stage: StageResult) -> str:
    return str(stage.requests.failed) if stage.requests.failed else "0"


def _search(result: RunResult) -> list[Text]:
    """The answer in one line, and where throughput stopped growing."""
    found = result.search
    if found is None:
        return []
    knee = f"; throughput stops growing at {found.knee:g}" if found.knee is not None else ""
    return [Text.assemble(("most      ", "bold"), f"{found.message}, in {found.unit}{knee}")]


def _objectives(result: RunResult) -> list[Text]:
    styles = {"true": "green", "false": "bold red", "unknown": "yellow"}
    words = {"true": "met", "false": "MISSED", "unknown": "unknown"}
    lines = []
    for o in result.objectives:
        value = o.reason or (seconds(o.value) if o.unit == "s" else rate(o.value))
        limit = seconds(o.limit) if o.unit == "s" else rate(o.limit)
        lines.append(
            Text.assemble(
                "objective ",
                f"{o.metric} {o.statistic} at {o.stage}: ",
                (words[o.met], styles[o.met]),
                f" ({value}, limit {limit})",
            )
        )
    return lines


def _verdict(result: RunResult) -> Text:
    word, style = MARK[result.verdict.state]
    text = Text.assemble("verdict   ", (word, style))
    withheld = any(
        stage.metrics[m].withheld[:-1]
        for stage in result.stages
        for m, _ in SHOWN
        if stage.metrics[m].count or not stage.operations
    )
    if result.stages:
        lags = [stage.client.read_lag.tail or 0 for stage in result.stages if stage.client is not None]
        if lags:
            text.append(f"  (client error: read lag {seconds(max(lags))}, {result.provenance.stamps} stamps)")
    for reason in result.verdict.reasons:
        text.append(f"\n  · {reason.message}")
    for rerun in result.run.reruns:
        text.append(f"\n  · {said(rerun)}")
    for stage in result.stages:
        for kind, count in stage.requests.errors.items():
            first = stage.requests.error_messages.get(kind)
            text.append(f"\n  · stage {stage.name}: {count} × {kind}" + (f", the first: {first}" if first else ""))
    if withheld:
        text.append("\n  – a dash is a percentile with fewer than 5 samples above it", style="dim")
    return text


def print_result(result: RunResult, console: Console | None = None) -> None:
    (console or Console()).print(render(result), soft_wrap=False)
