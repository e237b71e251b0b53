"""`make bench`: what the operator and the runner cost, measured here and now.

Absolute times are of this machine; compare them with each other, in one run. The instrument's own accuracy is in
`tests/accuracy`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tests.cluster import images, layout, provider, release
from tests.support.lab import Lab, condition, run_object

RUNS = 20
IDLE = 500
CLI = [sys.executable, "-m", "bench_runner"]


def cold_start_s() -> list[float]:
    """Process start to the first request handed to the kernel, from the request log's own clock."""
    found = []
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic_ns()
            words = [*CLI, "run", "--target", "sim", "--out", folder, "--name", "t", "--quiet", "--warmup-requests", "0",
                     "--concurrency", "1", "--requests", "3"]  # fmt: skip
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            import gzip

            first = gzip.decompress((Path(folder) / "t" / "requests.jsonl.gz").read_bytes()).splitlines()[0]
            found.append((json.loads(first)["sent_ns"] - began) / 1e9)
    return found


def reaction_s(lab: Lab, count: int, label: str) -> list[float]:
    """CR applied (the answer of the API server) to its Job existing, one after the other."""
    found = []
    for i in range(count):
        name = f"{label}-{i}"
        lab.apply(
            run_object(
                name,
                exclusivity={"policy": "Allow"},
                target={"model": "sim", "endpoint": {"url": "http://127.0.0.1:9"}},
            )
        )
        began = time.monotonic()
        while not lab.try_kubectl("get", "job", f"{name}-a1", "-o", "name").stdout:
            if time.monotonic() - began > 30:
                raise AssertionError(lab.explain())
        found.append(time.monotonic() - began)
        lab.try_kubectl("delete", "brun", name, "--wait=false")
    return found


def idle_runs(lab: Lab, count: int) -> None:
    """Suspended runs: they exist, and ask for nothing."""
    for start in range(0, count, 100):
        lab.apply(*[run_object(f"idle-{i}", suspend=True) for i in range(start, start + 100)])
    lab.until("the idle runs are accepted", lambda: _accepted(lab) >= count, 120)


def _accepted(lab: Lab) -> int:
    return sum(condition(run, "Accepted")["status"] == "True" for run in lab.items("brun"))


def operator_footprint() -> tuple[float, float]:
    """RSS in MiB, and CPU in cores over ten seconds."""
    pid = next(
        int(p.name) for p in Path("/proc").iterdir()
        if p.name.isdigit() and b"tokenmark_operator.main" in _read(p / "cmdline")
    )  # fmt: skip
    rss = next(
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    before = _cpu_ticks(pid)
    time.sleep(10)
    return rss / 1024, (_cpu_ticks(pid) - before) / 100 / 10


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def row(name: str, value: str, goal: str = "") -> None:
    print(f"{name:<58} {value:>18}  {goal}", flush=True)


def quantiles(values: list[float]) -> str:
    ordered = sorted(values)
    return f"{statistics.median(ordered):.3f} / {ordered[-1]:.3f} s"


def main() -> int:
    layout.make()
    row("tokenmark run: start to first request, median / worst", quantiles(cold_start_s()), "goal < 0.5 s")
    cluster = provider.choose()
    cluster.up()
    built = images.build_and_load(cluster)
    release.install(cluster, built)
    lab = Lab(cluster, built, f"bench-{uuid.uuid4().hex[:6]}")
    lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": lab.namespace}})
    try:
        row(
            f"CR applied to Job seen, 1 run, median / worst of {RUNS}",
            quantiles(reaction_s(lab, RUNS, "alone")),
            "kubectl included",
        )
        idle_runs(lab, IDLE)
        row(
            f"CR applied to Job seen, {IDLE} runs, median / worst of {RUNS}",
            quantiles(reaction_s(lab, RUNS, "crowd")),
            "goal p99 < 1 s",
        )
        if cluster.name == "embedded":
            rss, cores = operator_footprint()
            row(f"operator at {IDLE} idle runs", f"{rss:.0f} MiB, {cores:.3f} cores")
    finally:
        lab.kubectl("delete", "ns", lab.namespace, "--wait=false")
    return 0


if __name__ == "__main__":
    sys.exit(main())
