"""BenchmarkRun -> ConfigMap and Job of one attempt (pure)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tokenmark_decisions.cost import paid
from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.cost import CostFile
from tokenmark_schemas.network import RunNetwork
from tokenmark_schemas.run import RunConfig, RunIdentity, Team, resolve, service_url, vantage_in_cluster
from tokenmark_schemas.workload import Workload

from ..settings import Settings
from . import names, stores
from .pod import CONFIG_PATH, job, on_node, pod_template, queued, rather_on_node, spread

TOKEN_ENV = "TOKENMARK_API_TOKEN"  # noqa: S105 - the name of a variable
DATASET_PATH = "/etc/tokenmark-dataset"
SELECTED = (names.UID_LABEL, names.ATTEMPT_LABEL, names.ROLE_LABEL)  # the pods of one attempt
CA_PATH = "/etc/tokenmark-ca"
JOB_MARGIN_S = 90
TEAM_PORT = 7474


def plan_config(
    run: BenchmarkRun, attempt: int, settings: Settings, *, workload: Workload | None, dataset: str | None,
    detected: dict[str, str], network: RunNetwork | None = None, prices: CostFile | None = None,
) -> RunConfig:  # fmt: skip
    """What the runner is told. Raises ValueError where the spec leaves the load open, InvalidInput where there is no price for
    where it runs."""
    if prices is not None:
        paid(prices, detected)
    target = run.spec.target
    config_map = (
        run.spec.workload.dataset.config_map if run.spec.workload else workload.dataset.config_map if workload else None
    )
    return resolve(
        run.spec,
        RunIdentity(name=run.metadata.name, namespace=run.metadata.namespace, uid=run.metadata.uid, attempt=attempt),
        url=service_url(run.spec, run.metadata.namespace),
        workload=workload,
        dataset_sha256=hashlib.sha256(dataset.encode()).hexdigest() if dataset is not None else None,
        dataset_file=f"{DATASET_PATH}/{config_map.key}" if config_map else None,
        token_env=TOKEN_ENV if target.auth_secret_ref else None,
        ca_file=f"{CA_PATH}/{target.ca_bundle_ref.key}" if target.ca_bundle_ref else None,
        vantage=vantage_in_cluster(target.endpoint.url if target.endpoint else None),
        detected=detected,
        images={"runner": run.spec.execution.image or settings.runner_image},
        team=_team(run, attempt),
        network=network,
        prices=prices,
    )


def plan_attempt(
    run: BenchmarkRun, config: RunConfig, settings: Settings, group: str | None = None, node: str | None = None
) -> list[dict[str, Any]]:
    """`group` is what its pods hold, `node` the one whose way to the target was probed. ConfigMap first, Job last: a Job never waits for its configuration, nor its pods for a name to meet at."""
    meta, attempt = run.metadata, config.run.attempt
    labels = names.labels("BenchmarkRun", meta, **{names.ATTEMPT_LABEL: str(attempt), names.ROLE_LABEL: "runner"})
    owner = names.owner("BenchmarkRun", meta)
    job_name = names.job_name(meta.name, attempt)
    config_name = names.config_name(job_name, meta.uid)
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_name, "labels": labels, "ownerReferences": [owner]},
        "data": {"config.json": json.dumps(config.snake(), indent=1)},
        "immutable": True,
    }
    execution = run.spec.execution
    template = pod_template(
        execution,
        image=settings.runner_image,
        pull_policy=settings.pull_policy,
        args=["run", f"{CONFIG_PATH}/config.json", "--pod", "--out", "/tmp/results"],  # noqa: S108
        labels={**labels, **({names.TARGET_LABEL: group} if group else {})},
        config_map=config_name,
        env=_token(run),
        mounts=[
            {"name": volume["name"], "mountPath": path, "readOnly": True} for path, volume in _volumes(run, config)
        ],
        volumes=[volume for _, volume in _volumes(run, config)],
        affinity=_bound(node, attempt),
        topology=spread({key: labels[key] for key in SELECTED}) if config.team else None,
        env_from=stores.credentials(run.spec.results),
    )
    child = job(
        job_name, template, labels={**labels, **queued(execution)}, owner=owner,
        deadline_s=config.deadline_s + JOB_MARGIN_S + stores.upload_seconds(config.stores), startup_s=execution.startup_deadline_seconds, pods=execution.workers,
    )  # fmt: skip
    meeting = [_meeting_point(names.meeting_name(job_name), labels, owner)] if config.team else []
    return [config_map, *meeting, child]


def _bound(node: str | None, attempt: int) -> dict[str, Any] | None:
    """To the node whose way is known; a later attempt may find it gone, and rather goes elsewhere than nowhere."""
    if node is None:
        return None
    return on_node(node) if attempt == 1 else rather_on_node(node)


def _team(run: BenchmarkRun, attempt: int) -> Team | None:
    pods, meta = run.spec.execution.workers, run.metadata
    if pods == 1:
        return None
    service = names.meeting_name(names.job_name(meta.name, attempt))
    return Team(pods=pods, address=f"{service}.{meta.namespace}.svc:{TEAM_PORT}")


def _meeting_point(name: str, labels: dict[str, str], owner: dict[str, Any]) -> dict[str, Any]:
    """A Service with an address of its own before its pod: a name that resolves too late is remembered as missing."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "selector": {**{key: labels[key] for key in SELECTED}, names.INDEX_LABEL: "0"},
            "publishNotReadyAddresses": True,
            "ports": [{"name": "team", "port": TEAM_PORT, "targetPort": TEAM_PORT}],
        },
    }


def _token(run: BenchmarkRun) -> list[dict[str, Any]]:
    """Only the pod reads the Secret; it is the kubelet that hands it over."""
    ref = run.spec.target.auth_secret_ref
    if ref is None:
        return []
    return [{"name": TOKEN_ENV, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}]


def _volumes(run: BenchmarkRun, config: RunConfig) -> list[tuple[str, dict[str, Any]]]:
    """(mount path, volume) of the ConfigMaps that a run brings along."""
    dataset, authorities = config.workload.dataset.config_map, run.spec.target.ca_bundle_ref
    wanted = [
        (DATASET_PATH, "dataset", dataset.name if dataset and config.dataset_file else None),
        (CA_PATH, "ca", authorities.name if authorities else None),
    ]
    mine = [(path, {"name": volume, "configMap": {"name": name}}) for path, volume, name in wanted if name]
    return [*mine, *stores.authorities(run.spec.results)]
