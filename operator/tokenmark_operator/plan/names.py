"""Names, labels and owner references of children: the only place that builds them."""

from __future__ import annotations

from typing import Any

from tokenmark_schemas.kube import API_VERSION, ObjectMeta

MANAGED = {"app.kubernetes.io/managed-by": "tokenmark"}
MANAGED_SELECTOR = "app.kubernetes.io/managed-by=tokenmark"
RUN_LABEL, PROBE_LABEL = "tokenmark.dev/run", "tokenmark.dev/probe"
SCHEDULE_LABEL, SWEEP_LABEL, MATRIX_LABEL = "tokenmark.dev/schedule", "tokenmark.dev/sweep", "tokenmark.dev/matrix"
UID_LABEL, ATTEMPT_LABEL, ROLE_LABEL = "tokenmark.dev/uid", "tokenmark.dev/attempt", "tokenmark.dev/role"
VISIT_LABEL = "tokenmark.dev/visit"
SERVER_LABEL = "tokenmark.dev/server"  # the number of a matrix's server
TARGET_LABEL = "tokenmark.dev/target"  # the exclusivity group of the target that a pod loads
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"  # Kubernetes' own
OWNER_LABEL = {
    "BenchmarkRun": RUN_LABEL, "NetProbe": PROBE_LABEL, "BenchmarkSchedule": SCHEDULE_LABEL, "BenchmarkSweep": SWEEP_LABEL,
    "BenchmarkMatrix": MATRIX_LABEL,
}  # fmt: skip


def job_name(run: str, attempt: int) -> str:
    return f"{run}-a{attempt}"


def meeting_name(job: str) -> str:
    """The Service at which a Job's pods meet; its name has to begin with a letter, a run's need not."""
    return f"team-{job}"


def server_name(matrix: str, number: int) -> str:
    """The Service of a matrix's server; its Job has the same."""
    return f"server-{matrix}-{number}"


def role_of(body: dict[str, Any]) -> str | None:
    """What a Job or a pod is there for; None where it says nothing."""
    said: str | None = (body["metadata"].get("labels") or {}).get(ROLE_LABEL)
    return said


def index_of(pod: dict[str, Any]) -> int:
    """Which pod of its Job it is; 0 where the Job has one."""
    meta = pod["metadata"]
    said = (meta.get("labels") or {}).get(INDEX_LABEL) or (meta.get("annotations") or {}).get(INDEX_LABEL) or "0"
    return int(said) if said.isdigit() else 0


def visit_of(body: dict[str, Any]) -> int:
    """Which visit of its probe a Job or a pod belongs to; 0 where it says none."""
    said = (body["metadata"].get("labels") or {}).get(VISIT_LABEL, "0")
    return int(said) if said.isdigit() else 0


def config_name(job: str, uid: str) -> str:
    """With the owner's uid: kubelets keep immutable ConfigMaps by name, and would give a namesake's pod the old one."""
    return f"{job}-config-{uid[:8]}"


def result_name(kind: str, name: str, uid: str, *, retain: bool) -> str:
    """`<run>-result`, `<probe>-nprobe-result`; a result that outlives its object carries its uid, so that a rerun finds the
    name free."""
    said = name if kind == "BenchmarkRun" else f"{name}-nprobe"
    return f"{said}-{uid[:8]}-result" if retain else f"{said}-result"


def network_probe_name(run: str, uid: str) -> str:
    """The NetProbe that a run has made for itself; a probe's name has 48 characters at most."""
    return f"{run}-network" if len(run) <= 40 else f"{run[:31]}-{uid[:8]}-network"


def visit_result_name(probe: str, visit: int, uid: str) -> str:
    """What one visit of a probe found, until all of them stand together."""
    return f"{probe}-p{visit}-{uid[:8]}-pair"


def labels(kind: str, meta: ObjectMeta, **more: str) -> dict[str, str]:
    return {**MANAGED, OWNER_LABEL[kind]: meta.name, UID_LABEL: meta.uid, **more}


def children_selector(uid: str) -> str:
    """Selects every child of one object."""
    return f"{UID_LABEL}={uid}"


def owner(kind: str, meta: ObjectMeta) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION, "kind": kind, "name": meta.name, "uid": meta.uid, "controller": True,
        "blockOwnerDeletion": True,
    }  # fmt: skip
