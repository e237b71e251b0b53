"""`--gate`, `--min-effect` -> the rules of a comparison. Names are those of results and objectives: `ttft:p99`, `success_rate`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from tokenmark_decisions.compared import BY_NAME, METRICS
from tokenmark_decisions.comparison import LEAST_REPETITIONS, Gate, Rules
from tokenmark_schemas.errors import InvalidInput

GATE = re.compile(
    r"^(?P<metric>[a-z0-9_]+)(:(?P<statistic>[a-z0-9]+))?(@(?P<stage>[-a-z0-9]+))?(=(?P<effect>[0-9.]+)%?)?$"
)


def rules_of(
    gates: Sequence[str], effects: Sequence[str], stages: Sequence[str], least_repetitions: int = LEAST_REPETITIONS
) -> Rules:
    """Raises InvalidInput for what no comparison has."""
    general, named = None, {}
    for text in effects:
        name, equals, value = text.rpartition("=")
        if equals:
            metric, _, statistic = name.partition(":")
            _known("--min-effect", text, metric, statistic or None)
            named[name] = _share("--min-effect", text, value)
        else:
            general = _share("--min-effect", text, text)
    return Rules(
        gates=[_gate(text) for text in gates], effect=general, effects=named, stages=stages,
        least_repetitions=least_repetitions,
    )  # fmt: skip


def _gate(text: str) -> Gate:
    found = GATE.match(text)
    if found is None:
        raise InvalidInput(
            f"--gate {text}: write a metric, as ttft:p99, ttft:p99=10% (its minimum effect) or ttft:p99@c8 (one stage)"
        )
    _known("--gate", text, found["metric"], found["statistic"])
    effect = _share("--gate", text, found["effect"]) if found["effect"] else None
    return Gate(found["metric"], found["statistic"], found["stage"], effect)


def _known(flag: str, text: str, metric: str, statistic: str | None) -> None:
    if metric not in METRICS:
        near = difflib.get_close_matches(metric, METRICS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(METRICS)}"
        raise InvalidInput(f"{flag} {text}: no comparison has {metric}; {hint}")
    if statistic is not None and f"{metric}:{statistic}" not in BY_NAME:
        has = [row.statistic for row in BY_NAME.values() if row.metric == metric and row.statistic]
        raise InvalidInput(f"{flag} {text}: {metric} has " + (" ".join(has) if has else "no percentiles"))


def _share(flag: str, text: str, value: str) -> float:
    try:
        share = float(value.strip().removesuffix("%")) / 100
    except ValueError:
        raise InvalidInput(f"{flag} {text}: {value} is no share; write it in per cent, as 3%") from None
    if not 0 <= share <= 10:
        raise InvalidInput(f"{flag} {text}: between 0% and 1000%")
    return share
