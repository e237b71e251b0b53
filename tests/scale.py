"""The operator at scale: `python -m tests.scale`, on the embedded cluster. About ten minutes.

Thousands of finished runs are plain objects with the status that a run leaves behind; hundreds of running ones have Jobs, pods
and logs like any, on nodes whose kubelets are played. What is printed: memory, time to be ready again after a restart, CR to
Job, requests to the API server.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
import uuid
from typing import Any

from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config

from tests.bench import Reactions, operator_footprint, row, spread
from tests.cluster import crowd, images, layout, provider, release
from tests.support.lab import Lab, run_object

FINISHED, RUNNING, NODES, AT_ONCE = 5000, 200, 20, 16
WATCHED_S = 120


def leave_behind(name: str) -> dict[str, Any]:
    """The status of a run of two stages that finished long ago."""
    at = "2030-01-01T00:00:00Z"
    conditions = [
        {"type": kind, "status": "True", "reason": "Completed", "message": "2 stages, 200 requests, verdict valid",
         "lastTransitionTime": at, "observedGeneration": 1}
        for kind in ("Accepted", "Admitted", "ResultsStored", "Valid", "ObjectivesMet", "Finished", "Succeeded")
    ]  # fmt: skip
    quantiles = {"p50": 20000, "p90": 21000, "p95": 22000, "p99": 23000}
    stages = [
        {"stage": stage, "requests": 100, "failed": 0, "ttftMicroseconds": quantiles, "tpotMicroseconds": quantiles,
         "itlMicroseconds": quantiles, "e2eMicroseconds": quantiles, "outputTokensPerSecondMilli": 1000}
        for stage in ("c1", "c2")
    ]  # fmt: skip
    attempts = [{"number": 1, "jobName": f"{name}-a1", "state": "Succeeded", "reason": "Completed", "node": "node1",
                 "startedAt": at, "endedAt": at, "podUid": str(uuid.uuid4()), "jobUid": str(uuid.uuid4())}]  # fmt: skip
    return {"conditions": conditions, "attempts": attempts, "summary": stages, "completionTime": at, "startTime": at,
            "observedGeneration": 1, "fingerprint": "f" * 64, "workloadHash": "w" * 64, "workloadName": "smoke"}  # fmt: skip


async def finished_runs(lab: Lab, count: int) -> None:
    """Created suspended, so that nobody starts them, then given their past."""
    await aio_config.load_kube_config(str(lab.cluster.kubeconfig()))
    async with aio_client.ApiClient() as api:
        runs = aio_client.CustomObjectsApi(api)
        place = ("tokenmark.dev", "v1alpha1", lab.namespace, "benchmarkruns")
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            name = f"past-{number}"
            async with gate:
                await runs.create_namespaced_custom_object(*place, run_object(name, suspend=True))
                await runs.patch_namespaced_custom_object_status(
                    *place, name, {"status": leave_behind(name)}, _content_type="application/merge-patch+json"
                )

        await asyncio.gather(*(one(number) for number in range(count)))


def api_requests(lab: Lab) -> float:
    words = [str(lab.cluster.kubectl()), "--kubeconfig", str(lab.cluster.kubeconfig())]
    path = f"/api/v1/namespaces/{release.NAMESPACE}/services/tokenmark-operator:8080/proxy/metrics"
    page = subprocess.run([*words, "get", "--raw", path], capture_output=True, text=True, check=True).stdout
    return sum(
        float(v) for v in re.findall(r"^tokenmark_operator_api_requests_total\{[^}]*\} (\S+)$", page, re.MULTILINE)
    )


def restarted_s(lab: Lab) -> float:
    """From the end of the old operator's pod to the new one being Ready, less what its image takes to start."""
    lab.kubectl("-n", release.NAMESPACE, "delete", "pod", "-l", "app.kubernetes.io/component=operator", "--wait=true")
    began = time.monotonic()
    lab.kubectl(
        "-n", release.NAMESPACE, "rollout", "status", "deploy/tokenmark-operator", "--timeout=180s", timeout_s=200
    )
    return time.monotonic() - began


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was made goes, however it ends
    layout.make()
    cluster = provider.choose()
    cluster.up()
    built = images.build_and_load(cluster)
    release.install(cluster, built)
    lab = Lab(cluster, built, f"scale-{uuid.uuid4().hex[:6]}")
    lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": lab.namespace}})
    try:
        began = time.monotonic()
        asyncio.run(finished_runs(lab, FINISHED))
        row(f"{FINISHED} finished runs made", f"{time.monotonic() - began:.0f} s")
        row("operator ready again after a restart", f"{restarted_s(lab):.1f} s", "goal 15 s")
        time.sleep(70)
        rss, cores = operator_footprint()
        row(f"operator at {FINISHED} finished runs", f"{rss:.0f} MiB, {cores:.3f} cores", "goal 250 MiB")
        row(f"CR created to Job, {FINISHED} runs: p50 / p99", spread(Reactions(lab).measure("crowd")), "goal p99 < 1 s")
        with crowd.played_nodes(cluster, NODES) as there:
            running_at_once(lab, there)
    finally:
        lab.kubectl("delete", "ns", lab.namespace, "--wait=false")
    return 0


def running_at_once(lab: Lab, there: dict[str, Any]) -> None:
    """Every one alone on its target, so that all of them run."""
    lab.simulator()
    slow = [{"name": "r", "requestRate": "1", "durationSeconds": 1200}]
    began = time.monotonic()
    lab.apply(*(
        run_object(f"busy-{number}", execution=there, exclusivity={"policy": "Queue", "group": f"g{number}"}, stages=slow)
        for number in range(RUNNING)
    ))  # fmt: skip
    lab.until("all of them run", lambda: _running(lab) == RUNNING, 300)
    row(f"{RUNNING} runs created to all of them telling progress", f"{time.monotonic() - began:.0f} s")
    before = api_requests(lab)
    time.sleep(WATCHED_S)
    row(
        f"requests to the API server, {RUNNING} running",
        f"{(api_requests(lab) - before) / WATCHED_S:.1f} /s",
        "goal 40 /s",
    )
    row(f"CR created to Job, {RUNNING} running: p50 / p99", spread(Reactions(lab).measure("beside")), "goal p99 < 1 s")
    rss, cores = operator_footprint()
    row(f"operator at {RUNNING} running runs", f"{rss:.0f} MiB, {cores:.3f} cores", "goal 250 MiB")


def _running(lab: Lab) -> int:
    return sum(
        "stage" in (run.get("status") or {}).get("progress", "")
        for run in lab.items("brun")
        if "busy" in run["metadata"]["name"]
    )


if __name__ == "__main__":
    sys.exit(main())
