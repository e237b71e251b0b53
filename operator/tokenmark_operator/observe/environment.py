"""Node -> facts about the place a target runs in (pure)."""

from __future__ import annotations

from typing import Any

PROVIDERS = {"aws": "aws", "gce": "gcp", "azure": "azure", "oci": "oracle", "ibm": "ibm", "digitalocean": "digitalocean",
             "openstack": "openstack", "vsphere": "vsphere", "kind": "kind"}  # fmt: skip
LABELS = {
    "region": "topology.kubernetes.io/region",
    "zone": "topology.kubernetes.io/zone",
    "node_instance_type": "node.kubernetes.io/instance-type",
    "gpu_model": "nvidia.com/gpu.product",
}


def node_facts(node: dict[str, Any]) -> dict[str, str]:
    """Region, zone, instance type, GPU and provider as the node's labels tell them; what is not told is left out."""
    labels = node.get("metadata", {}).get("labels") or {}
    facts = {name: labels[label] for name, label in LABELS.items() if labels.get(label)}
    provider = (node.get("spec", {}).get("providerID") or "").split(":", 1)[0]
    if provider in PROVIDERS:
        facts["provider"] = PROVIDERS[provider]
    gpus = (node.get("status", {}).get("capacity") or {}).get("nvidia.com/gpu")
    if gpus:
        facts["gpu_count"] = str(gpus)
    info = node.get("status", {}).get("nodeInfo") or {}
    for name, key in (("node_kernel", "kernelVersion"), ("kubernetes", "kubeletVersion")):
        if info.get(key):
            facts[name] = info[key]
    return {name: value[:253] for name, value in facts.items()}
