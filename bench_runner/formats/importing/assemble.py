"""`Found` files -> one result: a file a repetition. Its verdict is `unknown`, and what nobody told is null."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from tokenmark_decisions import compared
from tokenmark_decisions.distribution import Distribution
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import (
    EngineFacts,
    Imported,
    Phase,
    Phases,
    Provenance,
    Reason,
    Repetition,
    RepetitionMetric,
    Requests,
    RunFacts,
    RunResult,
    StageResult,
    StageThroughput,
    Stat,
    TokenCounts,
    ToolFacts,
    Verdict,
    Window,
    WorkloadFacts,
)
from tokenmark_schemas.workload import canonical_json

from ...analysis.stage_result import repetition_metric
from ...samples.metrics import METRICS
from ...stats.summary import QUANTILES, enough_for, stat
from .found import Found, FoundStage, Summary

UNKNOWN = "unknown"
PROMPTS_DIFFER = 1.1
Number = TypeVar("Number", int, float)


def imported_result(
    name: str,
    files: Mapping[str, bytes],
    found: Sequence[Found],
    environment: Mapping[str, str],
    *,
    one_work: bool = False,
) -> RunResult:
    """`files` are the bytes that `found` was read from; `one_work` where somebody says that those which do not tell it are repetitions.
    Raises InvalidInput where they are not of one tool and one work."""
    first = found[0]
    for file, other in zip(files, found, strict=True):
        if (other.tool, other.model, other.about) != (first.tool, first.model, first.about):
            raise InvalidInput(
                f"{file} is not a repetition of {next(iter(files))}: {_differing(first, other)}; import them as two runs"
            )
    if len(found) > 1 and not one_work and not all(each.load_told for each in found):
        raise InvalidInput(
            f"{first.tool}'s files do not tell their load, so several may be different work; if they are repetitions of one, say --one-work"
        )
    repetitions = [[_cleared(stage) for stage in each] for file in found for each in file.repetitions]
    names = list(dict.fromkeys(stage.name for stages in repetitions for stage in stages))
    if not names:
        raise InvalidInput("it holds no measured load")
    takes = {name: [stage for stages in repetitions for stage in stages if stage.name == name] for name in names}
    stages = [_stage(name, takes[name]) for name in names]
    # how many requests there were is an outcome where a test ends by its time
    loads = {stage.name: stage.load.snake() | {"request_count": None} if stage.load else None for stage in stages}
    fields = {"tool": first.tool, "model": first.model, "work": first.about, "stages": loads}
    work = hashlib.sha256(canonical_json(fields["work"])).hexdigest()
    return RunResult(
        run=RunFacts(
            name=name, namespace="", uid="", attempt=1, interrupted=any(each.interrupted for each in found), repetitions=min(len(each) for each in takes.values()),
            started_at=min(filter(None, (each.started_at for each in found)), default=None),
            ended_at=max(filter(None, (each.ended_at for each in found)), default=None),
        ),
        verdict=_verdict(first),
        phases=Phases(warmup=None, measured=_measured(stages)),
        stages=stages,
        imported=Imported(
            tool=first.tool, version=first.version, definitions=first.definitions, refused=first.refused,
            files={file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
        ),
        provenance=Provenance(
            vantage=None, tool=ToolFacts(name=first.tool, version=first.version or UNKNOWN, python=None, kernel=None),
            engine=EngineFacts(name=first.engine or UNKNOWN, version=first.engine_version, reported_model=first.model),
            environment=first.environment | dict(environment), workload=WorkloadFacts(name=UNKNOWN, hash=work),
            spec_hash=None, fingerprint=hashlib.sha256(canonical_json(fields)).hexdigest(), fingerprint_fields=fields,
            seed=None, stamps=None,
        ),
    )  # fmt: skip


def _differing(first: Found, other: Found) -> str:
    pairs = [("tool", first.tool, other.tool), ("model", first.model, other.model)]
    pairs += [(key, first.about.get(key), other.about.get(key)) for key in sorted(first.about | other.about)]
    return "; ".join(f"{key}: {old} | {new}" for key, old, new in pairs if old != new)


def _verdict(found: Found) -> Verdict:
    said = f"{found.tool} measured this; its own error was not measured, so nothing here says whether the numbers hold"
    return Verdict(state="unknown", reasons=[Reason(code="imported", message=said)])


def _measured(stages: Sequence[StageResult]) -> Phase:
    spans = [stage.window.duration_s for stage in stages]
    return Phase(
        requests=sum(stage.requests.due for stage in stages), failed=sum(stage.requests.failed for stage in stages),
        duration_s=_sum(spans),
    )  # fmt: skip


def _cleared(stage: FoundStage) -> FoundStage:
    """Without summaries of times that are all nought: some tools write those where there was nothing to time."""
    kept = {
        name: each for name, each in stage.summaries.items()
        if name.endswith("per_s") or any((each.mean, each.max, each.p50, each.p99))
    }  # fmt: skip
    return replace(stage, summaries=kept)


def _same_prompts(name: str, takes: Sequence[FoundStage]) -> None:
    """Raises InvalidInput where one's prompts are longer by a tenth or more: that is other work."""
    lengths = sorted(take.prompt_tokens / take.succeeded for take in takes if take.prompt_tokens and take.succeeded)
    if lengths and lengths[-1] > PROMPTS_DIFFER * lengths[0]:
        raise InvalidInput(
            f"{name}: prompts have {lengths[0]:.0f} tokens in one file and {lengths[-1]:.0f} in another, so these are no repetitions; "
            "import them as two runs"
        )


