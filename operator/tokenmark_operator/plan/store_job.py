"""NetProbe -> the Job that carries its result to the object stores: whoever measures holds no credentials (pure)."""

from __future__ import annotations

import json
from typing import Any

from tokenmark_schemas.kube import Artifact
from tokenmark_schemas.netprobe import NetProbe

from ..settings import Settings
from . import names, stores
from .pod import CONFIG_PATH, job, pod_template

RESULT_PATH = "/etc/tokenmark-result"
MARGIN_S = 60
UPLOADS = {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}}


def store_job_name(probe: str) -> str:
    return f"{probe}-store"


def plan_store(probe: NetProbe, result: Artifact, settings: Settings) -> list[dict[str, Any]]:
    """The Job and its configuration; `result` is the ConfigMap that it mounts. A kubelet may still hold a namesake's: so the
    digest goes along."""
    meta, sinks = probe.metadata, stores.sinks_of(probe.spec.results)
    name, owner = store_job_name(meta.name), names.owner("NetProbe", meta)
    labels = names.labels("NetProbe", meta, **{names.ROLE_LABEL: "store"})
    config_name = names.config_name(name, meta.uid)
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_name, "labels": labels, "ownerReferences": [owner]},
        "immutable": True,
        "data": {"stores.json": json.dumps([sink.snake() for sink in sinks], indent=1)},
    }
    mounted = [
        (RESULT_PATH, {"name": "result", "configMap": {"name": result.ref}}),
        *stores.authorities(probe.spec.results),
    ]
    execution = probe.spec.execution
    template = pod_template(
        execution.model_copy(update={"image": None, "resources": None}),
        image=settings.runner_image, pull_policy=settings.pull_policy,
        args=[
            "results", "push", f"{RESULT_PATH}/{result.key}", "--sinks", f"{CONFIG_PATH}/stores.json",
            "--sha256", str(result.sha256),
        ],
        labels=labels, config_map=config_name, env_from=stores.credentials(probe.spec.results),
        mounts=[{"name": volume["name"], "mountPath": path, "readOnly": True} for path, volume in mounted],
        volumes=[volume for _, volume in mounted],
    )  # fmt: skip
    template["spec"]["containers"][0]["resources"] = UPLOADS
    child = job(
        name, template, labels=labels, owner=owner, deadline_s=stores.upload_seconds(sinks) + MARGIN_S,
        startup_s=execution.startup_deadline_seconds,
    )  # fmt: skip
    return [config_map, child]
