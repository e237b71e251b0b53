"""BenchmarkRun and nodes -> the NetProbe that it has made for itself: one node's way to the nodes behind the target (pure).

The probe says from where, and the runner follows: its pod is bound to the node whose way was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenmark_decisions.network_path import before_a_run
from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.kube import API_VERSION, Toleration

from . import names
from .netprobe_pairs import Node, is_open, lot

MOST_TARGETS = 4


@dataclass(frozen=True)
class Unmeasurable:
    """Why no probe can be made."""

    why: str


def plan_network_probe(
    run: BenchmarkRun, nodes: list[Node] | None, target_nodes: frozenset[str], url: str, group: dict[str, Any]
) -> dict[str, Any] | Unmeasurable:
    """`group` is the environment that it is told. The source is not the target's own node where there is another."""
    if nodes is None:
        return Unmeasurable("the operator may not list nodes; install it with rbac.nodes=true")
    execution, known = run.spec.execution, {node["metadata"]["name"]: node for node in nodes}
    tolerations = list(execution.tolerations or [])
    usable = [node for node in nodes if is_open(node, execution.node_selector or {}, tolerations)]
    if not usable:
        return Unmeasurable("no Ready node is open to the runner")
    targets = [known[name] for name in sorted(target_nodes) if name in known][:MOST_TARGETS]
    allowed = [*tolerations, *[t for node in targets for t in _tolerating(node) if t not in tolerations]][:16]
    if shut := [node["metadata"]["name"] for node in targets if not is_open(node, {}, allowed)]:
        return Unmeasurable(f"no agent can be placed on node {', '.join(shut)}, which the target runs on")
    source = min(usable, key=lambda node: (node in targets, lot(run.spec.seed, node["metadata"]["name"])))
    asked = run.spec.network
    placement = {
        "sourceNode": source["metadata"]["name"], "targetNodes": [node["metadata"]["name"] for node in targets],
        "tolerations": [t.camel() for t in allowed],
    }  # fmt: skip
    return {
        "apiVersion": API_VERSION,
        "kind": "NetProbe",
        "metadata": {
            "name": names.network_probe_name(run.metadata.name, run.metadata.uid),
            "labels": names.labels("BenchmarkRun", run.metadata),
            "ownerReferences": [names.owner("BenchmarkRun", run.metadata)],
        },
        "spec": {
            "tests": [test.camel() for test in before_a_run(placement["targetNodes"][0] if targets else None, url)],
            "placement": {key: value for key, value in placement.items() if value},
            "repetitions": asked.repetitions if asked else 6,
            "environment": group,
        },
    }


def _tolerating(node: Node) -> list[Toleration]:
    """What an agent needs to be where the target is: nodes of accelerators are tainted for everybody else."""
    taints = [taint for taint in node.get("spec", {}).get("taints") or [] if "node.kubernetes.io/" not in taint["key"]]
    return [
        Toleration(key=taint["key"], operator="Equal", value=taint.get("value") or "", effect=taint["effect"])
        for taint in taints
    ]
