"""What the dashboards are shown with: real runs on three providers' simulators, the pages of a vLLM and of a RAG backend under
load, probes and GPUs in the shapes that their sources have, all of it scraped by a real Prometheus.

The operator's page is its own projection over objects whose status its own code wrote from those results.
"""

from __future__ import annotations

import http.server
import json
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest

from bench_runner.sim.beside import simulator_beside
from bench_runner.sim.scenario import Scenario
from netprobe.standing import Series
from tests.cluster.shell import wait_for
from tests.cluster.tools import debian_packages
from tests.support import probes
from tests.support.builders import a_run
from tests.support.ports import free_port
from tests.support.scrape import exposed
from tests.support.serving import in_thread
from tokenmark_decisions.comparison import Gate, Rules, compare
from tokenmark_operator.core.counters import Counters
from tokenmark_operator.results import baseline
from tokenmark_operator.results.config_map import cost_summary, objective_outcomes, summarise, valid_condition
from tokenmark_operator.results.probe_results import summarised
from tokenmark_schemas.benchmarkrun import BaselineRef
from tokenmark_schemas.probe_result import Flow, Throughput
from tokenmark_schemas.probe_status import PairStatus
from tokenmark_schemas.result import RunResult

PROVIDERS = {"aws": (24.0, 6.0), "azure": (18.0, 7.5), "gcp": (30.0, 5.0)}  # TTFT and ITL in ms
REGIONS = {"aws": "eu-central-1", "azure": "westeurope", "gcp": "europe-west4"}
# what is picked, where the first choice would not show it all
LOOKS = {
    "run": {"run": "chat-aws-1-4-16"},
    "run-against-baseline": {"run": "chat-azure-1-4-16", "baseline": "chat-aws-1-4-16"},
}
LIMIT = {"metric": "ttft", "statistic": "p95", "maxMilliseconds": 60}


@dataclass
class Stand:
    """Objects whose metrics are shown, and what running ones say."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    progress: dict[str, dict[str, Any]] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)

    def page(self) -> str:
        """As an operator that works a little between two looks."""
        for kind in ("BenchmarkRun", "NetProbe"):
            with self.counters.reconcile(kind):
                self.counters.queue_wait_s.labels(kind).observe(0.002)
        return exposed(*self.objects, progress=self.progress, counters=self.counters)


def _prices(folder: Path) -> Path:
    """Of a made-up price list."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "prices.yaml"
    hours = {"aws": "4.10", "azure": "3.70", "gcp": "3.20"}
    rows = [
        {"provider": name, "onDemandPerHour": hour, "source": "made up", "dated": "2030-01-01", "example": True}
        for name, hour in hours.items()
    ]
    path.write_text(json.dumps({"schemaVersion": "cost/v1", "name": "exhibition", "prices": rows}))
    return path


def measured(folder: Path, provider: str, url: str, *, concurrency: str = "4,16", seed: int = 1) -> RunResult:
    """A real run against a simulator, as a provider's."""
    words = [
        "run", "--target", url, "--model", "llama-8b", "--engine", "vllm", "--concurrency", concurrency, "--requests", "40", "--repetitions", "3", "--provider", provider,
        "--max-output-tokens", "32", "--input-tokens", "64", "--seed", str(seed), "--objective", "ttft:p95<=60ms", "--quiet", "--out", str(folder), "--cost", str(_prices(folder)), "--name", f"chat-{provider}-{seed}-{concurrency.replace(',', '-')}",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "bench_runner", *words, "--format", "json"], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 3, 4), done.stderr
    return RunResult.model_validate_json(done.stdout)


def as_object(
    result: RunResult, provider: str, *, ended: datetime, valid: str | None = None, network: int | None = None
) -> dict[str, Any]:
    """The BenchmarkRun that an operator would have left. `valid` names the reason of a verdict that does not stand."""
    target = {"engine": "vllm", "model": "llama-8b", "serviceRef": {"name": "vllm", "port": 8000}}
    run = a_run(result.run.name, target=target, objectives=[LIMIT])
    status, reason, message = valid_condition(result)
    if valid is None and status == "False":
        status, reason = "True", "Valid"  # a shared machine may disturb what is only shown here
    said = {
        "Valid": ("False", valid) if valid else (status, reason),
        "Succeeded": ("True", "Completed"),
        "Finished": ("True", "Completed"),
        "ResultsStored": ("True", "Stored"),
    }
    summary = [stage.camel() for stage in summarise(result)]
    for stage in summary if network is not None else []:
        stage["networkTtftPerMille"] = network
    run["metadata"]["creationTimestamp"] = stamp(ended - timedelta(seconds=50))
    run["status"] = {
        "conditions": [{"type": kind, "status": s, "reason": r, "message": message} for kind, (s, r) in said.items()],
        "startTime": stamp(ended - timedelta(seconds=44)), "completionTime": stamp(ended),
        "environment": {"provider": provider, "region": REGIONS[provider], "cluster_label": f"{provider}-1", "node_instance_type": "gpu-8", "gpu_model": "H100", "gpu_count": "1" if provider != "gcp" else "2"},
        "cost": spent.camel() if (spent := cost_summary(result)) else None,
        "summary": summary, "objectives": [o.camel() for o in objective_outcomes(result)],
        "workloadName": result.provenance.workload.name, "workloadHash": result.provenance.workload.hash, "fingerprint": result.provenance.fingerprint,
    }  # fmt: skip
    return run


