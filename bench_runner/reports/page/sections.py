"""A run's result -> the sections of its report, in the order that a person asks: may I trust it, how good is it, how far does it
go, why (pure)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from tokenmark_decisions.rating import rate, use_of
from tokenmark_decisions.repetitions import said
from tokenmark_schemas.documents import read_ratings
from tokenmark_schemas.result import RunResult

from ..cost import price_line
from ..rating import shown, title
from .figures import Cell, Figure, Reader, Section, Table
from .operating import operating_range
from .quality import quality_section

SHOWN = (("ttft", "TTFT"), ("tpot", "TPOT"), ("itl", "ITL"), ("e2e", "E2E"))
QUANTILES = ("p50", "p90", "p95", "p99")


def sections_of(result: RunResult, run: int = 0) -> list[Section]:
    """Those that have something to say."""
    read = Reader(result.snake(), run)
    found = [
        _verdict(result, read), _imported(result), _stages(result, read), operating_range(result), _percentiles(result, read),
        _database(result, read), quality_section(result, read), _objectives(result, read), _ratings(result, read), _cost(result, read), _errors(result, read), _client(result, read),
        _network(result, read), _engine(result, read), _resources(result, read), _environment(result, read), _work(result, read),
    ]  # fmt: skip
    return [section for section in found if section is not None]


def _verdict(result: RunResult, read: Reader) -> Section:
    """The first screen: the word, why, how sure, what it costs."""
    lines: list[Cell] = [reason.message for reason in result.verdict.reasons]
    if not lines:
        lines = ["the client's own error stayed within its limits"]
    lags = {k: stage.client.read_lag.tail or 0 for k, stage in enumerate(result.stages) if stage.client is not None}
    worst = max(lags, key=lambda k: lags[k], default=None)
    rows: list[Sequence[Cell]] = [("Verdict", read("verdict.state"))]
    if worst is not None:
        rows.append(("Client's own delay in reading, tail", read(f"stages[{worst}].client.read_lag.tail", "seconds")))
        rows.append(("Client's own delay in sending, tail", read(f"stages[{worst}].client.send_lag.tail", "seconds")))
    rows.append(("Repetitions", read("run.repetitions", "count")))
    lines += [said(rerun) for rerun in result.run.reruns]
    met = sum(o.met == "true" for o in result.objectives)
    if result.objectives:
        rows.append(("Objectives met", f"{met} of {len(result.objectives)}"))
    if result.cost is not None and (best := result.cost.cheapest) is not None:
        kind, at = "dollars" if result.cost.currency == "USD" else "money", result.cost.stages.index(best)
        price = read(f"cost.stages[{at}].per_million_output_tokens", kind)
        rows.append((f"A million output tokens at {best.stage}", price))
    rows += [("Began", read("run.started_at")), ("Ended", read("run.ended_at")), ("Purpose", read("run.purpose"))]
    return Section("verdict", "Verdict", lines, [Table(("", ""), rows)])


def _stages(result: RunResult, read: Reader) -> Section:
    if result.database is not None:
        return _stages_of_calls(result, read)
    heads = (
        "Stage",
        "Requests",
        "Failed",
        "TTFT p50",
        "TTFT p99",
        "TPOT p50",
        "TPOT p99",
        "E2E p50",
        "Output tokens/s",
        "Requests/s",
        "Goodput",
    )
    rows: list[Sequence[Cell]] = [
        (
            read(f"stages[{k}].name"), read(f"stages[{k}].requests.succeeded", "count"), read(f"stages[{k}].requests.failed", "count"),
            *(read(f"stages[{k}].metrics.{m}.{q}", "seconds") for m, q in (("ttft", "p50"), ("ttft", "p99"), ("tpot", "p50"), ("tpot", "p99"), ("e2e", "p50"))),
            read(f"stages[{k}].throughput.output_tokens_per_s", "rate"), read(f"stages[{k}].throughput.requests_per_s", "rate"),
            read(f"stages[{k}].goodput", "share"),
        )
        for k in range(len(result.stages))
    ]  # fmt: skip
    return Section(
        "stages",
        "Stages",
        tables=[Table(heads, rows, "A dash: too few samples, or nothing to measure.")],
        charts=("load", "pareto"),
    )


def _stages_of_calls(result: RunResult, read: Reader) -> Section:
    heads = ("Stage", "Calls", "Failed", "E2E p50", "E2E p95", "E2E p99", "Calls/s", "Goodput")
    rows: list[Sequence[Cell]] = [
        (
            read(f"stages[{k}].name"), read(f"stages[{k}].requests.succeeded", "count"), read(f"stages[{k}].requests.failed", "count"),
            *(read(f"stages[{k}].metrics.e2e.{q}", "seconds") for q in ("p50", "p95", "p99")),
            read(f"stages[{k}].throughput.requests_per_s", "rate"), read(f"stages[{k}].goodput", "share"),
        )
        for k in range(len(result.stages))
    ]  # fmt: skip
    return Section(
        "stages",
        "Stages",
        tables=[Table(heads, rows, "A dash: too few samples, or nothing to measure.")],
        charts=("load",),
    )


def _percentiles(result: RunResult, read: Reader) -> Section:
    heads = ("Stage", "Metric", *QUANTILES, "Mean", "Spread p50", "Samples")
    rows: list[Sequence[Cell]] = [
        (
            read(f"stages[{k}].name"), title, *(read(f"stages[{k}].metrics.{m}.{q}", "seconds") for q in QUANTILES),
            read(f"stages[{k}].metrics.{m}.mean", "seconds"), read(f"stages[{k}].metrics.{m}.spread_p50", "share"),
            read(f"stages[{k}].metrics.{m}.count", "count"),
        )
        for k, stage in enumerate(result.stages)
        for m, title in SHOWN
        if m in stage.metrics and (stage.metrics[m].count or not stage.operations)
    ]  # fmt: skip
    rows += [
        (
            read(f"stages[{k}].name"), f"step {name}", *(read(f"stages[{k}].steps.{name}.{q}", "seconds") for q in QUANTILES),
            read(f"stages[{k}].steps.{name}.mean", "seconds"), "–", read(f"stages[{k}].steps.{name}.count", "count"),
        )
        for k, stage in enumerate(result.stages)
        for name in stage.steps or {}
    ]  # fmt: skip
    rows += [
        (
            read(f"stages[{k}].name"), f"calls: {each.name}", *(read(f"stages[{k}].operations[{n}].e2e.{q}", "seconds") for q in QUANTILES),
            read(f"stages[{k}].operations[{n}].e2e.mean", "seconds"), "–", read(f"stages[{k}].operations[{n}].e2e.count", "count"),
        )
        for k, stage in enumerate(result.stages)
        for n, each in enumerate(stage.operations or [])
    ]  # fmt: skip
    return Section(
        "latency", "Latency", tables=[Table(heads, rows, "Spread: from the fastest repetition's median to the slowest one's, as a share.")],
        charts=("percentiles", "histograms", "moments"),
    )  # fmt: skip


def _database(result: RunResult, read: Reader) -> Section | None:
    """What was filled and indexed, and what searches found."""
    facts = result.database
    if facts is None:
        return None
    names = (
        ("records", "Records", "count"), ("dimensions", "Dimensions", "count"), ("index", "Index", ""), ("load_s", "Loading", "seconds"),
        ("index_s", "Indexing", "seconds"), ("index_bytes", "Index, bytes", "count"), ("data_bytes", "Data, bytes", "count"),
    )  # fmt: skip
    built = Table(
        tuple(title for _, title, _ in names),
        [tuple(read(f"database.{name}", kind) if kind else read(f"database.{name}") for name, _, kind in names)],
    )
    rows: list[Sequence[Cell]] = [
        (
            read(f"stages[{k}].name"), read(f"stages[{k}].operations[{n}].name"), read(f"stages[{k}].operations[{n}].e2e.count", "count"),
            read(f"stages[{k}].operations[{n}].e2e.p50", "seconds"), read(f"stages[{k}].operations[{n}].e2e.p99", "seconds"),
            read(f"stages[{k}].operations[{n}].recall.mean", "share"), read(f"stages[{k}].operations[{n}].recall.min", "share"),
        )
        for k, stage in enumerate(result.stages)
        for n, each in enumerate(stage.operations or [])
        if each.searches
    ]  # fmt: skip
    found = Table(
        ("Stage", "Search", "Calls", "E2E p50", "E2E p99", "Recall, mean", "Recall, worst query"), rows,
        "Recall: of the nearest vectors by exact search, the share that was found.",
    )  # fmt: skip
    left = [facts.left] if facts.left else []
    return Section("database", "Database", left, [built, found] if rows else [built])


def _objectives(result: RunResult, read: Reader) -> Section | None:
    if not result.objectives:
        return None
    kinds = {"s": "seconds", "ratio": "share"}
    rows: list[Sequence[Cell]] = [
        (
            read(f"objectives[{k}].stage"), f"{o.metric} {o.statistic}", read(f"objectives[{k}].value", kinds.get(o.unit, "rate")),
            read(f"objectives[{k}].limit", kinds.get(o.unit, "rate")), read(f"objectives[{k}].met"), read(f"objectives[{k}].reason"),
        )
        for k, o in enumerate(result.objectives)
    ]  # fmt: skip
    return Section(
        "objectives", "Objectives", tables=[Table(("Stage", "Objective", "Value", "Limit", "Met", "Note"), rows)]
    )


def _ratings(result: RunResult, read: Reader) -> Section | None:
    """Of a workload that is of a known use; `tokenmark rate --use` says the others."""
    file = read_ratings(None)
    use = use_of(file, result.provenance.workload.name)
    if use is None:
        return None
    rated = rate(result, use, file.version)
    places = {stage.name: k for k, stage in enumerate(result.stages)}
    rows: list[Sequence[Cell]] = [
        (
            line.stage, title(line),
            read(f"stages[{places[line.stage]}].metrics.{line.metric}.{line.statistic}", "seconds") if line.statistic else shown(line),
            line.word or "–", line.says,
        )
        for line in rated.lines
    ]  # fmt: skip
    lines = [f"As {use.name}: {use.about} Apart from the verdict; limits of ratings/v1, version {file.version}."]
    return Section("ratings", "Ratings", lines, [Table(("Stage", "Number", "Value", "Rating", "What it means"), rows)])


def _imported(result: RunResult) -> Section | None:
    """What another tool's words are here."""
    found = result.imported
    if found is None:
        return None
    rows: list[Sequence[Cell]] = [(metric, meaning) for metric, meaning in found.definitions.items()]
    rows += [(f"{word} (not taken over)", why) for word, why in found.refused.items()]
    from_whom = f"Measured by {found.tool} {found.version or ''}".rstrip() + f", read from {', '.join(found.files)}."
    return Section("imported", "Where the numbers are from", [from_whom], [Table(("Number", "What it is"), rows)])


