"""Writes the dashboards: `python -m grafana.generate`. One dashboard so far: the same work on different providers.

Panels overlay runs only through `tokenmark_run_*` gauges that the operator projects; the variables tolerate a label
that is empty. Every metric named here must be one that the operator exports; a drift test checks it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.bargauge import Panel as BarGauge
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

TREE = Path(__file__).resolve().parents[1]
DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
SELECT = 'provider=~"$provider", model=~"$model", engine=~"$engine", run_namespace=~"$run_namespace"'
LEGEND = "{{provider}} {{region}} · {{stage}}"

LATENCY = (
    ("TTFT p50", "tokenmark_run_ttft_seconds", "0.5", "Time to first token, median."),
    (
        "TTFT p95",
        "tokenmark_run_ttft_seconds",
        "0.95",
        "Time to first token, p95; empty where a stage had too few samples.",
    ),
    ("TPOT p50", "tokenmark_run_tpot_seconds", "0.5", "Time per output token after the first, median."),
    ("E2E p50", "tokenmark_run_e2e_seconds", "0.5", "End to end, median."),
)
RATES = (
    ("Output tokens per second", "tokenmark_run_output_tokens_per_second", "short"),
    ("Requests per second", "tokenmark_run_requests_per_second", "reqps"),
    ("Errors", "tokenmark_run_errors_ratio", "percentunit"),
)


def mean_of_runs(metric: str, more: str = "") -> str:
    """The mean over the selected runs of each provider, region and stage."""
    return f"avg by (provider, region, cluster, model, engine, stage) ({metric}{{{SELECT}{more}}})"


def query(expr: str, legend: str = LEGEND, *, instant: bool = True) -> Any:
    built = prometheus.Dataquery().expr(expr).legend_format(legend)
    return built.instant() if instant else built


def bars(title: str, expr: str, unit: str, about: str) -> Any:
    panel = BarGauge().title(title).description(about).datasource(DATASOURCE).unit(unit).with_target(query(expr))
    return panel.height(8).span(6)


def variable(name: str, label: str) -> Any:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(f"label_values(tokenmark_run_info, {name})")
        .datasource(DATASOURCE)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def provider_comparison() -> Any:
    """The same workload, model and stages on different providers, side by side."""
    board = (
        dashboard.Dashboard("Tokenmark: provider comparison")
        .uid("tokenmark-providers")
        .description("LLM serving compared across providers. Compare runs of one fingerprint only: the table shows it.")
        .tags(["tokenmark", "llm", "benchmark"])
        .refresh("1m")
        .time("now-7d", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name, label in (
        ("run_namespace", "Namespace"),
        ("provider", "Provider"),
        ("model", "Model"),
        ("engine", "Engine"),
    ):
        board = board.with_variable(variable(name, label))
    board = board.with_row(dashboard.Row("Runs"))
    info = f"max by (run, run_namespace, provider, region, cluster, model, engine, instance_type, gpu_model, workload, fingerprint, verdict) (tokenmark_run_info{{{SELECT}}})"
    board = board.with_panel(
        table.Panel()
        .title("What was compared")
        .datasource(DATASOURCE)
        .height(8)
        .span(18)
        .with_target(prometheus.Dataquery().expr(info).instant().format("table"))
    )
    valid = stat.Panel().title("Valid runs").datasource(DATASOURCE).height(4).span(3)
    board = board.with_panel(valid.with_target(query(f"sum(tokenmark_run_valid{{{SELECT}}})", "valid")))
    failed = stat.Panel().title("Objectives met").datasource(DATASOURCE).unit("percentunit").height(4).span(3)
    board = board.with_panel(failed.with_target(query(f"avg(tokenmark_run_objective_met{{{SELECT}}})", "met")))
    board = board.with_row(dashboard.Row("Latency"))
    for title, metric, quantile, about in LATENCY:
        more = f', quantile="{quantile}"'
        board = board.with_panel(bars(title, mean_of_runs(metric, more), "s", about))
    board = board.with_row(dashboard.Row("Throughput"))
    for title, metric, unit in RATES:
        board = board.with_panel(bars(title, mean_of_runs(metric), unit, title))
    history = timeseries.Panel().title("TTFT p50 over time").datasource(DATASOURCE).unit("s").height(9).span(24)
    more = ', quantile="0.5"'
    return board.with_panel(history.with_target(query(mean_of_runs("tokenmark_run_ttft_seconds", more), instant=False)))


DASHBOARDS = {"provider-comparison": provider_comparison}


def files() -> dict[str, str]:
    """Generated files by path: committed for Grafana's provisioning, and once more inside the chart."""
    out = {}
    for name, build in DASHBOARDS.items():
        document = json.loads(JSONEncoder(sort_keys=True, indent=2).encode(build().build()))
        text = json.dumps(document, indent=2, sort_keys=True) + "\n"
        out[f"grafana/dashboards/{name}.json"] = text
        out[f"deploy/helm/tokenmark/dashboards/{name}.json"] = text
    return out


def main() -> None:
    for path, text in files().items():
        (TREE / path).parent.mkdir(parents=True, exist_ok=True)
        (TREE / path).write_text(text)


if __name__ == "__main__":
    main()
