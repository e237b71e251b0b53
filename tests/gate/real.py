"""Pairs of real runs against the simulator: the command line, the load, the log and the comparison as a person has them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.serving import simulated

CLI = [sys.executable, "-m", "bench_runner"]
GATES = ("ttft:p50=1.5%", "tpot:p50=1.5%")
SCENARIO = "ttft_ms: {ttft}\nttft_jitter_ms: 6\nitl_ms: {itl}\njitter_ms: 0.5\n"


RUN = {
    "apiVersion": "tokenmark.dev/v1alpha1", "kind": "BenchmarkRun", "metadata": {"name": "run"},
    "spec": {
        "target": {"engine": "openai", "model": "sim", "endpoint": {"url": "http://127.0.0.1:1"}},
        "workload": {"dataset": {"synthetic": {"inputTokens": {"mean": 20}, "seed": 7}}, "maxOutputTokens": 16},
        "warmup": {"requestCount": 48, "durationSeconds": 0},
        "stages": [{"name": "c24", "concurrency": 24, "requestCount": 600}],
        "repetitions": 3,
    },
}  # fmt: skip


def real_pairs(pairs: int) -> Iterator[str]:
    """The table's lines."""
    yield "| pairs of real runs | gate | passed | regressed | inconclusive | refused |"
    yield "|---|---|---:|---:|---:|---:|"
    for title, slower in (("one server, twice", 1.0), ("3 % slower, first token and gaps", 1.03)):
        found: dict[str, Counter[str]] = {gate: Counter() for gate in GATES}
        for number in range(pairs):
            with tempfile.TemporaryDirectory() as folder:
                for gate, outcome in outcomes(Path(folder), slower, number).items():
                    found[gate][outcome] += 1
            print(title, number, {gate: dict(counts) for gate, counts in found.items()}, file=sys.stderr, flush=True)
        for gate, counts in found.items():
            cells = (counts[word] for word in ("passed", "regressed", "inconclusive", "refused"))
            yield f"| {title} | `{gate}` | " + " | ".join(map(str, cells)) + " |"


def outcomes(folder: Path, slower: float, seed: int) -> dict[str, str]:
    (folder / "run.yaml").write_text(json.dumps(RUN))
    for place, (name, factor) in enumerate((("old", 1.0), ("new", slower))):
        with server(folder, factor, 2 * seed + place) as url:  # its chance is not the same twice
            words = [str(folder / "run.yaml"), "--target", url, "--out", str(folder), "--name", name, "--quiet"]
            subprocess.run([*CLI, "run", *words], capture_output=True, check=False)
    return {gate: compared(folder, gate) for gate in GATES}


def compared(folder: Path, gate: str) -> str:
    words = [*CLI, "compare", str(folder / "old"), str(folder / "new"), "--gate", gate, "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return "refused" if done.returncode == 2 else str(json.loads(done.stdout)["result"])


@contextmanager
def server(folder: Path, factor: float, seed: int) -> Iterator[str]:
    scenario = folder / "scenario.yaml"
    # the mean of what is added at random is slower too
    scenario.write_text(SCENARIO.format(ttft=23 * factor - 3, itl=2 * factor) + f"seed: {seed + 1}\n")
    with simulated("--scenario", str(scenario)) as url:
        yield url
