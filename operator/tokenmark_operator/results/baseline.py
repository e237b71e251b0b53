"""A result against the run that `spec.baselineRef` names -> condition, status and the document that is kept (pure)."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import ValidationError

from tokenmark_decisions.comparability import objections
from tokenmark_decisions.comparison import Gate, Rules, compare, gates_of
from tokenmark_schemas.baseline import POINTER_KEY, RESULT_KEY, Pointer
from tokenmark_schemas.benchmarkrun import BaselineRef, BenchmarkRun
from tokenmark_schemas.comparison import Comparison, ComparisonLine
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.run_status import ComparedLine

from .config_map import unpacked

COMPARISON_KEY = "comparison.json"
MOST_LINES = 256
WORDS = {
    "passed": ("True", "NotRegressed"),
    "regressed": ("False", "Regressed"),
    "inconclusive": ("Unknown", "Inconclusive"),
}


def judged(run: BenchmarkRun, result: RunResult, baseline: RunResult | str | None) -> Comparison | str | None:
    """The comparison, or why there is none; None where the run asks for none."""
    ref = run.spec.baseline_ref
    if ref is None:
        return None
    if not isinstance(baseline, RunResult):
        return baseline or f"the result of {ref.called} was not read"
    rules = _rules(ref, result)
    against = objections(baseline, result, rules.least_repetitions)
    return "; ".join(against) if against else compare(baseline, result, rules)


def newest_of(pointer: dict[str, Any]) -> str | None:
    """The ConfigMap of the last promotion."""
    try:
        listed = Pointer.model_validate_json((pointer.get("data") or {}).get(POINTER_KEY, ""), extra="ignore")
    except ValidationError:
        return None
    return listed.promotions[-1].kept_as if listed.promotions else None


def promoted_result(config_map: dict[str, Any]) -> RunResult | None:
    """The result of a promotion; None where it is none."""
    try:
        payload = base64.b64decode((config_map.get("binaryData") or {}).get(RESULT_KEY, ""))
    except ValueError:
        return None
    return unpacked(payload)


def _rules(ref: BaselineRef, result: RunResult) -> Rules:
    named = [
        Gate(
            gate.metric,
            gate.statistic,
            gate.stage,
            None if gate.min_effect_per_mille is None else gate.min_effect_per_mille / 1e3,
        )
        for gate in ref.gates or []
    ]
    return Rules(gates=named or gates_of(result), effect=ref.min_effect_per_mille / 1e3)


def kept(config_map: dict[str, Any] | None) -> Comparison | str | None:
    """What was found when the result was stored: that stands, whatever becomes of the baseline."""
    text = ((config_map or {}).get("data") or {}).get(COMPARISON_KEY)
    if text is None:
        return None
    try:
        return Comparison.model_validate_json(text, extra="ignore")
    except ValidationError:
        return str(text)


def written(found: Comparison | str | None) -> dict[str, str]:
    """As a member of the result's ConfigMap: the document, or the sentence in its place."""
    if found is None:
        return {}
    return {COMPARISON_KEY: found if isinstance(found, str) else found.model_dump_json()}


def condition(ref: BaselineRef, found: Comparison | str) -> tuple[str, str, str]:
    """(status, reason, message) of NotRegressed."""
    if isinstance(found, str):
        return "Unknown", "NotComparable", f"not compared with {ref.called}: {found}"
    gates = [line for line in found.lines if line.gate]
    if not gates:
        return (
            "Unknown",
            "NoGates",
            f"nothing decides: name metrics in spec.baselineRef.gates, or set objectives; {_moved(found)}",
        )
    status, reason = WORDS[found.result]
    wanted = {"regressed": "REGRESSED", "inconclusive": "INCONCLUSIVE"}.get(found.result)
    said = [_sentence(line) for line in gates if wanted is None or line.status == wanted]
    return status, reason, f"against {ref.called}: {'; '.join(said)}"


def _moved(found: Comparison) -> str:
    worse = sum(line.status == "REGRESSED" for line in found.lines)
    return f"{worse} of {len(found.lines)} lines are worse than in {found.baseline.name}"


def _sentence(line: ComparisonLine) -> str:
    name = f"{line.metric} {line.statistic}" if line.statistic else line.metric
    if line.change is None or line.low is None or line.high is None:
        return f"{name} at {line.stage} is not known: {line.reason}"
    change = f"{line.change:+.1%} ({line.low:+.1%} to {line.high:+.1%})"
    more = f", about {line.repetitions_needed} repetitions would tell" if line.repetitions_needed else ""
    return f"{name} at {line.stage} {change}{more}"


def lines(found: Comparison | str) -> list[ComparedLine]:
    """For the status, thousandths and no floats."""
    if isinstance(found, str):
        return []
    picked = [line for line in found.lines if line.matters]
    return [
        ComparedLine(
            stage=line.stage, metric=line.metric, statistic=line.statistic, gate=line.gate, outcome=line.status,
            change_per_mille=_mille(line.change), low_per_mille=_mille(line.low), high_per_mille=_mille(line.high),
        )
        for line in picked[:MOST_LINES]
    ]  # fmt: skip


def _mille(share: float | None) -> int | None:
    return None if share is None else round(1000 * share)


def failure(ref: BaselineRef | None, found: Comparison | str | None) -> str | None:
    """Why the run fails by it, where it was asked to."""
    regressed = isinstance(found, Comparison) and found.result == "regressed"
    return (
        condition(ref, found)[2]
        if ref is not None and ref.on_regression == "Fail" and found is not None and regressed
        else None
    )