def stamp(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def under_way(name: str, provider: str) -> dict[str, Any]:
    """A run in the middle of its load."""
    target = {"engine": "vllm", "model": "llama-8b", "serviceRef": {"name": "vllm", "port": 8000}}
    run = a_run(name, target=target, environment={"provider": provider})
    run["status"] = {
        "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running", "message": ""}],
        "attempts": [{"number": 1, "jobName": f"{name}-a1", "podUID": f"pod-{name}", "state": "Running"}],
    }
    return run


def a_mesh(name: str = "east-west", nodes: Sequence[str] = ("node-a", "node-b", "node-c")) -> dict[str, Any]:
    """A probe over every pair: round trips, new connections, loss, throughput."""
    rng, found = random.Random(7), []
    pairs = [(a, b) for a in nodes for b in nodes if a != b]
    for index, (source, target) in enumerate(pairs):
        base = 60_000 + rng.randrange(240_000)
        rate = Flow(bits_per_second=(6 + index) * 10**9, retransmits=index * 3)
        flow = Throughput(forward=rate, client_cpu_percent=40.0, server_cpu_percent=35.0, streams=1, protocol="TCP")
        of_pair = [
            *[probes.a_measurement("rtt", i, rtt=probes.times(base + i * 900)) for i in range(6)],
            *[probes.a_measurement("connect", i, type="TCPConnect", connect=probes.times(base * 2 + i * 900)) for i in range(6)],
            *[probes.a_measurement("bw", i, type="Throughput", throughput=flow) for i in range(6)],
        ]  # fmt: skip
        result = probes.a_probe_result(measurements=of_pair).model_copy(
            update={"source_node": source, "target_node": target}
        )
        found.append((PairStatus(index=index + 1, source_node=source, target_node=target), result))
    probe = probes.a_probe(name)
    probe["status"] = {
        "conditions": [
            {"type": t, "status": "True", "reason": r, "message": ""}
            for t, r in (("Valid", "Valid"), ("Succeeded", "Completed"), ("Finished", "Completed"))
        ],
        **summarised(found),
    }
    return probe


def gpus() -> str:
    """Two GPUs as a DCGM exporter tells of them."""
    rng, lines = random.Random(time.time()), []
    for name, low, high in (
        ("DCGM_FI_DEV_GPU_UTIL", 60, 98), ("DCGM_FI_DEV_FB_USED", 60_000, 61_000), ("DCGM_FI_DEV_FB_FREE", 19_000, 20_000), ("DCGM_FI_DEV_POWER_USAGE", 400, 680),
        ("DCGM_FI_DEV_GPU_TEMP", 55, 70), ("DCGM_FI_DEV_SM_CLOCK", 1700, 1980), ("DCGM_FI_DEV_XID_ERRORS", 0, 0), ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", 0.3, 0.6),
        ("DCGM_FI_PROF_DRAM_ACTIVE", 0.4, 0.8), ("DCGM_FI_DEV_MEM_COPY_UTIL", 20, 60),
    ):  # fmt: skip
        for gpu in ("0", "1"):
            lines.append(
                f'{name}{{gpu="{gpu}",UUID="GPU-{gpu}",modelName="NVIDIA H100 80GB HBM3",Hostname="gpu-node-1"}} {rng.uniform(low, high):.3f}'
            )
    return "\n".join(lines) + "\n"


class Standing:
    """A standing agent's own series, as if it had pinged two peers."""

    def __init__(self) -> None:
        self._series, self._rng = Series("node-a"), random.Random(3)

    def page(self) -> str:
        for target in ("node-b", "node-c"):
            self._series.rtt.labels("node-a", target).observe(self._rng.uniform(8e-5, 3e-4))
        return generate_latest(self._series.registry).decode()