def _cost(result: RunResult, read: Reader) -> Section | None:
    cost = result.cost
    if cost is None:
        return None
    kind = "dollars" if cost.currency == "USD" else "money"
    names = (
        ("per_million_output_tokens", "Output"), ("low", "from"), ("high", "to"), ("per_million_total_tokens", "All"),
        ("per_million_good_output_tokens", "Output within objectives"), ("per_thousand_requests", "1,000 requests"),
        ("egress_per_million_output_tokens", "Egress"),
    )  # fmt: skip
    rows: list[Sequence[Cell]] = [
        (read(f"cost.stages[{k}].stage"), *(read(f"cost.stages[{k}].{name}", kind) for name, _ in names))
        for k in range(len(cost.stages))
    ]
    heads = ("Stage", *(title for _, title in names))
    caption = f"{cost.currency} per million tokens where nothing else is said; from and to are the 95 % interval of the output's."
    return Section("cost", "Cost", [price_line(cost), *cost.notes], [Table(heads, rows, caption)])


def _errors(result: RunResult, read: Reader) -> Section | None:
    rows: list[Sequence[Cell]] = [
        (
            read(f"stages[{k}].name"),
            kind,
            read(f"stages[{k}].requests.errors.{kind}", "count"),
            stage.requests.error_messages.get(kind, "not told"),
        )
        for k, stage in enumerate(result.stages)
        for kind in stage.requests.errors
    ]
    heads = ("Stage", "Class", "Requests", "The first one said")
    return Section("errors", "Errors", tables=[Table(heads, rows)]) if rows else None


