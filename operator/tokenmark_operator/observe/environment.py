"""What a target runs on and in: its node and its own pods -> facts (pure). What is not told is left out, and named later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .conditions import condition

PROVIDERS = {"aws": "aws", "gce": "gcp", "azure": "azure", "oci": "oracle", "ibm": "ibm", "digitalocean": "digitalocean",
             "openstack": "openstack", "vsphere": "vsphere", "kind": "kind"}  # fmt: skip
LABELS = {
    "region": ("topology.kubernetes.io/region",),
    "zone": ("topology.kubernetes.io/zone",),
    "node_instance_type": ("node.kubernetes.io/instance-type",),
    "node_cpu_model": ("feature.node.kubernetes.io/cpu-model.name",),
    "gpu_model": ("nvidia.com/gpu.product", "amd.com/gpu.product-name"),
    "gpu_count": ("nvidia.com/gpu.count",),
}
GPUS = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "google.com/tpu")
INFO = {
    "node_kernel": "kernelVersion", "kubernetes": "kubeletVersion", "node_runtime": "containerRuntimeVersion",
    "node_os": "osImage", "node_architecture": "architecture",
}  # fmt: skip
# a network plugin by what it leaves in its nodes' annotations
CNI = {
    "projectcalico.org/": "calico", "flannel.": "flannel", "io.cilium.": "cilium", "network.cilium.io/": "cilium",
    "k8s.ovn.org/": "ovn-kubernetes", "kube-router.io/": "kube-router", "node.antrea.io/": "antrea", "vpc.amazonaws.com/": "aws-vpc-cni",
}  # fmt: skip
MOST_CHARACTERS = 253


def node_facts(node: dict[str, Any]) -> dict[str, str]:
    """Region, zone, machine, processors, GPUs, kernel, network plugin and provider, as far as the node tells them."""
    meta, status = node.get("metadata", {}), node.get("status", {})
    labels, capacity, info = meta.get("labels") or {}, status.get("capacity") or {}, status.get("nodeInfo") or {}
    facts = {name: next((labels[key] for key in keys if labels.get(key)), "") for name, keys in LABELS.items()}
    provider = (node.get("spec", {}).get("providerID") or "").split(":", 1)[0]
    facts["provider"] = PROVIDERS.get(provider, "")
    facts["gpu_count"] = next((str(capacity[name]) for name in GPUS if capacity.get(name)), facts["gpu_count"])
    facts["node_cpu_cores"], facts["node_memory"] = str(capacity.get("cpu", "")), str(capacity.get("memory", ""))
    facts |= {name: str(info.get(key) or "") for name, key in INFO.items()}
    annotations = meta.get("annotations") or {}
    facts["cni"] = next((cni for prefix, cni in CNI.items() if any(key.startswith(prefix) for key in annotations)), "")
    return _told(facts)


def pod_facts(pods: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Of the pods behind a Service: how many, and what the first asks for. The first container is the server; others serve it."""
    running = [pod for pod in pods if pod.get("status", {}).get("phase") == "Running"]
    if not running:
        return {}
    first = min(running, key=lambda pod: str(pod["metadata"].get("name", "")))
    server = (first["spec"].get("containers") or [{}])[0]
    resources = server.get("resources") or {}
    return _told({
        "target_replicas": str(len(running)),
        "target_node": first["spec"].get("nodeName") or "",
        "target_image": server.get("image") or "",
        "target_requests": _quantities(resources.get("requests")),
        "target_limits": _quantities(resources.get("limits")),
    })  # fmt: skip


def _quantities(said: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted((said or {}).items()))


def _told(facts: dict[str, str]) -> dict[str, str]:
    return {name: value[:MOST_CHARACTERS] for name, value in facts.items() if value}


def unready(pods: list[dict[str, Any]]) -> str | None:
    """Why none of the pods behind a Service can answer; None where one is ready."""
    living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    if any(condition(pod, "Ready").get("status") == "True" for pod in living):
        return None
    if not living:
        return "no pod is behind it"
    said = next(filter(None, map(_in_the_way, living)), None)
    count = (
        f"none of {len(living)} pods behind it is"
        if len(living) > 1
        else f"pod {living[0]['metadata']['name']} behind it is not"
    )
    return f"{count} ready" + (f" ({said})" if said else "")


def _in_the_way(pod: dict[str, Any]) -> str | None:
    """In the cluster's own words: an image, a place, a crash."""
    told = pod.get("status") or {}
    for status in [*(told.get("initContainerStatuses") or []), *(told.get("containerStatuses") or [])]:
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']}: {waiting.get('message', '')}"[:300].rstrip(": ")
    scheduled = condition(pod, "PodScheduled")
    return str(scheduled.get("message", ""))[:300] if scheduled.get("status") == "False" else None
