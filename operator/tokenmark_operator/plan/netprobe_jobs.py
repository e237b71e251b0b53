"""NetProbe -> the Jobs and the Service of one visit (pure)."""

from __future__ import annotations

import json
from typing import Any

from tokenmark_schemas.netprobe import NetProbe, ProbeTest
from tokenmark_schemas.probe_result import HEALTH_PORT, IPERF3_PORT, PING_PORT, ProbeConfig
from tokenmark_schemas.probe_status import PairStatus

from ..settings import Settings
from . import names
from .pod import CONFIG_PATH, job, on_node, pod_template

MARGIN_S = 60
BETWEEN_S = 8
PORTS = (
    ("iperf3", "TCP", IPERF3_PORT), ("iperf3-udp", "UDP", IPERF3_PORT), ("ping", "TCP", PING_PORT), ("ping-udp", "UDP", PING_PORT),
    ("health", "TCP", HEALTH_PORT),
)  # fmt: skip


def tests_of(probe: NetProbe, visit: PairStatus) -> list[ProbeTest]:
    """Those that this visit makes."""
    return [test for test in probe.spec.tests if visit.tests is None or test.name in visit.tests]


def visit_seconds(probe: NetProbe, visit: PairStatus) -> int:
    """How long a visit takes, as an upper estimate."""
    tests = tests_of(probe, visit)
    once = sum(test.seconds + max(test.warmup_seconds, test.omitted_seconds) + BETWEEN_S for test in tests)
    return probe.spec.repetitions * once + 2 * MARGIN_S


def server_name(probe: str, visit: int) -> str:
    return f"{probe}-p{visit}-server"


def client_name(probe: str, visit: int) -> str:
    return f"{probe}-p{visit}-client"


def service_name(probe: str, visit: int) -> str:
    """It has to begin with a letter; a probe's name need not."""
    return f"np-{server_name(probe, visit)}"


def plan_server(probe: NetProbe, visit: PairStatus, settings: Settings) -> list[dict[str, Any]]:
    """The agent that answers, on the visit's target node; behind a Service of its own, where a test goes through one: iperf3
    has two connections, which have to meet the same agent."""
    assert visit.target_node is not None, "a visit to targets alone has no server"
    lasts_s = probe.spec.execution.startup_deadline_seconds + visit_seconds(probe, visit)  # so late may the client come
    args = ["server", "--deadline", str(lasts_s)]
    labels = _labels(probe, visit, "server")
    name = server_name(probe.metadata.name, visit.index)
    manifest = _agent(probe, visit, settings, name, visit.target_node, args, labels, lasts_s)
    probed = {"httpGet": {"path": "/healthz", "port": HEALTH_PORT}, "periodSeconds": 1, "failureThreshold": 60}
    manifest["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probed
    through_service = any(test.way == "PodToService" for test in tests_of(probe, visit))
    return [*([_service(probe, visit, labels)] if through_service else []), manifest]


def _service(probe: NetProbe, visit: PairStatus, labels: dict[str, str]) -> dict[str, Any]:
    ports = [{"name": name, "protocol": protocol, "port": port} for name, protocol, port in PORTS]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(probe.metadata.name, visit.index),
            "labels": labels,
            "ownerReferences": [names.owner("NetProbe", probe.metadata)],
        },
        "spec": {"selector": labels, "ports": ports},
    }


def plan_client(
    probe: NetProbe, visit: PairStatus, server: tuple[str, str] | None, settings: Settings
) -> list[dict[str, Any]]:
    """The agent that measures, on the visit's source node, and its configuration; `server` is (address, uid of its Job), and
    stands in the configuration's name: a visit that is made again has another server."""
    meta = probe.metadata
    name = client_name(meta.name, visit.index)
    server_ip, server_uid = server or (None, "")
    config_name = names.config_name(name, meta.uid) + (f"-{server_uid[:8]}" if server_uid else "")
    tests, lasts_s = tests_of(probe, visit), visit_seconds(probe, visit)
    through_service = any(test.way == "PodToService" for test in tests)
    config = ProbeConfig(
        probe=meta.name, namespace=meta.namespace, uid=meta.uid, server_host=server_ip,
        service_host=f"{service_name(meta.name, visit.index)}.{meta.namespace}.svc" if through_service else None,
        source_node=visit.source_node, target_node=visit.target_node, tests=tests, repetitions=probe.spec.repetitions,
        seed=probe.spec.pairs.seed, deadline_s=lasts_s,
    )  # fmt: skip
    labels = _labels(probe, visit, "client")
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_name, "labels": labels, "ownerReferences": [names.owner("NetProbe", meta)]},
        "immutable": True,
        "data": {"config.json": json.dumps(config.snake(), indent=1)},
    }
    args = ["client", f"{CONFIG_PATH}/config.json"]
    return [config_map, _agent(probe, visit, settings, name, visit.source_node, args, labels, lasts_s, config_name)]


def _labels(probe: NetProbe, visit: PairStatus, role: str) -> dict[str, str]:
    return names.labels("NetProbe", probe.metadata, **{names.ROLE_LABEL: role, names.VISIT_LABEL: str(visit.index)})


def _agent(
    probe: NetProbe, visit: PairStatus, settings: Settings, name: str, node: str, args: list[str],
    labels: dict[str, str], lasts_s: int, config_map: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    execution = probe.spec.execution
    if probe.spec.placement.tolerations:
        execution = execution.model_copy(
            update={"tolerations": [*(execution.tolerations or []), *probe.spec.placement.tolerations]}
        )
    template = pod_template(
        execution, image=settings.netprobe_image, pull_policy=settings.pull_policy, args=args, labels=labels,
        config_map=config_map, affinity=on_node(node),
    )  # fmt: skip
    if visit.host_network:
        template["spec"].update(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")
    return job(
        name, template, labels=labels, owner=names.owner("NetProbe", probe.metadata),
        deadline_s=lasts_s + MARGIN_S, startup_s=execution.startup_deadline_seconds,
    )  # fmt: skip