@contextmanager
def pages(routes: Mapping[str, Any]) -> Iterator[int]:
    """Text pages by path, made when asked for; the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = routes[self.path]().encode() if self.path in routes else b""
            self.send_response(200 if self.path in routes else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, in_thread(server):
        yield server.server_address[1]


OWN_FOLDER = ("--config.file=prometheus.yml", "--storage.tsdb.path=data")


@contextmanager
def prometheus(
    folder: Path, targets: Mapping[str, tuple[str, str]], external: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A Prometheus that scrapes every second; `targets` are job -> (address, path). Its address."""
    jobs = [
        {"job_name": job, "metrics_path": path, "static_configs": [{"targets": [address]}]}
        for job, (address, path) in targets.items()
    ]
    config = {"global": {"scrape_interval": "1s", "external_labels": dict(external or {})}, "scrape_configs": jobs}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(json.dumps(config))
    with serving(folder) as address:
        yield address


@contextmanager
def serving(folder: Path, settings: Sequence[str] = OWN_FOLDER) -> Iterator[str]:
    """Debian's Prometheus with the folder's prometheus.yml (or other settings), once it is ready; its address."""
    if shutil.which("prometheus") is None:
        debian_packages()
    port = free_port()
    words = ["prometheus", *settings, f"--web.listen-address=127.0.0.1:{port}", "--web.cors.origin=.*"]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("Prometheus is ready", lambda: _ready(port), 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def backend() -> Iterator[str]:
    """A simulator with a RAG backend's steps, under a load that stays."""
    scenario = Scenario(
        model="llama-8b", ttft_ms=20, ttft_jitter_ms=30, itl_ms=5, jitter_ms=2, slots=6, embedding_ms=6, retrieval_ms=22
    )
    with simulator_beside(scenario) as url:
        words = [
            "run",
            "--target",
            url,
            "--model",
            "llama-8b",
            "--concurrency",
            "8",
            "--duration",
            "600",
            "--quiet",
            "--out",
            "/tmp/tokenmark-exhibit",
        ]
        load = subprocess.Popen(
            [sys.executable, "-m", "bench_runner", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield url
        finally:
            load.kill()
            load.wait()


def three_providers(folder: Path) -> list[dict[str, Any]]:
    """Two runs of each provider, one of other work, one whose verdict does not stand."""
    now, found, first = datetime.now(UTC), [], None
    for at, (provider, (ttft_ms, itl_ms)) in enumerate(PROVIDERS.items()):
        with simulator_beside(Scenario(model="llama-8b", ttft_ms=ttft_ms, ttft_jitter_ms=8, itl_ms=itl_ms)) as url:
            result = measured(folder, provider, url)
            found.append(
                as_object(
                    result,
                    provider,
                    ended=now - timedelta(minutes=9 - at),
                    network=None if provider == "gcp" else 40 + 30 * at,
                )
            )
            if provider == "azure" and first is not None:
                against(found[-1], first, result)
            if provider == "aws":
                first = result
                other = measured(folder, provider, url, concurrency="8")
                found.append(as_object(other, provider, ended=now - timedelta(minutes=8, seconds=40)))
                disturbed = result.model_copy(
                    update={"run": result.run.model_copy(update={"name": "chat-aws-disturbed"})}
                )
                found.append(
                    as_object(disturbed, provider, ended=now - timedelta(minutes=8, seconds=20), valid="ReadLag")
                )
    return found


def against(run: dict[str, Any], before: RunResult, result: RunResult) -> None:
    """What the operator says of a run with a baseline."""
    ref = BaselineRef(name=before.run.name)
    found = compare(before, result, Rules(gates=[Gate("ttft", "p50"), Gate("tpot", "p50")]))
    status, reason, message = baseline.condition(ref, found)
    run["status"]["comparison"] = [line.camel() for line in baseline.lines(found)]
    run["status"]["conditions"].append({"type": "NotRegressed", "status": status, "reason": reason, "message": message})


@contextmanager
def exhibition(folder: Path) -> Iterator[tuple[Stand, str]]:
    """Everything, and the address of a Prometheus that has scraped it for a while."""
    stand = Stand([*three_providers(folder / "runs"), under_way("chat-live", "aws"), a_mesh()])
    stand.progress["pod-chat-live"] = {
        "phase": "c8",
        "stage": "c8",
        "in_flight": 8,
        "done": 220,
        "failed": 1,
        "tokens_per_s": 1240.0,
        "eta_s": 41.0,
    }
    with ExitStack() as open_:
        url = open_.enter_context(backend())
        port = open_.enter_context(pages({"/operator": stand.page, "/gpus": gpus, "/mesh": Standing().page}))
        here, sim = f"127.0.0.1:{port}", url.removeprefix("http://")
        targets = {
            "tokenmark": (here, "/operator"), "vllm": (sim, "/metrics"), "rag": (sim, "/metrics/rag"), "dcgm": (here, "/gpus"),
            "mesh": (here, "/mesh"),
        }  # fmt: skip
        yield stand, open_.enter_context(prometheus(folder / "prometheus", targets))
