"""`make bench`: what the operator and the runner cost, measured here and now.

First the instrument beside clients in C, as docs/accuracy.md shows it, then the operator. Absolute times are of this
machine; compare them with each other, in one run.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import kubernetes

from tests.cluster import images, layout, provider, release
from tests.rig.__main__ import main as beside_c
from tests.support.lab import Lab, condition, run_object

SAMPLES = 100
IDLE = 500
POLL_S = 0.003
SETTLE_S = 20  # what the deleted runs leave to do is not idleness
CLI = [sys.executable, "-m", "bench_runner"]


def local_run(*flags: str) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Result, first row of the request log, and the clock before the process started."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic_ns()
        words = [*CLI, "run", "--out", folder, "--name", "t", "--quiet", "--model", "sim", *flags]
        subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rows = gzip.decompress((Path(folder) / "t" / "requests.jsonl.gz").read_bytes()).splitlines()
        return json.loads((Path(folder) / "t" / "result.json").read_text()), json.loads(rows[0]), began


def cold_start_s() -> list[float]:
    """Process start to the first request handed to the kernel, against a server that already runs."""
    server = subprocess.Popen([*CLI, "sim", "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        url = server.stderr.readline().split()[3].rstrip(",")
        found = []
        for _ in range(10):
            _, row_, began = local_run(
                "--target", url, "--warmup-requests", "0", "--concurrency", "1", "--requests", "2"
            )
            found.append((row_["sent_ns"] - began) / 1e9)
        return found
    finally:
        server.terminate()
        server.wait()
        server.stderr.close()


class Reactions:
    """CR created to its Job readable, one after the other, over one kept connection to the API server."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        client = kubernetes.config.new_client_from_config(str(lab.cluster.kubeconfig()))
        self._runs, self._jobs = kubernetes.client.CustomObjectsApi(client), kubernetes.client.BatchV1Api(client)

    def measure(self, label: str) -> list[float]:
        return [self._one(f"{label}-{i}") for i in range(SAMPLES)]

    def _one(self, name: str) -> float:
        place = ("tokenmark.dev", "v1alpha1", self._lab.namespace, "benchmarkruns")
        nowhere = {**run_object(name)["spec"]["execution"], "nodeSelector": {"no.such": "node"}}
        target = {"model": "sim", "endpoint": {"url": f"http://{name}.example:9"}}
        body = run_object(name, target=target, execution=nowhere)
        self._runs.create_namespaced_custom_object(*place, body)
        began = time.monotonic()
        while not self._exists(f"{name}-a1"):
            if time.monotonic() - began > 30:
                raise AssertionError(self._lab.explain())
            time.sleep(POLL_S)
        took = time.monotonic() - began
        self._runs.delete_namespaced_custom_object(*place, name)
        return took

    def _exists(self, job: str) -> bool:
        try:
            self._jobs.read_namespaced_job(job, self._lab.namespace)
        except kubernetes.client.ApiException as exc:
            if exc.status == 404:
                return False
            raise
        return True


def idle_runs(lab: Lab, count: int) -> None:
    """Suspended runs: they exist, and ask for nothing."""
    for start in range(0, count, 100):
        lab.apply(*[run_object(f"idle-{i}", suspend=True) for i in range(start, start + 100)])
    lab.until("the idle runs are accepted", lambda: _accepted(lab) >= count, 120)


def _accepted(lab: Lab) -> int:
    return sum(condition(run, "Accepted")["status"] == "True" for run in lab.items("brun"))


def pod_start_s(lab: Lab) -> list[float]:
    """Job seen to the first request sent, on nodes that share this machine's clock; warm-up off."""
    lab.simulator()
    found = []
    for i in range(5):
        stages = [{"name": "c1", "concurrency": 1, "requestCount": 2}]
        lab.apply(run_object(f"start-{i}", stages=stages, warmup={"requestCount": 0, "durationSeconds": 0}))
        lab.until("the Job", lambda i=i: lab.get("job", f"start-{i}-a1"))
        seen = time.monotonic_ns()
        lab.finished(f"start-{i}")
        data = (lab.get("cm", f"start-{i}-result") or {})["binaryData"]["requests.jsonl.gz"]
        first = json.loads(gzip.decompress(base64.b64decode(data)).splitlines()[0])
        found.append((first["sent_ns"] - seen) / 1e9)
    return found


def operator_footprint() -> tuple[float, float]:
    """RSS in MiB, and CPU in cores over a minute, one resync included."""
    pid = next(
        int(p.name) for p in Path("/proc").iterdir()
        if p.name.isdigit() and b"tokenmark_operator.main" in _read(p / "cmdline")
    )  # fmt: skip
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    rss_kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    before = _cpu_ticks(pid)
    time.sleep(60)
    return rss_kib / 1024, (_cpu_ticks(pid) - before) / 100 / 60


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def row(name: str, value: str, goal: str = "") -> None:
    print(f"{name:<52} {value:>22}  {goal}".rstrip(), flush=True)


def spread(values: list[float]) -> str:
    """Median, and p99 (the worst where there are fewer than 100)."""
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2]:.3f} / {ordered[math.ceil(0.99 * len(ordered)) - 1]:.3f} s"


def instrument() -> None:
    """What the runner costs and how far it may be wrong, beside a simulator on the same machine."""
    row("tokenmark run, start to first request: p50 / worst", spread(cold_start_s()), "goal < 0.5 s")
    for streams in (1, 64, 256):
        result, _, _ = local_run("--target", "sim", "--concurrency", str(streams), "--duration", "5")
        client = result["stages"][0]["client"]
        row(f"client CPU a token, {streams} streams", f"{client['cpu_us_per_token']:.1f} µs")
        lag = client["read_lag"]
        row(f"read lag, {streams} streams: p50 / p99", f"{lag['p50'] * 1e3:.2f} / {lag['p99'] * 1e3:.2f} ms")


def main() -> int:
    layout.make()
    beside_c()
    print()
    instrument()
    cluster = provider.choose()
    cluster.up()
    built = images.build_and_load(cluster)
    for name, size in images.sizes_mb(built).items():
        row(f"image {name}", f"{size} MB")
    release.install(cluster, built)
    lab = Lab(cluster, built, f"bench-{uuid.uuid4().hex[:6]}")
    lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": lab.namespace}})
    try:
        reactions = Reactions(lab)
        row("CR created to Job, 1 run: p50 / p99", spread(reactions.measure("alone")))
        idle_runs(lab, IDLE)
        row(f"CR created to Job, {IDLE} runs: p50 / p99", spread(reactions.measure("crowd")), "goal p99 < 1 s")
        if cluster.name == "embedded":
            time.sleep(SETTLE_S)
            rss, cores = operator_footprint()
            row(f"operator at {IDLE} idle runs", f"{rss:.0f} MiB, {cores:.3f} cores")
            row("Job to first request of its pod: p50 / worst", spread(pod_start_s(lab)))
    finally:
        lab.kubectl("delete", "ns", lab.namespace, "--wait=false")
    return 0


if __name__ == "__main__":
    sys.exit(main())
