"""BenchmarkMatrix -> a server with one model: the Service that runs ask, and a Job (pure).

A Job and no Deployment: a server that died is a fact for whoever measured it, and one that Kubernetes quietly started anew would answer with empty
caches as if nothing had been. The Job's deadline is the end of a server that nobody takes away.
"""

from __future__ import annotations

from typing import Any

from tokenmark_decisions.llama_options import llama_options
from tokenmark_decisions.matrix_asked import file_of
from tokenmark_decisions.matrix_cells import Cell
from tokenmark_schemas.matrix_object import BenchmarkMatrix, MatrixFile

from ..settings import Settings
from . import names
from .pod import job, pod_template, queued

MODELS_PATH = "/models"
DAY_S = 86_400
ROLE = "server"


def plan_server(matrix: BenchmarkMatrix, cell: Cell, number: int, settings: Settings) -> list[dict[str, Any]]:
    """Service first: it is there before its pod."""
    meta, execution = matrix.metadata, matrix.spec.server.execution
    name, owner = names.server_name(meta.name, number), names.owner("BenchmarkMatrix", meta)
    labels = names.labels(
        "BenchmarkMatrix", meta, **{names.ROLE_LABEL: ROLE, names.SERVER_LABEL: str(number)}
    )  # fmt: skip
    file, port = file_of(matrix.spec, cell), matrix.spec.server.port
    store = matrix.spec.store
    template = pod_template(
        execution, image="", pull_policy=settings.pull_policy, args=_words(matrix, cell, file), labels=labels,
        env=[{"name": "HOME", "value": "/tmp"}],  # noqa: S108
        mounts=[{"name": "models", "mountPath": MODELS_PATH, "readOnly": True}] if store else [],
        volumes=[{"name": "models", "persistentVolumeClaim": {"claimName": store.claim_name, "readOnly": True}}] if store else [],
    )  # fmt: skip
    template["spec"]["containers"][0] |= {
        "resources": _resources(matrix, file), "ports": [{"name": "http", "containerPort": port}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": port}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 30},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }  # fmt: skip
    child = job(
        name, template, labels={**labels, **queued(execution)}, owner=owner, deadline_s=execution.active_deadline_seconds or DAY_S,
        startup_s=execution.startup_deadline_seconds,
    )  # fmt: skip
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "selector": {key: labels[key] for key in (names.UID_LABEL, names.ROLE_LABEL, names.SERVER_LABEL)},
            "ports": [{"name": "http", "port": port, "targetPort": port}],
        },
    }
    return [service, child]


def model_path(matrix: BenchmarkMatrix, cell: Cell, file: MatrixFile) -> str:
    """Where its container finds the file: what is fetched lies at the top of the store."""
    if matrix.spec.store is None:
        return file.path
    model = next(model for model in matrix.spec.models if model.name == cell.candidate.model)
    return f"{MODELS_PATH}/{file.path.rpartition('/')[2] if model.hub else file.path}"


def _words(matrix: BenchmarkMatrix, cell: Cell, file: MatrixFile) -> list[str]:
    _, _, context, streams, _ = cell.server
    variant = cell.variant
    options = llama_options(
        model_path(matrix, cell, file), cell.candidate.model, context=context, streams=streams, threads=variant.threads,
        gpu_layers=variant.gpu_layers, host="0.0.0.0", port=matrix.spec.server.port,  # noqa: S104
    )  # fmt: skip
    return [*options, *matrix.spec.server.args]


def _resources(matrix: BenchmarkMatrix, file: MatrixFile) -> dict[str, Any]:
    """As they are said, and nothing of our own: how much a model needs is its owner's to say."""
    said = matrix.spec.server.execution.resources
    found: dict[str, Any] = said.camel() if said else {}
    if file.memory is not None:
        found = {
            **found,
            **{which: {**found.get(which, {}), "memory": file.memory} for which in ("requests", "limits")},
        }
    return found
