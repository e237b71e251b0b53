"""COMPARED: what a comparison looks at, a row each, and how a row is read from the repetitions of a stage (pure)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tokenmark_schemas.result import Repetition, StageResult

from .distribution import needed_for
from .two_level import Side

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Row:
    """`read` gives (value, standard error from its requests, 0 where that is not known) of a repetition, None where it has none.

    Of a `ratio` kind differences are taken of logarithms, of a `share` of the values themselves, and of how many stands in the
    place of the error.
    """

    metric: str
    statistic: str | None
    title: str
    unit: str
    better: Literal["lower", "higher"]
    kind: Literal["ratio", "share"]
    minimum_effect: float
    read: Callable[[Repetition], tuple[float, float] | None]
    open_loop_only: bool = False

    @property
    def name(self) -> str:
        return f"{self.metric}:{self.statistic}" if self.statistic else self.metric


def _success(rep: Repetition) -> tuple[float, float] | None:
    """Of the requests that ended, and how many those are."""
    ended = rep.succeeded + rep.failed
    return (rep.succeeded / ended, ended) if ended else None


def _recall(rep: Repetition) -> tuple[float, float] | None:
    """Of the nearest, and how many searches looked for them."""
    return (rep.recall, rep.searches) if rep.recall is not None and rep.searches else None


def _of_shares(pairs: Sequence[tuple[float, float]]) -> Side:
    """(share, of how many) of each repetition. Its error is that of the run's share, with half a request more on either side
    (Jeffreys): of 300 requests without a failure it is not known that there never is one."""
    near = (sum(share * of for share, of in pairs) + 0.5) / (sum(of for _, of in pairs) + 1)
    return Side([share for share, _ in pairs], [math.sqrt(near * (1 - near) / of) for _, of in pairs])


def _rate(name: str) -> Callable[[Repetition], tuple[float, float] | None]:
    def read(rep: Repetition) -> tuple[float, float] | None:
        value = getattr(rep, name)
        return (value, 0.0) if value is not None else None

    return read


def _quantile(metric: str, statistic: str) -> Callable[[Repetition], tuple[float, float] | None]:
    def read(rep: Repetition) -> tuple[float, float] | None:
        found = rep.metrics.get(metric)
        value = getattr(found, statistic, None)
        return (value, getattr(found, f"se_{statistic}") or 0.0) if value is not None else None

    return read


EFFECT = 0.05
LATENCIES = (
    ("ttft", "TTFT", False), ("ttft_scheduled", "TTFT from due", True), ("tpot", "TPOT", False), ("itl", "ITL", False),
    ("e2e", "E2E", False), ("e2e_scheduled", "E2E from due", True),
)  # fmt: skip
COMPARED: tuple[Row, ...] = (
    Row("success_rate", None, "Success rate", "ratio", "higher", "share", 0.01, _success),
    Row("recall", None, "Recall", "ratio", "higher", "share", 0.01, _recall),
    Row("requests_per_s", None, "Requests/s", "1/s", "higher", "ratio", EFFECT, _rate("requests_per_s")),
    Row("output_tokens_per_s", None, "Output tokens/s", "tokens/s", "higher", "ratio", EFFECT, _rate("output_tokens_per_s")),
    *(
        Row(metric, statistic, f"{title} {statistic}", "s", "lower", "ratio", EFFECT, _quantile(metric, statistic), due)
        for metric, title, due in LATENCIES
        for statistic in QUANTILES
    ),
)  # fmt: skip
BY_NAME = {row.name: row for row in COMPARED}
METRICS = tuple(dict.fromkeys(row.metric for row in COMPARED))


def side_of(row: Row, repetitions: Sequence[Repetition]) -> Side | str:
    """The row's values of one run, as `two_level` takes them; else why there are none."""
    found = [row.read(rep) for rep in repetitions]
    values = [pair for pair in found if pair is not None]
    if len(values) < len(found) or not values:
        return _missing(row, repetitions)
    if row.kind == "share":
        return _of_shares(values)
    if any(value <= 0 for value, _ in values):
        return "a repetition's value is nought, and no share can be taken of it"
    return Side([math.log(value) for value, _ in values], [error / value for value, error in values])


def _missing(row: Row, repetitions: Sequence[Repetition]) -> str:
    counts = [rep.metrics[row.metric].count for rep in repetitions if row.metric in rep.metrics]
    if row.statistic in QUANTILES and counts and max(counts):
        needed = needed_for(QUANTILES[row.statistic])
        return f"{row.statistic} needs {needed} values in each repetition; one has {min(counts)}"
    return "not every repetition has it"


def is_open_loop(stage: StageResult) -> bool:
    return stage.load is not None and stage.load.concurrency is None