def _stage(name: str, takes: Sequence[FoundStage]) -> StageResult:
    _same_prompts(name, takes)
    errors: dict[str, int] = {}
    for take in takes:
        for kind, count in take.errors.items():
            errors[kind] = errors.get(kind, 0) + count
    spans = [take.duration_s for take in takes]
    return StageResult(
        name=name, load=takes[0].load,
        window=Window(
            started_at=min(filter(None, (take.started_at for take in takes)), default=None), duration_s=_sum(spans),
            steady_s=None, drain_s=None, ended_early=None,
        ),
        requests=Requests(
            due=sum(take.due if take.due is not None else take.sent for take in takes), sent=sum(take.sent for take in takes),
            succeeded=sum(take.succeeded for take in takes), failed=sum(take.failed for take in takes),
            cancelled=sum(take.cancelled for take in takes), errors=errors,
        ),
        tokens=TokenCounts(
            prompt=_sum([take.prompt_tokens for take in takes]), output=_sum([take.output_tokens for take in takes]),
            max_output=None, output_source=None, mismatches=None, cached=_sum([take.cached_tokens for take in takes]),
        ),
        metrics={metric.id: _stat(metric.id, metric.unit, takes) for metric in METRICS},
        throughput=StageThroughput(
            requests_per_s=_over_time(takes, "requests_per_s"), output_tokens_per_s=_over_time(takes, "output_tokens_per_s"),
            total_tokens_per_s=_over_time(takes, "total_tokens_per_s"), requests_per_s_whole=None, output_tokens_per_s_whole=None,
        ),
        goodput=takes[0].goodput if len(takes) == 1 else None, client=None,
        repetitions=[_repetition(place, take) for place, take in enumerate(takes)],
    )  # fmt: skip


def _sum(values: Sequence[Number | None]) -> Number | None:
    """None where one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _over_time(takes: Sequence[FoundStage], field: str) -> float | None:
    """A rate over all repetitions: weighted by their lengths; without these no rate of several."""
    rates = [getattr(take, field) for take in takes]
    if len(takes) == 1:
        return rates[0] if rates[0] is None else float(rates[0])
    spans = [take.duration_s for take in takes]
    total = _sum(spans)
    if None in rates or not total:
        return None
    return math.fsum(rate * (span or 0.0) for rate, span in zip(rates, spans, strict=True)) / total


def _stat(metric: str, unit: str, takes: Sequence[FoundStage]) -> Stat:
    """Of the takes in which something succeeded; values where all have them."""
    takes = [take for take in takes if take.succeeded] or takes
    if all(metric in take.values for take in takes):
        return stat(Distribution([value for take in takes for value in take.values[metric]]), unit)
    summaries = [each for take in takes if (each := take.summaries.get(metric) or _summary(take.values.get(metric)))]
    if len(summaries) < len(takes) or not sum(each.count for each in summaries):
        return Stat(unit=unit, count=0, withheld=list(QUANTILES))
    return _of_summary(summaries[0], unit) if len(summaries) == 1 else _of_summaries(summaries, unit)


def _summary(values: Sequence[float] | None) -> Summary | None:
    if not values:
        return None
    return Summary(len(values), mean=math.fsum(values) / len(values), min=min(values), max=max(values))


def _shown(found: Summary) -> dict[str, float]:
    """Percentiles that enough values lie above, as of our own results."""
    said: dict[str, float | None] = {name: getattr(found, name, None) for name in QUANTILES}
    return {n: value for n, value in said.items() if value is not None and enough_for(found.count, QUANTILES[n])}


def _of_summary(found: Summary, unit: str) -> Stat:
    shown = _shown(found)
    return Stat(
        unit=unit, count=found.count, mean=found.mean, stddev=found.stddev, min=found.min, max=found.max,
        withheld=[name for name in QUANTILES if name not in shown], **shown,
    )  # fmt: skip


def _of_summaries(found: Sequence[Summary], unit: str) -> Stat:
    """Of several, the mean and the extremes are known; percentiles of all cannot be had from those of each."""
    count = sum(each.count for each in found)
    totals = _sum([None if each.mean is None else each.mean * each.count for each in found])
    lows, highs = _known([each.min for each in found]), _known([each.max for each in found])
    return Stat(
        unit=unit, count=count, mean=None if totals is None else totals / count, min=min(lows) if lows else None,
        max=max(highs) if highs else None, withheld=list(QUANTILES),
    )  # fmt: skip


def _known(values: Sequence[float | None]) -> list[float]:
    """All of them, or none where one is not known."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _repetition(place: int, take: FoundStage) -> Repetition:
    return Repetition(
        index=place, order=place, succeeded=take.succeeded, failed=take.failed, requests_per_s=take.requests_per_s,
        output_tokens_per_s=take.output_tokens_per_s, metrics=dict(_repetition_metrics(take)),
    )  # fmt: skip


def _repetition_metrics(take: FoundStage) -> dict[str, RepetitionMetric]:
    found = {}
    for metric, values in take.values.items():
        found[metric] = repetition_metric(sorted(values), errors=metric in compared.METRICS)
    for metric, each in take.summaries.items():
        shown = {name: value for name, value in _shown(each).items() if name in compared.QUANTILES}
        found[metric] = RepetitionMetric(count=each.count, **shown)
    return found
