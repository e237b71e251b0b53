"""`tokenmark render`: the Job and ConfigMap that the operator would make of a BenchmarkRun, for who has no operator.

What only an operator can give is left out: owners, queueing, attempts, status. Labels are others than the operator's, so that one
which is there does not take these for its own.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
import yaml

from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.documents import read_models, read_workload
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.run import RunConfig, inline_prices
from tokenmark_schemas.support import unsupported_run
from tokenmark_schemas.workload import Workload

from .plan.benchmark_job import plan_attempt, plan_config
from .settings import Settings

IMAGE = "tokenmark-runner:0.1.0"
ONE_DAY = 86_400


def render(
    manifest: Path = typer.Argument(..., help="A BenchmarkRun, the same file kubectl applies."),
    namespace: str | None = typer.Option(
        None, "--namespace", "-n", help="Where they go; the manifest's own, else default."
    ),
    image: str = typer.Option(IMAGE, help="The runner's image.", envvar="TOKENMARK_RUNNER_IMAGE", show_envvar=False),
    workload: Path | None = typer.Option(None, help="The workload file that workloadRef.configMap would hold."),
) -> None:
    """Print ConfigMap and Job of a manifest, for a cluster without the operator.

    Example: tokenmark render run.yaml -n bench --image REGISTRY/tokenmark-runner:0.1.0 | kubectl apply -f -
             kubectl logs -n bench -f job/NAME-a1 > log && tokenmark results push log --store ./results
    """
    run = _run(manifest, namespace)
    objects = rendered(run, image, _workload(run, workload))
    print(yaml.dump_all(objects, Dumper=_Readable, sort_keys=False, width=120), end="")


class _Readable(yaml.SafeDumper):
    """Text of several lines as it is, not as one line of escapes."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Readable.add_representer(str, _text)


def _run(path: Path, namespace: str | None) -> BenchmarkRun:
    models = read_models(path)
    runs = [model for model in models if isinstance(model, BenchmarkRun)]
    if len(runs) != 1 or len(models) != 1:
        raise InvalidInput(f"{path} holds {len(models)} documents; render takes one BenchmarkRun")
    meta = runs[0].metadata.model_copy(update={"namespace": namespace or runs[0].metadata.namespace, "uid": "0" * 32})
    return runs[0].model_copy(update={"metadata": meta})


def _workload(run: BenchmarkRun, path: Path | None) -> Workload | None:
    ref = run.spec.workload_ref
    if run.spec.workload is not None:
        return None
    if ref is not None and ref.config_map is not None and path is None:
        raise InvalidInput(
            f"spec.workloadRef.configMap {ref.config_map.name} lies in a cluster; give the file: --workload FILE"
        )
    return read_workload(str(path) if path else (ref.name if ref and ref.name else "smoke"))


def rendered(run: BenchmarkRun, image: str, workload: Workload | None) -> list[dict[str, Any]]:
    """Raises InvalidInput for what only the operator can do."""
    spec = run.spec
    stages = spec.stages or (workload.stages if workload else [])
    refused = [
        *unsupported_run(spec, spec.workload or workload, stages, in_cluster=True),  # type: ignore[arg-type]
        *_operators_own(run),
    ]
    if refused:
        raise InvalidInput("only the operator can do this:\n" + "\n".join(refused))
    settings = Settings(runner_image=image, netprobe_image="")
    try:
        config = _config(run, settings, workload)
        # names follow from the uid, and what stands under one name can never become other: so it is made of all that is rendered
        whole = f"{config.model_dump_json()} {image} {spec.model_dump_json()}"
        uid = hashlib.sha256(whole.encode()).hexdigest()[:32]
        run = run.model_copy(update={"metadata": run.metadata.model_copy(update={"uid": uid})})
        config = _config(run, settings, workload)
    except ValueError as exc:
        raise InvalidInput(str(exc)) from exc
    return [_without_operator(each, run) for each in plan_attempt(run, config, settings)]


def _config(run: BenchmarkRun, settings: Settings, workload: Workload | None) -> RunConfig:
    prices = inline_prices(run.spec, datetime.now(UTC).date())
    return plan_config(run, 1, settings, workload=workload, dataset=None, detected={}, prices=prices)


def _operators_own(run: BenchmarkRun) -> list[str]:
    spec = run.spec
    asked = (
        (spec.execution.workers > 1, "spec.execution.workers: pods that share a load meet by a Service that it makes"),
        (
            spec.network is not None or spec.net_probe_ref is not None,
            "spec.network, spec.netProbeRef: it reads and makes probes",
        ),
        (spec.baseline_ref is not None, "spec.baselineRef: use tokenmark compare afterwards"),
        (spec.cost is not None and spec.cost.config_map is not None, "spec.cost.configMap: give the prices inline"),
        (spec.suspend, "spec.suspend: there is nobody to resume it"),
    )
    return [said for wanted, said in asked if wanted]


def _without_operator(made: dict[str, Any], run: BenchmarkRun) -> dict[str, Any]:
    own = {"app.kubernetes.io/name": run.metadata.name, "app.kubernetes.io/managed-by": "tokenmark-render"}
    meta = {key: value for key, value in made["metadata"].items() if key != "ownerReferences"}
    queue = {key: value for key, value in meta.get("labels", {}).items() if key.startswith("kueue")}
    out = {**made, "metadata": {**meta, "namespace": run.metadata.namespace, "labels": {**own, **queue}}}
    if made["kind"] == "Job":
        template = made["spec"]["template"]
        pod = {
            **template,
            "metadata": {**template["metadata"], "labels": {**(run.spec.execution.pod_labels or {}), **own}},
        }
        out["spec"] = {**made["spec"], "template": pod, "ttlSecondsAfterFinished": ONE_DAY}
    return out
