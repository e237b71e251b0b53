"""Nodes and pods that exist in the API only: kwok plays their kubelets, so that one machine carries two hundred running runners.

Their logs are one file, read through the API server as any log, to which a writer adds the progress of a runner. Scheduler,
Job controller, API server and operator are the real ones.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tokenmark_schemas.frames import progress_line

from . import pki, processes
from .layout import PKI, STATE
from .provider import Cluster
from .shell import run
from .tools import program

LABEL = {"tokenmark.test/crowd": "true"}
TAINT = {"key": "tokenmark.test/crowd", "value": "true", "effect": "NoSchedule"}
PORT = 10247
PROGRESS_S = 2.0  # as a runner in a pod tells it
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
STAGE = "kwok.x-k8s.io/v1alpha1"
RUNNING = """
{{ $now := Now }}
conditions:
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: Initialized}
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: Ready}
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: ContainersReady}
containerStatuses:
{{ range .spec.containers }}
- {image: {{ .image | Quote }}, imageID: "", name: {{ .name | Quote }}, ready: true, restartCount: 0, state: {running: {startedAt: {{ $now | Quote }}}}}
{{ end }}
phase: Running
startTime: {{ $now | Quote }}
"""
READY = """
{{ $now := Now }}
conditions:
- {lastHeartbeatTime: {{ $now | Quote }}, lastTransitionTime: {{ $now | Quote }}, message: played, reason: KubeletReady, status: "True", type: Ready}
addresses:
- {address: {{ NodeIP | Quote }}, type: InternalIP}
daemonEndpoints: {kubeletEndpoint: {Port: {{ NodePort }}}}
allocatable: {cpu: 1k, memory: 1Ti, ephemeral-storage: 1Ti, pods: 1k}
capacity: {cpu: 1k, memory: 1Ti, ephemeral-storage: 1Ti, pods: 1k}
"""


def _stage(name: str, kind: str, where: list[dict[str, object]], then: dict[str, object]) -> dict[str, object]:
    spec = {"resourceRef": {"apiGroup": "v1", "kind": kind}, "selector": {"matchExpressions": where}, "next": then}
    return {"apiVersion": STAGE, "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _played(log: Path) -> list[dict[str, object]]:
    """What nodes and pods go through, and where their logs are."""
    ready = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    dying = ".metadata.deletionTimestamp"
    logs = {"logs": [{"logsFile": str(log), "follow": True}]}
    return [
        _stage("node-ready", "Node", [{"key": ready, "operator": "NotIn", "values": ["True"]}], {"statusTemplate": READY}),
        _stage("pod-running", "Pod", [
            {"key": dying, "operator": "DoesNotExist"}, {"key": ".status.phase", "operator": "In", "values": ["Pending"]},
        ], {"statusTemplate": RUNNING}),
        _stage("pod-deleted", "Pod", [{"key": dying, "operator": "Exists"}], {"delete": True}),
        {"apiVersion": STAGE, "kind": "ClusterLogs", "metadata": {"name": "all"}, "spec": logs},
    ]  # fmt: skip


@contextmanager
def played_nodes(cluster: Cluster, count: int) -> Iterator[dict[str, object]]:
    """That many nodes for as long as the block lasts; gives what a run's `execution` needs to land on them."""
    folder = STATE / "crowd"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "runner.log"
    log.write_text("")
    config = folder / "kwok.yaml"
    config.write_text("\n---\n".join(json.dumps(document) for document in _played(log)))
    pki.make([("crowd", pki.HOST)])
    allowed = INSTANCES.read_text()
    INSTANCES.write_text("1024")  # kwok watches the file once a log stream
    processes.start("crowd-kwok", [
        program("kwok"), f"--kubeconfig={STATE}/admin.kubeconfig", f"--config={config}", "--cidr=198.18.64.0/18",
        "--manage-nodes-with-label-selector=" + ",".join(f"{k}={v}" for k, v in LABEL.items()), f"--node-ip={pki.HOST}",
        f"--node-port={PORT}", f"--tls-cert-file={PKI}/crowd.crt", f"--tls-private-key-file={PKI}/crowd.key",
        "--node-lease-duration-seconds=40",
    ])  # fmt: skip
    kubectl = [cluster.kubectl(), "--kubeconfig", cluster.kubeconfig()]
    nodes = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"crowd{i}", "labels": {**LABEL, "kubernetes.io/hostname": f"crowd{i}"}},
         "spec": {"taints": [TAINT]}}
        for i in range(count)
    ]  # fmt: skip
    stop = threading.Event()
    writer = threading.Thread(target=_write_progress, args=(log, stop), daemon=True)
    try:
        run([*kubectl, "apply", "-f", "-"], stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
        writer.start()
        yield {"nodeSelector": LABEL, "tolerations": [{**TAINT, "operator": "Equal"}]}
    finally:
        stop.set()
        selector = ",".join(f"{k}={v}" for k, v in LABEL.items())
        run([*kubectl, "delete", "node", "-l", selector, "--wait=false"], check=False)
        time.sleep(2)  # kwok takes the pods of its nodes down before it goes
        processes.stop("crowd-kwok")
        INSTANCES.write_text(allowed)


def _write_progress(log: Path, stop: threading.Event) -> None:
    answers = 0
    with log.open("a") as out:
        while not stop.wait(PROGRESS_S):
            answers += 10
            where = {"phase": "stage", "stage": "r", "repetition": 1, "repetitions": 1}
            line = progress_line({**where, "done": answers, "failed": 0, "in_flight": 1})
            out.write(
                f"{datetime.now(UTC).isoformat().replace('+00:00', 'Z')} stdout F {line}\n"
            )  # as a kubelet keeps it
            out.flush()
