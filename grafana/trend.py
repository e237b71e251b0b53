"""The same work over weeks: at each moment the newest run of every provider, a mark where a run ended."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import dashboard

from .board import Board
from .panels import BAD, DATASOURCE, FAIR, GOOD, lines, rows, steps
from .queries import COMPARED, LOADS, LOADS_REGEX, SAME_RUN, SAME_WORK, SAME_WORK_REGEX, labels_of, named, quantile

NONE = "no run of this work in this time"
NEWEST = f"topk by (provider, region, cluster) (1, max by (run, run_namespace, provider, region, cluster) (tokenmark_run_completion_timestamp_seconds and {SAME_RUN} {COMPARED}))"


def trend() -> Board:
    board = Board(
        "tokenmark-trend",
        "trend",
        "The same work over time: the newest run of each provider at every moment. Steps are changes; marks are runs.",
        "llm",
        since="now-30d",
        refresh="5m",
    )
    board.pick("run_namespace", "Namespace", labels_of("run_namespace"))
    board.pick("model", "Model", labels_of("model", where='run_namespace=~"$run_namespace"'), many=False)
    board.pick("fingerprint", "Same work", SAME_WORK, many=False, regex=SAME_WORK_REGEX)
    in_work = 'run_namespace=~"$run_namespace", model=~"$model"'
    board.pick("stage", "Load", LOADS, many=False, regex=LOADS_REGEX)
    for name, label in (("engine", "Engine"), ("vantage", "Vantage"), ("provider", "Provider")):
        board.pick(name, label, labels_of(name, where=in_work))
    board.annotate(_marks())
    board.row("Latency")
    for title, metric, q in (
        ("TTFT p50", "ttft", "0.5"),
        ("TTFT p95", "ttft", "0.95"),
        ("TPOT p50", "tpot", "0.5"),
        ("E2E p50", "e2e", "0.5"),
    ):
        board.add(
            lines(
                title,
                [(_newest(f"tokenmark_run_{metric}_seconds", quantile(q)), "{{provider}} {{region}}")],
                "s",
                "Of the newest run at each moment.",
                NONE,
            ),
            12,
        )
    board.row("Throughput and trust")
    board.add(
        lines(
            "Output tokens per second",
            [(_newest("tokenmark_run_output_tokens_per_second"), "{{provider}} {{region}}")],
            "short",
            "Of the newest run at each moment.",
            NONE,
        ),
        8,
    )
    board.add(
        lines(
            "Errors",
            [(_newest("tokenmark_run_errors_ratio"), "{{provider}} {{region}}")],
            "percentunit",
            "Of the newest run at each moment.",
            NONE,
            steps((0.001, FAIR), (0.01, BAD)),
        ),
        8,
    )
    lag = f'max by (provider, region) (tokenmark_run_client_lag_seconds{{stage="$stage"}} and {SAME_RUN} {NEWEST})'
    board.add(
        lines(
            "Client's own delay",
            [(lag, "{{provider}} {{region}}")],
            "s",
            "Of the newest run at each moment: a change of it is none of the provider's.",
            NONE,
            steps((0.001, FAIR), (0.01, BAD)),
        ),
        8,
    )
    board.row("Runs")
    columns = [("provider", "Provider"), ("region", "Region"), ("run", "Run"), ("Value", "Ended")]
    ended = (
        f"max by (run, provider, region) (tokenmark_run_completion_timestamp_seconds and {SAME_RUN} {COMPARED}) * 1000"
    )
    board.add(
        rows(
            "Runs of this work",
            [ended],
            "Newest values are of the last run of each provider.",
            NONE,
            columns=columns,
            units=[("Ended", "dateTimeFromNow")],
        ),
        24,
        7,
    )
    return board


def _newest(metric: str, more: str = "") -> str:
    return named(f'max by (provider, region) ({metric}{{stage="$stage"{more}}} and {SAME_RUN} {NEWEST})')


def _marks() -> Any:
    """Where a run of this work ended."""
    changed = f"max by (run, provider) (tokenmark_run_completion_timestamp_seconds and {SAME_RUN} {COMPARED}) * 1000"
    return dashboard.AnnotationQuery().name("Runs").datasource(DATASOURCE).enable(True).icon_color(GOOD).expr(changed)
