"""The floor: what this client, on this machine, adds to a number that is known.

The bundled simulator answers beside it at the load's own concurrency and logs when it really sent; the difference is the
instrument's, measured where and when it is used. The simulator shares the machine with the client here, so that on few
cores the floor is worse than what a target elsewhere would show, never better.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenmark_schemas.run import RunConfig
from tokenmark_schemas.workload import Dataset, Stage, Synthetic, TokenLengths, WorkloadSpec

from ..engines import dialect_of
from ..load.clock import NS
from ..load.drive import Drive
from ..load.frames import End, Exchange
from ..load.phase import Limits, Phase
from ..samples.decode import decode
from ..samples.sample import Sample
from ..sim.beside import simulator_beside
from ..sim.scenario import Scenario
from ..stats.summary import highest_of, percentile
from ..target.route import route_to
from ..workload.prompts import RequestFactory

SECONDS = 2
TOKENS = 40
TTFT_MS = 100.0
SIM_TOKENS_PER_S = 20_000  # what the simulator sends on time with half a core to itself
MOST_STREAMS = 1000

Calibration = dict[str, float]


def streams_of(stage: Stage) -> int:
    """Streams in flight that a stage comes to, as far as can be known beforehand: an answer a second in open loop."""
    wanted = stage.concurrency or max(stage.rate_per_s or 1, stage.ramp_to_per_s or 1)
    return max(1, min(MOST_STREAMS, round(wanted)))


def calibrate(config: RunConfig, streams: int, stopped: Callable[[], bool] = lambda: False) -> Calibration | None:
    """Two seconds of streams from the simulator: seconds, microseconds where the name says so; None if nothing came."""
    itl_ms = max(10.0, streams / SIM_TOKENS_PER_S * 1000)
    scenario = Scenario(model="calibration", ttft_ms=TTFT_MS, itl_ms=itl_ms, seed=config.seed)
    with tempfile.TemporaryDirectory() as folder:
        truth = Path(folder) / "truth.jsonl"
        with simulator_beside(scenario, truth) as url:
            samples, end = _drive(config, url, streams, stopped)
        sent = {row["id"]: row for row in map(json.loads, truth.read_text().splitlines())}
    return _compared(samples, sent, end, streams) if end is not None else None


def _drive(config: RunConfig, url: str, streams: int, stopped: Callable[[], bool]) -> tuple[list[Sample], End | None]:
    target = config.target.model_copy(
        update={"url": url, "engine": "openai", "model": "calibration", "proxy_url": None, "token_env": None}
    )
    workload = _streams(config.workload)
    route, (dialect, _) = route_to(target), dialect_of("openai")
    factory = RequestFactory(dialect, "calibration", workload, host=route.host, path=dialect.path, token=None,
                             dataset_file=config.dataset_file)  # fmt: skip
    phase = Phase(
        "calibration", route.route, factory.renderer("calibrat", "calibration"), Limits(30 * NS, 30 * NS, 30 * NS, 2 * NS),
        concurrency=streams, duration_ns=SECONDS * NS,
    )  # fmt: skip
    samples, end, drive = [], None, Drive(phase, config.workers)
    for event in drive.events():
        if isinstance(event, Exchange):
            name = f"calibration-{event.seq}"
            samples.append(decode(event, dialect, stage="calibration", repetition=0, request_id=name, stream=True))
        elif isinstance(event, End):
            end = event
        if stopped():
            drive.stop()
    return samples, end


def _streams(workload: WorkloadSpec) -> WorkloadSpec:
    """The run's own prompts, answered by streams; a database has none, and short ones stand for them."""
    if workload.operations is not None:
        few = TokenLengths(mean=32)
        return WorkloadSpec(dataset=Dataset(synthetic=Synthetic(input_tokens=few)), max_output_tokens=TOKENS)
    return workload.model_copy(update={"streaming": True, "max_output_tokens": TOKENS})


def _compared(samples: list[Sample], sent: dict[str, dict[str, Any]], end: End, streams: int) -> Calibration | None:
    first, gaps, lags, chunks = [], [], [], 0
    for sample in samples:
        true = sent.get(sample.id, {}).get("sent_ns", [])
        seen = sample.content_ns
        chunks += len(seen)
        lags += sample.read_lags_s
        if sample.failure is not None or len(true) != len(seen):
            continue
        first.append(abs(seen[0] - true[0]) / 1e9)
        gaps += [abs((b - a) - (d - c)) / 1e9 for (a, b), (c, d) in zip(pairwise(seen), pairwise(true), strict=True)]
    if not first:
        return None
    first.sort(), gaps.sort(), lags.sort()
    found = {
        "streams": float(streams),
        "answers": float(len(first)),
        "ttft_error_p50_s": percentile(first, 0.5),
        "ttft_error_p99_s": percentile(first, highest_of(len(first))),
        "read_lag_p99_s": percentile(lags, 0.99),
        "cpu_us_per_token": end.tick.cpu_ns / 1e3 / max(1, chunks),
        "loop_lag_max_s": end.tick.loop_lag_max_ns / 1e9,
    }
    return {**found, "gap_error_p99_s": percentile(gaps, 0.99)} if gaps else found  # one token has no gap
