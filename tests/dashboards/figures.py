"""A dashboard's figures without a browser: every panel's queries, asked of a Prometheus, as lines of panel and value."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from bench_runner.reports.units import seconds

from .scenes import BOARDS


def figures(board: str, prometheus: str, variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(panel, what it shows) of those that show numbers; a variable that is not given is everything."""
    document = json.loads((BOARDS / f"{board}.json").read_text())
    for panel in document["panels"]:
        if panel["type"] not in ("stat", "bargauge"):
            continue
        (target,) = panel["targets"]
        expr = target["expr"]
        for variable in document["templating"]["list"]:
            expr = expr.replace(f"${variable['name']}", variables.get(variable["name"], ".*"))
        unit = panel["fieldConfig"]["defaults"]["unit"]
        found = [(row["metric"], shown(float(row["value"][1]), unit)) for row in ask(prometheus, expr)]
        named = [f"{metric['provider']} {value}" if "provider" in metric else value for metric, value in found]
        yield panel["title"], ", ".join(sorted(named)) or panel["fieldConfig"]["defaults"]["noValue"]


def ask(prometheus: str, expr: str) -> list[dict[str, Any]]:
    """The series of an instant query. Raises OSError where Prometheus refuses it."""
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?query={urllib.parse.quote(expr)}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
        return found


def shown(value: float, unit: str) -> str:
    """In the unit that the panel has."""
    return {"s": lambda: seconds(value), "percentunit": lambda: f"{value:.1%}"}.get(unit, lambda: f"{value:.4g}")()
