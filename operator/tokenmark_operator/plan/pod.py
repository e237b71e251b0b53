"""Pod pieces that all our Jobs share: locked down, without a token, easy on the cluster (pure)."""

from __future__ import annotations

from typing import Any

from tokenmark_schemas.kube import Execution

CONFIG_PATH = "/etc/tokenmark"
UNREACHABLE_S = 30
GRACE_S = 20
BACKSTOP_S = 120
DEFAULT_RESOURCES = {
    "requests": {"cpu": "500m", "memory": "256Mi", "ephemeral-storage": "64Mi"},
    "limits": {"memory": "1Gi", "ephemeral-storage": "2Gi"},
}
CONTAINER = "runner"


def pod_template(
    execution: Execution, *, image: str, pull_policy: str, args: list[str], labels: dict[str, str],
    config_map: str | None = None, env: list[dict[str, Any]] | None = None, mounts: list[dict[str, Any]] | None = None,
    volumes: list[dict[str, Any]] | None = None, affinity: dict[str, Any] | None = None,
    topology: list[dict[str, Any]] | None = None, env_from: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A pod under the restricted Pod Security profile."""
    config = [{"name": "config", "configMap": {"name": config_map}}] if config_map else []
    config_mount = [{"name": "config", "mountPath": CONFIG_PATH, "readOnly": True}] if config_map else []
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": _tolerations(execution),
        "containers": [
            {
                "name": CONTAINER,
                "image": execution.image or image,
                "imagePullPolicy": pull_policy,
                "args": args,
                "env": [
                    {"name": "TOKENMARK_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    *(env or []),
                ],
                **({"envFrom": env_from} if env_from else {}),
                "resources": _resources(execution),
                "securityContext": {
                    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *config_mount, *(mounts or [])],  # noqa: S108
                "terminationMessagePolicy": "File",
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, *config, *(volumes or [])],
    }  # fmt: skip
    _place(spec, execution, affinity, topology)
    annotations = {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
        "sidecar.istio.io/inject": "false",
        **(execution.pod_annotations or {}),
    }
    return {
        "metadata": {"labels": {**(execution.pod_labels or {}), **labels}, "annotations": annotations},
        "spec": spec,
    }


def _resources(execution: Execution) -> dict[str, Any]:
    return execution.resources.camel() if execution.resources else DEFAULT_RESOURCES


def _tolerations(execution: Execution) -> list[dict[str, Any]]:
    """A lost node gives its pod up after 30 s instead of five minutes."""
    lost = [
        {
            "key": f"node.kubernetes.io/{what}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": UNREACHABLE_S,
        }
        for what in ("unreachable", "not-ready")
    ]
    return lost + [t.camel() for t in execution.tolerations or []]


def _place(
    spec: dict[str, Any], execution: Execution, affinity: dict[str, Any] | None, topology: list[dict[str, Any]] | None
) -> None:
    """The override set, where it is set."""
    for key, value in (
        ("nodeSelector", execution.node_selector),
        ("affinity", affinity or execution.affinity),
        ("topologySpreadConstraints", execution.topology_spread_constraints or topology),
        ("priorityClassName", execution.priority_class_name),
        ("runtimeClassName", execution.runtime_class_name),
        ("serviceAccountName", execution.service_account_name),
        ("imagePullSecrets", [s.camel() for s in execution.image_pull_secrets or []]),
    ):
        if value:
            spec[key] = value


def job(
    name: str,
    template: dict[str, Any],
    *,
    labels: dict[str, str],
    owner: dict[str, Any],
    deadline_s: int,
    startup_s: int,
    pods: int = 1,
) -> dict[str, Any]:
    """A Job that is never retried by Kubernetes: a silent retry would measure a warmed-up target.

    Several pods are indexed, and the loss of one is the loss of all. The deadline is the pods' own and counts from when a
    node took them: time to be scheduled is no load. The Job's is a backstop behind both.
    """
    template["spec"]["activeDeadlineSeconds"] = deadline_s
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "backoffLimit": 0,
            **({"completionMode": "Indexed"} if pods > 1 else {}),
            "completions": pods,
            "parallelism": pods,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "activeDeadlineSeconds": startup_s + deadline_s + BACKSTOP_S,
            "template": template,
        },
    }


def queued(execution: Execution) -> dict[str, str]:
    """The label of a Job that Kueue lets in."""
    return {"kueue.x-k8s.io/queue-name": execution.queue_name} if execution.queue_name else {}


def spread(labels: dict[str, str]) -> list[dict[str, Any]]:
    """Pods with these labels on different nodes, as far as there are any."""
    return [
        {
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
    ]  # fmt: skip


def rather_on_node(node: str) -> dict[str, Any]:
    """The same as a wish."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}}


def on_node(node: str) -> dict[str, Any]:
    """Affinity to one node by name, through the scheduler."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
