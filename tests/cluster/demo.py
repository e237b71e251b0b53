"""`make demo`: from nothing to a number, on a real cluster with a real model; every step says how long it took."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.dashboards.exhibits import prometheus
from tests.dashboards.figures import ask, figures
from tests.support.lab import Lab, condition, run_object, server
from tests.support.ports import free_port

from . import images, layout, provider, release
from .shell import ClusterError

NAMESPACE = "tokenmark-demo"
LLAMA = [
    "--host",
    "0.0.0.0",
    "--port",
    "8080",
    "--parallel",
    "2",
    "--threads",
    "1",
    "--ctx-size",
    "4096",
    "--metrics",
    "--alias",
    "gemma",
]
STAGES = [  # a hundred answers each, so that there is a p95, in less than a minute
    {"name": "c1", "concurrency": 1, "requestCount": 100},
    {"name": "c2", "concurrency": 2, "requestCount": 100},
]

SHOWN = ("stage", "requests", "ttft_microseconds", "tpot_microseconds", "output_tokens_per_second_milli")


@contextmanager
def step(title: str) -> Iterator[None]:
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}", flush=True)
    began = time.monotonic()
    yield
    print(f"  … {time.monotonic() - began:.1f} s", flush=True)


def main() -> int:
    layout.make()
    began = time.monotonic()
    try:
        lab = prepare()
        name = f"gemma-{int(time.time()) % 100_000}"
        with step(f"5. A BenchmarkRun, {name}, against its Service"):
            lab.apply(demo_run(name))
            follow(lab, name)
        show(lab, name)
        compare(lab, name)
        verdict = stood(lab, name)
    except ClusterError as exc:
        print(f"demo: {exc}", file=sys.stderr)
        return 2
    print(f"\nAll of it: {time.monotonic() - began:.0f} s. The cluster stays up; `make cluster-down` removes it.")
    print(
        f"Look around: export KUBECONFIG={lab.cluster.kubeconfig()}; {lab.cluster.kubectl()} -n {NAMESPACE} describe brun"
    )
    print(f"The verdict on the numbers: {verdict}.")
    return 0 if verdict == "valid" else 4


def stood(lab: Lab, name: str) -> str:
    """The verdict, with its reasons said aloud where it is not `valid`: a demo that does not believe its own numbers fails."""
    config_map = lab.get("cm", f"{name}-result") or {}
    packed = config_map.get("binaryData", {}).get("result.json.gz", "")
    found = (
        json.loads(gzip.decompress(base64.b64decode(packed)))["verdict"]
        if packed
        else {"state": "unknown", "reasons": []}
    )
    for reason in found["reasons"]:
        print(f"demo: {reason['code']}: {reason['message']}", file=sys.stderr)
    return str(found["state"])


def prepare() -> Lab:
    """Cluster, images, chart, llama-server."""
    cluster = provider.choose()
    with step(f"1. A cluster ({cluster.name})"):
        cluster.up()
    with step("2. The images"):
        built = images.build_and_load(cluster)
    with step("3. The chart, with Helm"):
        release.install(cluster, built)
    lab = Lab(cluster, built, NAMESPACE)
    with step("4. llama-server with Gemma 3 270M"):
        lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        lab.apply(*server("llama", images.llama_server(cluster), LLAMA, 8080))
        lab.kubectl("rollout", "status", "deploy/llama", "--timeout=180s", timeout_s=200)
    return lab


def demo_run(name: str) -> dict:
    target = {"engine": "llamacpp", "model": "gemma", "serviceRef": {"name": "llama", "port": 8080}}
    workload = {"dataset": {"synthetic": {"inputTokens": {"mean": 16}}}, "maxOutputTokens": 8}
    run = run_object(
        name, target=target, workload=workload, stages=STAGES, warmup={"requestCount": 3, "durationSeconds": 2}
    )
    del run["spec"]["workloadRef"]
    return run


def follow(lab: Lab, name: str) -> None:
    """Prints each change of the conditions until the run has finished."""
    said: dict[str, tuple[str, str]] = {}
    limit = time.monotonic() + 300
    while time.monotonic() < limit:
        run = lab.get("brun", name) or {}
        for found in (run.get("status") or {}).get("conditions", []):
            fact = (found["status"], found["reason"] + ": " + found["message"])
            if said.get(found["type"]) != fact and found["reason"] != "Pending":
                print(f"  {found['type']:<14} {found['status']:<8} {_cut(fact[1], 26)}", flush=True)
            said[found["type"]] = fact
        if condition(run, "Finished")["status"] == "True":
            return
        time.sleep(0.5)
    raise ClusterError(f"the run did not finish within 300 s\n{lab.explain()}")


def _cut(text: str, used: int) -> str:
    """One terminal line of what is left of its width."""
    room = max(40, shutil.get_terminal_size().columns - used)
    return text if len(text) <= room else text[: room - 1] + "…"


def show(lab: Lab, name: str) -> None:
    """What a person looks at afterwards."""
    with step("6. What it found"):
        print(f"\n$ kubectl get brun\n{lab.kubectl('get', 'brun')}")
        config_map = lab.get("cm", f"{name}-result")
        if config_map is None:
            raise ClusterError(f"no result was stored\n{lab.explain()}")
        print(f"$ kubectl get configmap {name}-result -o jsonpath='{{.data.summary\\.json}}'")
        for stage in json.loads(config_map["data"]["summary.json"])["stages"]:
            print(json.dumps({key: stage[key] for key in SHOWN}, indent=1))
        words = [str(lab.cluster.kubectl()), "--kubeconfig", str(lab.cluster.kubeconfig())]
        path = f"/api/v1/namespaces/{release.NAMESPACE}/services/tokenmark-operator:8080/proxy/metrics"
        metrics = subprocess.run([*words, "get", "--raw", path], capture_output=True, text=True, check=False).stdout
        print("\n/metrics of the operator:")
        wanted = [line for line in metrics.splitlines() if f'run="{name}"' in line and "ttft_seconds" in line]
        print("\n".join(wanted[:6]))


def compare(lab: Lab, name: str) -> None:
    """What the dashboard of providers shows of this run, asked of a Prometheus that scrapes the operator."""
    with step("7. What the dashboard `provider comparison` shows of it"), tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        words = [str(lab.cluster.kubectl()), "--kubeconfig", str(lab.cluster.kubeconfig()), "-n", release.NAMESPACE]
        forward = subprocess.Popen(
            [*words, "port-forward", "svc/tokenmark-operator", f"{port}:8080"], stdout=subprocess.DEVNULL
        )
        try:
            with prometheus(Path(scratch), {"tokenmark": (f"127.0.0.1:{port}", "/metrics")}) as url:
                lab.until("Prometheus has the run", lambda: ask(url, f'tokenmark_run_info{{run="{name}"}}'), 30)
                fingerprint = ask(url, f'tokenmark_run_info{{run="{name}"}}')[0]["metric"]["fingerprint"]
                picked = {
                    "run_namespace": NAMESPACE,
                    "fingerprint": fingerprint,
                    "stage": STAGES[-1]["name"],
                    "model": "gemma",
                }
                for panel, value in figures("provider-comparison", url, picked):
                    print(f"  {panel:26} {value}")
        finally:
            forward.terminate()
            forward.wait()


if __name__ == "__main__":
    sys.exit(main())
