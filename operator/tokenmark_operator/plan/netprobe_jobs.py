"""NetProbe -> the pairs to measure, and the Jobs of one pair (pure)."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

from tokenmark_schemas.netprobe import NetProbe, NetProbeSpec, PairStatus, ProbeConfig

from ..settings import Settings
from . import names
from .pod import CONFIG_PATH, job, on_node, pod_template

MARGIN_S = 60
BETWEEN_S = 8
MAX_PAIRS = 128


def probe_seconds(spec: NetProbeSpec) -> int:
    """How long one pair takes, as an upper estimate."""
    once = sum(test.seconds + max(test.warmup_seconds, test.omitted_seconds) + BETWEEN_S for test in spec.tests)
    return spec.repetitions * once + 2 * MARGIN_S


def choose_pairs(spec: NetProbeSpec, nodes: list[dict[str, Any]]) -> list[PairStatus]:
    """Schedulable nodes -> pairs, in the order they are measured; empty where there are not enough nodes."""
    usable = sorted((n for n in nodes if _usable(n, spec)), key=lambda n: str(n["metadata"]["name"]))[
        : spec.placement.max_nodes
    ]
    chosen = [(n, n) for n in usable[:1]] if spec.placement.topology == "SameNode" else list(combinations(usable, 2))
    return [
        PairStatus(
            index=i,
            source_node=a["metadata"]["name"],
            target_node=b["metadata"]["name"],
            source_zone=_zone(a),
            target_zone=_zone(b),
        )
        for i, (a, b) in enumerate(chosen[:MAX_PAIRS], start=1)
    ]


def _usable(node: dict[str, Any], spec: NetProbeSpec) -> bool:
    labels = node["metadata"].get("labels") or {}
    wanted = spec.placement.node_selector or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", []))
    tainted = any(t.get("effect") in ("NoSchedule", "NoExecute") for t in node.get("spec", {}).get("taints") or [])
    blocked = node.get("spec", {}).get("unschedulable") or (tainted and not spec.placement.tolerations)
    return ready and not blocked and all(labels.get(k) == v for k, v in wanted.items())


def _zone(node: dict[str, Any]) -> str | None:
    return (node["metadata"].get("labels") or {}).get("topology.kubernetes.io/zone")


def server_name(probe: str, pair: int) -> str:
    return f"{probe}-p{pair}-server"


def client_name(probe: str, pair: int) -> str:
    return f"{probe}-p{pair}-client"


def plan_server(probe: NetProbe, pair: PairStatus, settings: Settings) -> dict[str, Any]:
    """The agent that answers, on the pair's target node."""
    deadline = probe_seconds(probe.spec)
    args = ["server", "--deadline", str(deadline)]
    return _agent(
        probe,
        settings,
        server_name(probe.metadata.name, pair.index),
        pair.target_node,
        args,
        deadline + MARGIN_S,
        "server",
    )


def plan_client(probe: NetProbe, pair: PairStatus, server_ip: str, settings: Settings) -> list[dict[str, Any]]:
    """The agent that measures, on the pair's source node, and its configuration."""
    meta = probe.metadata
    name = client_name(meta.name, pair.index)
    config_name = names.config_name(name, meta.uid)
    deadline = probe_seconds(probe.spec)
    config = ProbeConfig(
        probe=meta.name, namespace=meta.namespace, uid=meta.uid, server_host=server_ip, source_node=pair.source_node,
        target_node=pair.target_node, tests=probe.spec.tests, repetitions=probe.spec.repetitions, deadline_s=deadline,
    )  # fmt: skip
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": config_name,
            "labels": names.labels("NetProbe", meta, **{names.ROLE_LABEL: "client"}),
            "ownerReferences": [names.owner("NetProbe", meta)],
        },
        "immutable": True,
        "data": {"config.json": json.dumps(config.snake(), indent=1)},
    }
    args = ["client", f"{CONFIG_PATH}/config.json"]
    return [
        config_map,
        _agent(probe, settings, name, pair.source_node, args, deadline + MARGIN_S, "client", config_name),
    ]


def _agent(
    probe: NetProbe, settings: Settings, name: str, node: str, args: list[str], deadline_s: int, role: str,
    config_map: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    meta = probe.metadata
    labels = names.labels("NetProbe", meta, **{names.ROLE_LABEL: role})
    execution = probe.spec.execution
    if probe.spec.placement.tolerations:
        execution = execution.model_copy(
            update={"tolerations": [*(execution.tolerations or []), *probe.spec.placement.tolerations]}
        )
    template = pod_template(
        execution, image=settings.netprobe_image, pull_policy=settings.pull_policy, args=args, labels=labels,
        config_map=config_map, affinity=on_node(node),
    )  # fmt: skip
    return job(
        name, template, labels=labels, owner=names.owner("NetProbe", meta), deadline_s=deadline_s,
        startup_s=execution.startup_deadline_seconds,
    )  # fmt: skip
