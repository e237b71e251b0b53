"""What of the figures of a serving benchmark is measured, what is worked out, and what is not there: `python -m bench_runner.reports.coverage ROOT`
writes docs/coverage.md. Formulas come from the metric table; a test walks every path through the result's model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..samples.metrics import BY_ID

FILE = Path("docs/coverage.md")
State = Literal["measured", "derived", "not"]


@dataclass(frozen=True)
class Figure:
    """`where` is a path in the result; of a derived figure what prints it; of one that is not there, why."""

    group: str
    title: str
    state: State
    where: str
    note: str = ""


def _of_request(group: str, title: str, metric: str) -> Figure:
    return Figure(group, title, "measured", f"stages[].metrics.{metric}", BY_ID[metric].formula)


def _m(group: str, title: str, where: str, note: str = "") -> Figure:
    return Figure(group, title, "measured", where, note)


def _d(group: str, title: str, where: str, note: str) -> Figure:
    return Figure(group, title, "derived", where, note)


RUNTIME, LATENCY, THROUGHPUT, RESOURCES, RELIABILITY, SCALE = (
    "Runtime", "Latency", "Throughput", "Resources", "Reliability", "Scalability",
)  # fmt: skip
FIGURES: tuple[Figure, ...] = (
    _m(RUNTIME, "Run, from start to end", "run.started_at", "to `run.ended_at`"),
    _m(RUNTIME, "Warm-up", "phases.warmup.duration_s", "a phase of its own, in no other figure"),
    _m(RUNTIME, "Stage", "stages[].window.duration_s"),
    _m(RUNTIME, "Steady part of a stage", "stages[].window.steady_s", "while the whole load was there"),
    _m(RUNTIME, "Drain", "stages[].window.drain_s", "from the last send to the last end"),
    _of_request(RUNTIME, "Opening a connection", "connect"),
    Figure(RUNTIME, "Loading the model", "not", "the server is there before the run, and nobody says when it began"),
    _of_request(LATENCY, "Time to first token", "ttft"),
    _of_request(LATENCY, "Time to first token, from when it was due", "ttft_scheduled"),
    _of_request(LATENCY, "Time to first visible output", "ttfo"),
    _of_request(LATENCY, "Time per output token", "tpot"),
    _of_request(LATENCY, "Inter-token latency", "itl"),
    _of_request(LATENCY, "Whole answer", "e2e"),
    _of_request(LATENCY, "Whole answer, from when it was due", "e2e_scheduled"),
    _m(LATENCY, "Steps before the first token", "stages[].steps", "of a pipeline, as the service tells them"),
    _m(LATENCY, "The network's share", "network.shares", "with a probe of the same way"),
    _m(THROUGHPUT, "Output tokens a second", "stages[].throughput.output_tokens_per_s"),
    _m(THROUGHPUT, "All tokens a second", "stages[].throughput.total_tokens_per_s"),
    _m(THROUGHPUT, "Requests a second", "stages[].throughput.requests_per_s"),
    _m(THROUGHPUT, "Output tokens a second within the objectives", "stages[].throughput.good_output_tokens_per_s"),
    _of_request(THROUGHPUT, "Output speed of one request", "output_tokens_per_s"),
    _of_request(THROUGHPUT, "Decode speed of one request", "decode_tokens_per_s"),
    _of_request(THROUGHPUT, "Prefill speed of one request", "prefill_tokens_per_s"),
    _m(RESOURCES, "Processors", "stages[].resources.host.cpu_avg", "/proc, node exporter"),
    _m(RESOURCES, "Memory", "stages[].resources.host.memory_peak_bytes"),
    _m(RESOURCES, "Swap", "stages[].resources.host.swapped_bytes"),
    _m(RESOURCES, "Heat and throttling", "stages[].resources.host.throttles", "and `temperature_peak_celsius`, `clock_avg_hz`"),
    _m(RESOURCES, "GPU use", "stages[].resources.gpu.utilization_avg", "NVML, DCGM"),
    _m(RESOURCES, "GPU memory and power", "stages[].resources.gpu.memory_peak_bytes", "and `power_w`"),
    _m(RESOURCES, "KV cache, queue", "stages[].server", "where the engine has a metrics page"),
    _m(RESOURCES, "The client's own processors", "stages[].client.cores", "with everything else of its own error"),
    _d(RELIABILITY, "Success rate", "`tokenmark compare`, `/metrics`", "`requests.succeeded` of those that ended"),
    _m(RELIABILITY, "Failures by class", "stages[].requests.errors", "timeouts, cut-off answers, refusals; the first words of each"),
    _m(RELIABILITY, "Longest run of failures", "stages[].requests.failing_most"),
    _m(RELIABILITY, "Latency with the lost ones as infinitely slow", "stages[].metrics", "`*_inclusive`, where any were lost"),
    _m(RELIABILITY, "Lost segments", "stages[].traffic.stalled", "requests that waited for TCP to send them again"),
    _m(RELIABILITY, "Spread between repetitions", "stages[].repetitions", "outlying ones are named"),
    _d(SCALE, "Where throughput is spent, and its knee", "`tokenmark sweep`", "levels of one run"),
    _d(SCALE, "Operating range within the objectives", "`tokenmark sweep`", "with its margin, and the level at which each breaks"),
    _m(SCALE, "Highest load that keeps the objectives", "search", "`--find`, `spec.search`"),
    _m(SCALE, "Cost of a million tokens", "cost.stages", "where prices are given; instances for a day's load with it"),
    Figure(SCALE, "Growing from one replica to several", "not", "a run loads one address; compare runs at each size"),
)  # fmt: skip


def markdown() -> str:
    counts = {state: sum(figure.state == state for figure in FIGURES) for state in ("measured", "derived", "not")}
    lines = [
        "# What is measured",
        "",
        f"Of {len(FIGURES)} figures that a serving benchmark is asked for, {counts['measured']} are measured, {counts['derived']} worked out from results, "
        f"and {counts['not']} not there. Generated from the [metric table](metrics.md).",
        "",
    ]
    return "\n".join([*lines, *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    for group in dict.fromkeys(figure.group for figure in FIGURES):
        yield f"## {group}"
        yield ""
        yield "| figure | | where | how, or why not |"
        yield "|---|---|---|---|"
        for figure in FIGURES:
            if figure.group != group:
                continue
            absent = figure.state == "not"
            place = "–" if absent else figure.where if figure.where.startswith("`") else f"`{figure.where}`"
            yield f"| {figure.title} | {figure.state} | {place} | {figure.where if absent else figure.note} |"
        yield ""


if __name__ == "__main__":
    (Path(sys.argv[1]) / FILE).write_text(markdown().rstrip("\n") + "\n")