def _client(result: RunResult, read: Reader) -> Section | None:
    if result.imported is not None:
        return None
    names = (
        ("read_lag.p50", "Read lag p50", "seconds"), ("read_lag.tail", "Read lag, tail", "seconds"), ("send_lag.tail", "Send lag, tail", "seconds"),
        ("loop_lag_max_s", "Longest absence", "seconds"), ("coalesced.share", "Shared stamps", "share"), ("cores", "Cores", "rate"),
        ("cpu_us_per_token", "CPU µs/token", "rate"), ("workers", "Workers", "count"), ("pods", "Pods", "count"),
    )  # fmt: skip
    rows: list[Sequence[Cell]] = [
        (read(f"stages[{k}].name"), *(read(f"stages[{k}].client.{path}", kind) for path, _, kind in names))
        for k in range(len(result.stages))
    ]
    return Section(
        "client", "The instrument itself", tables=[Table(("Stage", *(title for _, title, _ in names)), rows)]
    )


def _network(result: RunResult, read: Reader) -> Section | None:
    network = result.network
    if network is None:
        return None
    if network.missing:
        return Section("network", "Network", [network.missing])
    rows: list[Sequence[Cell]] = [
        (
            read(f"network.shares[{k}].stage"), read(f"network.shares[{k}].metric"), read(f"network.shares[{k}].network_s", "seconds"),
            read(f"network.shares[{k}].mean_s", "seconds"), read(f"network.shares[{k}].ratio", "share"),
        )
        for k in range(len(network.shares))
    ]  # fmt: skip
    return Section(
        "network",
        "Network",
        [f"From {network.source_node or 'here'} to {network.target_node or 'the target'}, probe {network.probe}."],
        [Table(("Stage", "Metric", "Network", "Mean", "Share"), rows)],
    )


