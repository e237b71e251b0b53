"""Pictures of runs for slides and pull requests: Vega-Lite specifications of the report's own curves, drawn by vl-convert, which
needs no browser and no network. It is an extra.

Lines join points that were measured and nothing between them; the Pareto front is a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tokenmark_decisions.saturation import load_of, throughput_of
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult

from .page.curves import curves_of
from .page.files import Run

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
Spec = dict[str, Any]
SCALE = 2.0
STROKE = {"symbolType": "stroke", "symbolStrokeWidth": 2, "symbolSize": 300}


def plot_files(runs: Sequence[Run]) -> dict[str, bytes]:
    """PNG and SVG by file name. Raises InvalidInput without vl-convert."""
    try:
        import vl_convert
    except ImportError:
        raise InvalidInput("--plots needs vl-convert-python: pip install 'tokenmark[plots]'") from None
    found: dict[str, bytes] = {}
    for name, spec in specifications(runs):
        found[f"{name}.png"] = vl_convert.vegalite_to_png(spec, scale=SCALE)
        found[f"{name}.svg"] = vl_convert.vegalite_to_svg(spec).encode()
    return found


def specifications(runs: Sequence[Run]) -> Iterator[tuple[str, Spec]]:
    """Those that have something to show: what a load costs in time takes two loads at least."""
    loads = [row for run in runs for row in _by_load(run.result)]
    if len({row["load"] for row in loads}) > 1:
        calls = any(run.result.database for run in runs)
        yield "throughput", _over_load(loads, "rate", "calls/s" if calls else "output tokens/s")
        latencies = [
            row | {"ms": 1000 * row[key], "which": key}
            for row in loads
            for key in ("p50", "p99")
            if row[key] is not None
        ]
        time = "E2E" if calls else "TTFT"
        yield f"{time.lower()}-by-load", _over_load(latencies, "ms", f"{time} in ms", by="which")
        if front := [row for run in runs for row in _front(run.result)]:
            yield "pareto", _pareto(front)
    for metric, title in (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "E2E")):
        if curve := [row for run in runs for row in _curve(run, metric)]:
            yield f"{metric}-percentiles", _percentiles(curve, f"{title} in ms")


def _by_load(result: RunResult) -> Iterator[Spec]:
    for stage in result.stages:
        if (load := load_of(stage)) is not None and (rate := throughput_of(stage)) is not None:
            times = stage.metrics["e2e" if stage.operations else "ttft"]
            yield {
                "run": result.run.name, "load": load, "rate": rate, "p50": times.p50, "p99": times.p99,
                "unit": "streams" if stage.load and stage.load.concurrency else "requests/s",
            }  # fmt: skip


def _front(result: RunResult) -> Iterator[Spec]:
    """Tokens/s of one user and of all, where no other stage is better in both."""
    points = [
        (1 / tpot, tokens)
        for stage in result.stages
        if (tpot := stage.metrics["tpot"].p50) and (tokens := stage.throughput.output_tokens_per_s)
    ]
    for user, all_users in sorted(points):
        if not any(u >= user and a >= all_users and (u, a) != (user, all_users) for u, a in points):
            yield {"run": result.run.name, "user": user, "all": all_users}


def _curve(run: Run, metric: str) -> Iterator[Spec]:
    for found in curves_of(run.result, run.log):
        curve = found["percentiles"].get(metric) or {"share": [], "value": []}
        for share, value in zip(curve["share"], curve["value"], strict=True):
            yield {"series": f"{run.result.run.name} {found['name']}", "above": 100 * (1 - share), "ms": 1000 * value}


def _chart(rows: Sequence[Spec], mark: Spec, encoding: Spec) -> Spec:
    return {
        "$schema": SCHEMA, "width": 640, "height": 320, "background": "white", "data": {"values": list(rows)}, "mark": mark,
        "encoding": encoding,
        "config": {"axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}, "legend": {"labelFontSize": 12, "labelLimit": 300}},
    }  # fmt: skip


def _quantity(field: str, title: str, **scale: Any) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "scale": {"zero": False, **scale}}


def _color(field: str) -> Spec:
    """In the order of the rows: that of the loads."""
    return {
        "field": field,
        "type": "nominal",
        "title": None,
        "sort": None,
        "legend": STROKE,
    }


def _over_load(rows: Sequence[Spec], field: str, title: str, by: str | None = None) -> Spec:
    units = sorted({row["unit"] for row in rows})
    encoding = {
        "x": _quantity("load", " or ".join(units), type="log", nice=False), "y": _quantity(field, title, zero=True),
        "color": _color("run"),
    }  # fmt: skip
    if by:
        encoding["strokeDash"] = {
            "field": by,
            "type": "nominal",
            "title": None,
            "legend": STROKE | {"symbolStrokeColor": "black"},
        }
    return _chart(rows, {"type": "line", "point": True}, encoding)


def _pareto(rows: Sequence[Spec]) -> Spec:
    encoding = {
        "x": _quantity("user", "tokens/s of one user (1 / TPOT p50)", zero=True), "y": _quantity("all", "output tokens/s of all", zero=True),
        "color": _color("run"),
    }  # fmt: skip
    return _chart(rows, {"type": "line", "point": True, "interpolate": "step-before"}, encoding)


def _percentiles(rows: Sequence[Spec], title: str) -> Spec:
    """A step to the right is a tenth of the requests that are slower."""
    encoding = {
        "x": _quantity("above", "% of requests that are slower", type="log", reverse=True), "y": _quantity("ms", title, zero=True),
        "color": _color("series"),
    }  # fmt: skip
    return _chart(rows, {"type": "line", "interpolate": "step-after"}, encoding)
