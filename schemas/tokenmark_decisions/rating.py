"""A result and limits -> words for a person (pure). Apart from the verdict: an invalid run is rated too, and its words are worth
as much as its numbers."""

from __future__ import annotations

from tokenmark_schemas.ratings import WORDS, Rated, RatedLine, RatingFile, RatingLine, RatingUse, Word
from tokenmark_schemas.result import RunResult, StageResult


def use_of(file: RatingFile, workload: str) -> RatingUse | None:
    """The use that a workload is of, by the file."""
    return next((use for use in file.uses if workload in use.workloads), None)


def rate(result: RunResult, use: RatingUse, version: int) -> Rated:
    lines = [_line(stage, line) for stage in result.stages for line in use.lines]
    stages = {stage.name: _worst([line for line in lines if line.stage == stage.name]) for stage in result.stages}
    return Rated(use=use.name, version=version, stages=stages, lines=lines)


def _line(stage: StageResult, line: RatingLine) -> RatedLine:
    value, unit = _value(stage, line)
    return RatedLine(
        stage=stage.name, metric=line.metric, statistic=line.statistic, value=value, unit=unit,
        word=None if value is None else word_of(value, line.limits), limits=line.limits, says=line.says, source=line.source,
    )  # fmt: skip


def _value(stage: StageResult, line: RatingLine) -> tuple[float | None, str]:
    if line.metric == "accuracy":
        return stage.quality.accuracy if stage.quality else None, "ratio"
    if line.statistic is None:
        return stage.requests.success_rate, "ratio"
    stat = stage.metrics.get(line.metric)
    return (None, "s") if stat is None else (getattr(stat, line.statistic), stat.unit)


def in_a_matrix(word: Word) -> str:
    """There `failed` is said of cells that were not measured."""
    return "unusable" if word == "failed" else word


def word_of(value: float, limits: list[float]) -> Word:
    """The limit itself belongs to the better word."""
    rising = limits[0] <= limits[-1]
    beyond = sum(value > limit if rising else value < limit for limit in limits)
    return WORDS[beyond]


def _worst(lines: list[RatedLine]) -> Word | None:
    words = [line.word for line in lines if line.word is not None]
    return max(words, key=WORDS.index) if len(words) == len(lines) and words else None
