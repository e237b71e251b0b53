"""Prices per million against the truth: simulated providers of known capacity, replayed by the thousand and run for real."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from tests.support.comparable import a_comparable, a_repetition
from tests.support.serving import simulated
from tokenmark_decisions.cost import cost_of
from tokenmark_decisions.ranking import ranked
from tokenmark_schemas.cost import CostFile
from tokenmark_schemas.result import RunResult, StageThroughput

CLI = [sys.executable, "-m", "bench_runner"]
HOUR = Decimal(36)
SPREADS = (0.002, 0.005, 0.01)  # of a repetition's throughput, run to run
TTFT_MS, ITL_MS, TOKENS, SLOTS = 20, 2, 32, 8


def prices(hour: Decimal = HOUR) -> CostFile:
    return CostFile.model_validate(
        {"name": "t", "prices": [{"onDemandPerHour": str(hour), "source": "made up", "dated": "2030-01-01"}]}
    )


def a_provider(capacity: float, spread: float, rng: random.Random, repetitions: int) -> RunResult:
    rates = [capacity * rng.lognormvariate(0, spread) for _ in range(repetitions)]
    found = a_comparable("run", *(a_repetition(k, {"ttft": [0.1]}, rate=rate / 10) for k, rate in enumerate(rates)))
    mean = sum(rates) / len(rates)
    said = StageThroughput(
        requests_per_s=mean / 100,
        output_tokens_per_s=mean,
        total_tokens_per_s=2 * mean,
        requests_per_s_whole=1,
        output_tokens_per_s_whole=1,
    )
    return found.model_copy(update={"stages": [found.stages[0].model_copy(update={"throughput": said})]})


def replayed(trials: int, repetitions: int = 3) -> Iterator[str]:
    """The table's lines."""
    yield "| spread of repetitions | within 2 % of the truth | interval holds the truth | 5 % dearer ranked second | equal called a tie |"
    yield "|---|---:|---:|---:|---:|"
    for spread in SPREADS:
        rng, near, held, right, ties = random.Random(f"money {spread}"), 0, 0, 0, 0
        truth = float(HOUR) / 3600 / 1000 * 1e6
        for _ in range(trials):
            runs = [a_provider(rate, spread, rng, repetitions) for rate in (1000.0, 1000 / 1.05, 1000.0)]
            costs = [cost_of(run, prices()) for run in runs]
            stage = costs[0].stages[0]
            assert stage.per_million_output_tokens is not None
            assert stage.low is not None
            assert stage.high is not None
            near += abs(float(stage.per_million_output_tokens) / truth - 1) <= 0.02
            held += float(stage.low) <= truth <= float(stage.high)
            named = list(zip("abc", runs, costs, strict=True))
            right += [place.source for place in ranked(named[:2])] == ["a", "b"]
            ties += ranked([named[0], named[2]])[1].tied
        cells = (f"{100 * count / trials:.1f} %" for count in (near, held, right, ties))
        yield f"| {100 * spread:.1f} % | " + " | ".join(cells) + " |"


def real(runs: int) -> Iterator[str]:
    """Runs by the command line against simulators whose slots bound what they can do: slots x tokens / the time of an answer."""
    truth = SLOTS * TOKENS / (TTFT_MS + ITL_MS * (TOKENS - 1)) * 1000
    wanted = float(HOUR) / 3600 / truth * 1e6
    errors, held = [], 0
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "s.yaml").write_text(f"ttft_ms: {TTFT_MS}\nitl_ms: {ITL_MS}\nslots: {SLOTS}\n")
            (folder / "prices.yaml").write_text(prices().model_dump_json(by_alias=True))
            with simulated("--scenario", str(folder / "s.yaml")) as url:
                words = ["--engine", "openai", "--target", url, "--model", "sim", "--concurrency", str(2 * SLOTS), "--requests", "400", "--repetitions", "3",
                         "--max-output-tokens", str(TOKENS), "--input-tokens", "20", "--out", name, "--name", "r", "--quiet", "--cost", str(folder / "prices.yaml")]  # fmt: skip
                subprocess.run([*CLI, "run", *words], capture_output=True, check=False)
            stage = json.loads((folder / "r" / "result.json").read_text())["cost"]["stages"][0]
        errors.append(float(stage["per_million_output_tokens"]) / wanted - 1)
        held += float(stage["low"]) <= wanted <= float(stage["high"])
    worst = max(errors, key=abs)
    yield (
        f"{runs} real runs against a simulator of {truth:.0f} tokens/s ({SLOTS} slots): mean error {100 * sum(errors) / runs:+.2f} %, worst {100 * worst:+.2f} %; "
        f"the interval held the truth in {held}."
    )