def _engine(result: RunResult, read: Reader) -> Section | None:
    rows: list[Sequence[Cell]] = [
        (read(f"stages[{k}].name"), name, read(f"stages[{k}].server.{name}", "rate"))
        for k, stage in enumerate(result.stages)
        for name in stage.server or {}
        if name.replace("_", "").isalnum() and name == name.lower()
    ]
    return (
        Section("engine", "What the engine says of itself", tables=[Table(("Stage", "Figure", "Value"), rows)])
        if rows
        else None
    )


def _resources(result: RunResult, read: Reader) -> Section | None:
    """GPUs and machine of the target, as far as somebody could tell."""
    host = (("cpu_avg", "Processors", "share"), ("cpu_peak", "at most", "share"), ("memory_peak_bytes", "Memory, most", "bytes"),
            ("swapped_bytes", "Swapped", "bytes"), ("temperature_peak_celsius", "°C, most", "rate"), ("throttles", "Throttled", "count"))  # fmt: skip
    gpu = (("utilization_avg", "GPUs", "share"), ("utilization_peak", "at most", "share"), ("memory_peak_bytes", "Memory, most", "bytes"), ("power_w", "W", "rate"))  # fmt: skip
    tables = []
    for name, facts in (("host", host), ("gpu", gpu)):
        rows: list[Sequence[Cell]] = [
            (
                read(f"stages[{k}].name"),
                *(read(f"stages[{k}].resources.{name}.{path}", kind) for path, _, kind in facts),
            )
            for k, stage in enumerate(result.stages)
            if stage.resources is not None and getattr(stage.resources, name) is not None
        ]
        if rows:
            tables.append(Table(("Stage", *(title for _, title, _ in facts)), rows))
    return Section("resources", "The target's machine", tables=tables) if tables else None


def _environment(result: RunResult, read: Reader) -> Section:
    found: list[Sequence[Cell]] = [
        (name, Figure(value)) for name, value in sorted(result.provenance.environment.items())
    ]
    known: list[Sequence[Cell]] = [
        ("engine", read("provenance.engine.name")), ("engine version", read("provenance.engine.version")),
        ("model reported", read("provenance.engine.reported_model")), ("vantage", read("provenance.vantage")),
        ("stamps", read("provenance.stamps")), ("fingerprint", read("provenance.fingerprint")),
    ]  # fmt: skip
    missing = [f"Not known: {', '.join(result.provenance.unknown)}."] if result.provenance.unknown else []
    return Section("environment", "Where it ran", missing, [Table(("Fact", "Value"), [*known, *found])])


def _work(result: RunResult, read: Reader) -> Section:
    rows: list[Sequence[Cell]] = [
        (key, Figure(str(value))) for key, value in _flat(result.provenance.fingerprint_fields)
    ]
    table = Table(("Field", "Value"), rows)
    if result.imported is not None:
        return Section("work", "What was run", ["Equal where two runs compare."], [table])
    lines = ["Equal where two runs compare; to run it again:"]
    return Section("work", "What was run", lines, [table], code=[command_of(result)])


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{place}]")
    elif value is not None:
        yield path, value


def command_of(result: RunResult) -> str:
    """An exact rerun, by the configuration that lies beside the result."""
    return shlex.join(["tokenmark", "run", "config.json", "--target", "URL", "--name", f"{result.run.name}-again"])
