"""BenchmarkMatrix -> the Job that fetches into its store what models with `hub` lack (pure)."""

from __future__ import annotations

import json
from typing import Any

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.matrix_object import BenchmarkMatrix, MatrixModel

from ..settings import Settings
from . import names
from .matrix_server import MODELS_PATH
from .pod import CONFIG_PATH, job, pod_template

TOKEN_ENV = "HF_TOKEN"  # noqa: S105 - the name of a variable
FETCHES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
AGAIN = 6  # what was broken off is gone on with; what is not to be had is not asked for again
MOST_GIGABYTES = "1000"  # the claim's own size is the limit


def fetch_name(matrix: str) -> str:
    return f"{matrix}-models"


def plan_fetch(matrix: BenchmarkMatrix, settings: Settings) -> list[dict[str, Any]]:
    """The list of models, and the Job; nothing where no model has `hub`."""
    meta, store = matrix.metadata, matrix.spec.store
    wanted = [model for model in matrix.spec.models if model.hub]
    if store is None or not wanted:
        return []
    name, owner = fetch_name(meta.name), names.owner("BenchmarkMatrix", meta)
    labels = names.labels("BenchmarkMatrix", meta, **{names.ROLE_LABEL: "fetch"})
    config_name = names.config_name(name, meta.uid)
    listed = {"schemaVersion": "models/v1", "modelDir": MODELS_PATH, "models": [_listed(model) for model in wanted]}
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_name, "labels": labels, "ownerReferences": [owner]},
        "immutable": True,
        "data": {"models.yaml": json.dumps(listed, indent=1)},
    }
    execution = matrix.spec.runs.execution
    ref = store.token_secret_ref
    token = [{"name": TOKEN_ENV, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}] if ref else []
    template = pod_template(
        execution.model_copy(update={"image": None}), image=settings.runner_image, pull_policy=settings.pull_policy,
        args=[
            "models", "pull", "--models", f"{CONFIG_PATH}/models.yaml", "--quiet", "--most-gigabytes", MOST_GIGABYTES,
            *(["--endpoint", store.endpoint] if store.endpoint else []),
        ],
        labels=labels, config_map=config_name, env=token, mounts=[{"name": "models", "mountPath": MODELS_PATH}],
        volumes=[{"name": "models", "persistentVolumeClaim": {"claimName": store.claim_name}}],
    )  # fmt: skip
    template["spec"]["containers"][0] |= {"resources": FETCHES, "terminationMessagePolicy": "FallbackToLogsOnError"}
    child = job(
        name, template, labels=labels, owner=owner, deadline_s=store.deadline_seconds, startup_s=execution.startup_deadline_seconds,
    )  # fmt: skip
    child["spec"]["backoffLimit"] = AGAIN
    child["spec"]["podFailurePolicy"]["rules"] = [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [InvalidInput.exit_code]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    return [config_map, child]


def _listed(model: MatrixModel) -> dict[str, Any]:
    assert model.hub is not None
    files = {
        file.quantization: {"file": file.path, **({"sha256": file.sha256} if file.sha256 else {})}
        for file in model.files
    }
    return {"name": model.name, "hub": {"repo": model.hub.repo, "revision": model.hub.revision, "files": files}}
