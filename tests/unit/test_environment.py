"""What is known of where a run ran: as nodes and pods tell it, and what they do not tell is named."""

from __future__ import annotations

from typing import Any

import pytest

from bench_runner.formats.north_south import north_south
from bench_runner.run.provenance import EXPECTED, provenance
from tests.support.results import a_result
from tests.unit.test_exposition import config
from tokenmark_operator.observe.environment import node_facts, pod_facts, unready
from tokenmark_schemas.result import EngineFacts

NODE: dict[str, Any] = {
    "metadata": {
        "name": "n1",
        "labels": {
            "topology.kubernetes.io/region": "eastus", "topology.kubernetes.io/zone": "eastus-1", "node.kubernetes.io/instance-type": "ND96",
            "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "feature.node.kubernetes.io/cpu-model.name": "Xeon",
        },
        "annotations": {"network.cilium.io/ipv4-pod-cidr": "10.1.0.0/24"},
    },
    "spec": {"providerID": "azure:///subscriptions/x"},
    "status": {
        "capacity": {"cpu": "96", "memory": "1900Gi", "nvidia.com/gpu": "8"},
        "nodeInfo": {"kernelVersion": "5.15", "kubeletVersion": "v1.35.1", "containerRuntimeVersion": "containerd://2.1", "osImage": "Ubuntu"},
    },
}  # fmt: skip


def a_pod(name: str, image: str = "registry:5000/vllm/vllm-openai:v0.11.0", phase: str = "Running") -> dict[str, Any]:
    container = {
        "image": image,
        "resources": {"requests": {"cpu": "8", "nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
    }
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": "n1", "containers": [container, {"image": "sidecar:1"}]},
        "status": {"phase": phase},
    }


def test_a_node_tells_machine_gpus_network_and_provider() -> None:
    found = node_facts(NODE)
    assert (found["provider"], found["region"], found["zone"], found["node_instance_type"]) == (
        "azure",
        "eastus",
        "eastus-1",
        "ND96",
    )
    assert (found["gpu_model"], found["gpu_count"], found["node_cpu_cores"], found["node_cpu_model"]) == (
        "NVIDIA-H100-80GB-HBM3",
        "8",
        "96",
        "Xeon",
    )
    assert (found["node_kernel"], found["kubernetes"], found["cni"]) == ("5.15", "v1.35.1", "cilium")


def test_a_node_that_tells_nothing_is_told_nothing_of() -> None:
    assert node_facts({"metadata": {"name": "n"}, "spec": {}, "status": {}}) == {}


def test_the_pods_behind_a_service_tell_what_serves() -> None:
    found = pod_facts([a_pod("b"), a_pod("a"), a_pod("c", phase="Pending")])
    assert (found["target_replicas"], found["target_node"]) == ("2", "n1")
    assert found["target_image"] == "registry:5000/vllm/vllm-openai:v0.11.0"
    assert (found["target_requests"], found["target_limits"]) == ("cpu 8, nvidia.com/gpu 1", "nvidia.com/gpu 1")
    assert pod_facts([]) == {}


def test_what_could_not_be_found_is_named() -> None:
    stage = {"name": "a", "concurrency": 1, "requestCount": 10}
    known = config(stage).model_copy(update={"detected": {**node_facts(NODE), "gpu_model": ""}})
    said = provenance(known, engine=EngineFacts(name="vllm", version="0.11.0"), stamps="kernel", gpus=None)
    assert {"gpu_model", "target_image", "engine.quantization", "engine.served_model"} <= set(said.unknown)
    assert not {"provider", "cni", "engine.version", "engine.name"} & set(said.unknown)
    assert all(not said.environment.get(name) for name in EXPECTED if name in said.unknown)
    assert set(said.fingerprint_fields) == {"engine", "model", "vantage", "workload", "stages", "warmup", "seed"}


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("registry:5000/a/vllm:v1", "v1"),
        ("vllm", None),
        ("registry:5000/vllm", None),
        ("a/vllm@sha256:abc", "sha256:abc"),
        (None, None),
    ],
)
def test_the_record_has_the_tag_of_what_served(image: str | None, tag: str | None) -> None:
    result = a_result()
    place = {"target_image": image} if image else {}
    changed = result.model_copy(update={"provenance": result.provenance.model_copy(update={"environment": place})})
    assert north_south(changed).run_metadata.backend_image_tag == tag


def served_by(ready: str = "True", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "vllm-0"}, "status": {"conditions": [{"type": "Ready", "status": ready}], **status}}


def test_what_keeps_a_service_from_answering_is_told_in_the_clusters_words() -> None:
    assert unready([served_by("False"), served_by()]) is None
    assert unready([]) == "no pod is behind it"
    assert unready([{**served_by(), "metadata": {"name": "x", "deletionTimestamp": "now"}}]) == "no pod is behind it"
    pulling = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    assert unready([served_by("False", containerStatuses=[pulling])]) == (
        "pod vllm-0 behind it is not ready (ImagePullBackOff: no such image)"
    )
    creating = {"state": {"waiting": {"reason": "ContainerCreating"}}}
    assert unready([served_by("False", containerStatuses=[creating])]) == "pod vllm-0 behind it is not ready"
    nowhere = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
    }
    assert "Insufficient nvidia.com/gpu" in str(
        unready([{"metadata": {"name": "p"}, "status": {"conditions": [nowhere]}}] * 2)
    )
