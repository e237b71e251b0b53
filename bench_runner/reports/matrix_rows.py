"""What a matrix measured -> its table: a row a cell, what to choose, what to be warned of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tokenmark_decisions.matrix_cells import Cell
from tokenmark_decisions.rating import rate
from tokenmark_decisions.recommend import Key, recommendations, verdict_of_means, warnings
from tokenmark_schemas.documents import read_ratings
from tokenmark_schemas.matrix import CellState, MatrixLimits, MatrixResult, MatrixRow, ServerFacts
from tokenmark_schemas.quality import CodeResult, StageQuality
from tokenmark_schemas.ratings import RatingFile, Word
from tokenmark_schemas.result import RunResult, StageResult
from tokenmark_schemas.workload import canonical_json

LEAST_ANSWERS = 12  # that a drift is looked for in


@dataclass(frozen=True)
class Standing:
    """A cell as it stands, and all that is known of it; each is read once."""

    cell: Cell
    state: CellState
    reason: str | None = None
    server: ServerFacts | None = None
    result: RunResult | None = None
    drift: Drift | None = None
    code: CodeResult | None = None


@dataclass(frozen=True)
class About:
    """A matrix as a whole. `settings` are of its servers, `machine` is what it ran on."""

    id: str
    depth: str
    started_at: str
    ended_at: str
    interrupted: bool
    settings: dict[str, str]
    machine: dict[str, str]
    limits: MatrixLimits
    servers: Sequence[ServerFacts]
    without_template: Sequence[str] = ()
    warnings: Sequence[str] = ()


def row(standing: Standing, ratings: RatingFile) -> MatrixRow:
    cell, result, code, drift = standing.cell, standing.result, standing.code, standing.drift
    found: dict[str, Any] = {
        "cell": cell.name, "model": cell.candidate.model, "quantization": cell.candidate.quantization, "profile": cell.profile.name,
        "part": cell.part.name, "way": cell.way, "threads": cell.variant.threads, "gpu_layers": cell.variant.gpu_layers, "context": cell.context, "state": standing.state,
        "reason": standing.reason, "file_bytes": cell.candidate.file_bytes or None, "parameters": cell.candidate.parameters or None,
    }  # fmt: skip
    if (server := standing.server) is not None:
        found |= {"needed_bytes": server.needed_bytes, "held_bytes": server.held_bytes, "load_s": server.load_s}
    if result is not None and result.stages:
        stage = result.stages[0]
        verdict, doubt = verdict_of_means(result.verdict)
        found |= {"verdict": verdict, "doubt": doubt, "rating": _word(cell, result, ratings)}
        found |= {"kept": drift.kept, "slowed": drift.slowed} if drift else {}
        found |= _speed(cell, stage) | _quality(stage) | _resources(stage) | _cost(result)
    if code is not None:
        found |= {
            "code_score": code.mean, "code_stddev": code.stddev, "code_same": fmean(each.same for each in code.fixtures),
            "gpu_utilization_avg": code.gpu_utilization_avg, "requests": len(code.answers),
        }  # fmt: skip
    return MatrixRow(**found)


@dataclass(frozen=True)
class Drift:
    """`kept`: tokens a second of an answer, the mean of the last third of the answers beside that of the first. `slowed`: every one of the last was slower
    than every one of the first, which of twice four answers chance does once in seventy."""

    kept: float
    slowed: bool


def drift_of(rows: Iterable[dict[str, Any]]) -> Drift | None:
    """Of the lines of a request log; None of a handful. A machine that heats up, or a server that fills, is seen here."""
    done = sorted(
        (each["sent_ns"], each["output_tokens"] / (each["end_ns"] - each["sent_ns"]))
        for each in rows
        if each["output_tokens"] and each["sent_ns"]
    )
    if len(done) < LEAST_ANSWERS:
        return None
    pace = [found for _, found in done]
    first, last = pace[: len(pace) // 3], pace[-(len(pace) // 3) :]
    return Drift(fmean(last) / fmean(first), max(last) < min(first))


def _word(cell: Cell, result: RunResult, ratings: RatingFile) -> Word | None:
    use = next((use for use in ratings.uses if use.name == cell.profile.use), None)
    return rate(result, use, ratings.version).stages[result.stages[0].name] if use else None


def _speed(cell: Cell, stage: StageResult) -> dict[str, Any]:
    metrics, requests = stage.metrics, stage.requests
    ttft, tpot = metrics["ttft"], metrics["tpot"]
    waited_s = ttft.mean * ttft.count if ttft.mean else None
    e2e_s = metrics["e2e"].mean
    return {
        "requests": requests.succeeded, "failed": requests.failed, "ttft_mean_s": ttft.mean, "tpot_mean_s": tpot.mean,
        "e2e_mean_s": e2e_s, "tokens_per_s": 1 / tpot.mean if tpot.mean else None,
        "output_tokens_per_s": stage.throughput.output_tokens_per_s_whole,
        "prefill_tokens_per_s": stage.tokens.prompt / waited_s if stage.tokens.prompt and waited_s else None,
        "per_hour": 3600 * cell.part.concurrency / e2e_s if cell.profile.counts is not None and e2e_s else None,
    }  # fmt: skip


def _quality(stage: StageResult) -> dict[str, Any]:
    if (found := stage.quality) is None:
        return {}
    return {
        "accuracy": found.accuracy, "accuracy_ci95": found.ci95, "right": found.right, "asked": found.asked, "kinds": found.kinds,
    }  # fmt: skip


def _resources(stage: StageResult) -> dict[str, Any]:
    used: dict[str, Any] = {}
    if stage.resources and (host := stage.resources.host):
        used |= {
            "cpu_avg": host.cpu_avg, "temperature_peak_celsius": host.temperature_peak_celsius, "clock_avg_hz": host.clock_avg_hz,
            "swapped_bytes": host.swapped_bytes, "throttles": host.throttles,
        }  # fmt: skip
    if stage.resources and (gpu := stage.resources.gpu):
        used |= {"gpu_utilization_avg": gpu.utilization_avg, "power_w": gpu.power_w}
    if (spent := _joules(stage)) is not None and stage.tokens.output:
        used["joules_per_token"] = spent / stage.tokens.output
    return used


def _joules(stage: StageResult) -> float | None:
    """What processors and GPUs took while the stage ran, as far as it is told."""
    if stage.resources is None:
        return None
    host, gpu, took_s = stage.resources.host, stage.resources.gpu, stage.window.duration_s
    known = [host.energy_j] if host and host.energy_j is not None else []
    known += [gpu.power_w * took_s] if gpu and gpu.power_w is not None and took_s else []
    return sum(known) if known else None


def _cost(result: RunResult) -> dict[str, Any]:
    if result.cost is None or (best := result.cost.cheapest) is None:
        return {}
    return {"per_million_output_tokens": best.per_million_output_tokens, "currency": result.cost.currency}


# --- all of them --------------------------------------------------------------------------------------------------------


def settings_of(cells: Sequence[Cell]) -> dict[str, str]:
    """How servers were started."""
    variants = list(dict.fromkeys(cell.variant for cell in cells))

    def said(values: Iterable[int | None]) -> str:
        return ", ".join(dict.fromkeys("default" if each is None else str(each) for each in values))

    return {
        "threads": said(each.threads for each in variants),
        "gpu_layers": said(each.gpu_layers for each in variants),
        **({"context": said(each.context for each in variants)} if any(each.context for each in variants) else {}),
    }


def answers_of(standings: Sequence[Standing]) -> dict[Key, StageQuality]:
    """What each model and quantisation answered, of those whose tests are done."""
    found: dict[Key, StageQuality] = {}
    for each in standings:
        judged = each.state == "done" and each.cell.profile.kind == "quality"
        if judged and each.result and each.result.stages and (quality := each.result.stages[0].quality) is not None:
            found[each.cell.candidate.model, each.cell.candidate.quantization] = quality
    return found


def matrix_result(standings: Sequence[Standing], said: About, answers: dict[Key, StageQuality]) -> MatrixResult:
    """Also of a matrix that was interrupted."""
    ratings = read_ratings(None)
    rows = [row(each, ratings) for each in standings]
    asked = [
        [cell.name, cell.candidate.identity, cell.context, {**cell.spec, "environment": None}]
        for cell in (each.cell for each in standings)
    ]
    return MatrixResult(
        id=said.id, started_at=said.started_at, ended_at=said.ended_at, interrupted=said.interrupted, depth=said.depth, machine=said.machine,
        settings=said.settings, fingerprint=hashlib.sha256(canonical_json(asked)).hexdigest()[:16], limits=said.limits,
        uses={each.cell.profile.name: each.cell.profile.about for each in standings},
        recommendations=recommendations(rows, answers), warnings=[*said.warnings, *warnings(rows, answers, without_template=said.without_template if answers else ())],
        rows=rows, servers=list(said.servers),
    )  # fmt: skip
