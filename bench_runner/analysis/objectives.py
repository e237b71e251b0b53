"""What a run is held to: limits as flags say them, and how a stage stands against each (pure)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tokenmark_schemas.benchmarkrun import Objective
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import ObjectiveResult, StageResult, Stat

OBJECTIVE = re.compile(
    r"^(?P<metric>[a-z_0-9]+):(?P<stat>p50|p90|p95|p99|mean)(?P<op><=|>=)(?P<value>\d+(?:\.\d+)?)(?P<unit>us|ms|s|%|/s)$"
)
SHAPES = "such as ttft:p99<=800ms, tpot:mean<=4.5ms, errors:mean<=1%, output_tokens_per_s:mean>=1000/s, recall:mean>=95% or accuracy:mean>=80%"
_MICROSECONDS = {"us": 1, "ms": 1000, "s": 1_000_000}
_LEAST = {"recall", "accuracy"}  # shares that should be large
_RATES = {"output_tokens_per_s", "requests_per_s"}
MOST_LOST = 0.01  # of the requests due, without counting


def parse_objective(text: str) -> dict[str, Any]:
    """`ttft:p99<=800ms`, `output_tokens_per_s:mean>=1000/s`, `errors:mean<=1%` -> an objective of the spec.

    Raises InvalidInput, also for a limit that is finer than what an objective can hold: it is never rounded.
    """
    match = OBJECTIVE.match(text.replace(" ", ""))
    if match is None:
        raise InvalidInput(f"--objective {text!r}: expected METRIC:STATISTIC<=VALUE with its unit, {SHAPES}")
    unit, least = match["unit"], match["metric"] in _LEAST or match["unit"] == "/s"
    if least != (match["op"] == ">="):
        raise InvalidInput(f"--objective {text!r}: times and errors take <=, rates, recall and accuracy take >=")
    objective = {"metric": match["metric"], "statistic": match["stat"], "onViolation": "Fail"}
    limit = _limit(text, Decimal(match["value"]), unit)
    return {**objective, **({"minPerMille": limit["maxPerMille"]} if least and "maxPerMille" in limit else limit)}


def _limit(text: str, value: Decimal, unit: str) -> dict[str, int]:
    """As whole numbers, in the largest unit that fits."""
    if unit == "%":
        return {"maxPerMille": _whole(text, value * 10, "0.1 %")}
    if unit == "/s":
        return {"minPerSecondMilli": _whole(text, value * 1000, "0.001/s")}
    micros = _whole(text, value * _MICROSECONDS[unit], "1 us")
    if not micros:
        raise InvalidInput(f"--objective {text!r}: no answer takes no time; give a limit above 0")
    return {"maxMicroseconds": micros} if micros % 1000 else {"maxMilliseconds": micros // 1000}


def _whole(text: str, value: Decimal, step: str) -> int:
    if value != value.to_integral_value():
        raise InvalidInput(f"--objective {text!r}: limits go in steps of {step}")
    return int(value)


def latency_limits(objectives: Sequence[Objective]) -> list[tuple[str, float]]:
    """(metric, seconds) of every latency objective: a request that keeps them all counts as goodput."""
    return [(o.metric, o.max_seconds) for o in objectives if o.max_seconds is not None]


def objective_results(stages: Sequence[StageResult], objectives: Sequence[Objective]) -> list[ObjectiveResult]:
    """Every objective on every stage. A withheld percentile makes it unknown, with the reason."""
    return [_held_to(stage, objective) for stage in stages for objective in objectives]


def _held_to(stage: StageResult, objective: Objective) -> ObjectiveResult:
    value, unit, reason = _measured(stage, objective)
    if objective.max_seconds is not None:
        limit = objective.max_seconds
    elif (share := objective.max_per_mille if objective.min_per_mille is None else objective.min_per_mille) is not None:
        limit = share / 1e3
    else:
        limit = (objective.min_per_second_milli or 0) / 1e3
    least = objective.metric in _RATES or objective.metric in _LEAST
    keeps = value is not None and (value >= limit if least else value <= limit)
    infinite = value == math.inf
    return ObjectiveResult(
        metric=objective.metric, statistic=objective.statistic, stage=stage.name, limit=limit, value=None if infinite else value, unit=unit,
        met="unknown" if value is None else "true" if keeps else "false", reason=reason,
        on_violation=objective.on_violation,
    )  # fmt: skip


def _latency(stage: StageResult, metric: str) -> tuple[Stat, str | None]:
    """The metric; where more than 1 % of the requests were lost, over all of them: a server must not look fast by failing."""
    requests, over_all = stage.requests, stage.metrics.get(f"{metric}_inclusive")
    lost = requests.failed + requests.cancelled
    if lost <= MOST_LOST * requests.due:
        return stage.metrics[metric], None
    if over_all is None:  # a request has many of them, and a lost one none
        none = Stat(unit=stage.metrics[metric].unit, count=0)
        return none, f"{lost} of {requests.due} requests were lost, and have no {metric} at all"
    return over_all, f"{lost} of {requests.due} requests were lost and count as infinitely slow"


def _measured(stage: StageResult, objective: Objective) -> tuple[float | None, str, str | None]:
    if objective.metric == "errors":
        ended = stage.requests.succeeded + stage.requests.failed
        return (stage.requests.failed / ended if ended else None), "ratio", None
    if objective.metric == "recall":
        worst = stage.worst_recall
        return worst, "ratio", None if worst is not None else "no search was made"
    if objective.metric == "accuracy":
        share = stage.quality.accuracy if stage.quality else None
        return share, "ratio", None if share is not None else "no test was answered"
    if objective.metric in _RATES:
        value = getattr(stage.throughput, objective.metric)
        return value, "1/s", None if value is not None else "no steady window: the stage was too short"
    found, note = _latency(stage, objective.metric)
    value = getattr(found, objective.statistic)
    if value is not None:
        return value, found.unit, note
    if note is not None and not found.count:
        return None, found.unit, note
    if objective.statistic in found.infinite or (note and objective.statistic == "mean"):
        return math.inf, found.unit, note
    return None, found.unit, f"only {found.count} samples: too few for {objective.statistic}"
