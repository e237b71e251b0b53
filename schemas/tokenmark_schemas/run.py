"""`run-config/v1`: everything a runner needs, resolved, and how a BenchmarkRun becomes one.

The operator and the command line resolve a manifest through the same function: that is what makes `kubectl apply -f`
and `tokenmark run` the same run.
"""

from __future__ import annotations

import hashlib
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from .base import Contract, Text63, Text253
from .benchmarkrun import BenchmarkRunSpec, EngineName, Objective
from .cost import CostFile, Price
from .database import DATABASES, DatabaseSpec
from .kube import Environment
from .network import RunNetwork, WayToMeasure
from .rag import Retrieval
from .run_length import plan_seconds
from .stopping import Search, StopRules
from .store import StoreSink, store_sinks
from .workload import Stage, Warmup, Workload, WorkloadSpec, canonical_json

GATHER_S = 300  # how long the pods of a team wait for each other


class RunIdentity(Contract):
    name: Text63
    namespace: Text63 = "local"
    uid: Text253 = ""
    attempt: int = 1


class RunTarget(Contract):
    """Where to send, and the time limits in seconds. `token_env` names the variable that holds the bearer token."""

    engine: EngineName
    model: str
    url: str
    token_env: str | None = None
    ca_file: str | None = None
    insecure_skip_tls_verify: bool = False
    proxy_url: str | None = None
    gpu_metrics_url: str | None = None
    host_metrics_url: str | None = None
    reuse_connections: bool = True
    max_connections: int = 16_384
    honour_retry_after: bool = False
    request_timeout_s: int = 600
    first_token_timeout_s: int = 120
    idle_timeout_s: int = 60
    retrieval: Retrieval | None = None
    database: DatabaseSpec | None = None


class WorkloadIdentity(Contract):
    name: str
    version: int | None = None
    hash: str


class Team(Contract):
    """Pods that share one load. Index 0 leads: it listens at `address`, gives the common start and puts results together."""

    pods: Annotated[int, Field(ge=2, le=64)]
    address: Annotated[str, Field(pattern=r"^[^:]+:\d{1,5}$")] = Field(
        description="host:port, as the other pods reach it."
    )


class RunConfig(Contract):
    """Input of a run; stored as `config.json` beside its result, where it serves as an exact rerun."""

    schema_version: Literal["run-config/v1"] = "run-config/v1"
    run: RunIdentity
    target: RunTarget
    workload: WorkloadSpec
    workload_identity: WorkloadIdentity
    dataset_file: str | None = Field(default=None, description="JSON lines mounted beside this file.")
    stages: Annotated[list[Stage], Field(min_length=1)]
    warmup: Warmup = Warmup()
    repetitions: int = 1
    rerun_outliers: bool = False
    stop_rules: StopRules = StopRules()
    search: Search | None = None
    calibrate: bool = False
    workers: Annotated[int, Field(ge=1, le=64)] = Field(default=1, description="Load processes on this machine.")
    team: Team | None = Field(default=None, description="Set where several pods share the load.")
    cooldown_seconds: int = 0
    seed: int = 1
    objectives: list[Objective] = []
    detail: Literal["Summary", "Requests", "Chunks", "Text"] = "Requests"
    purpose: str | None = None
    vantage: Literal["in_cluster", "north_south", "local"] = "local"
    network: RunNetwork | None = Field(default=None, description="What a probe found on the way to the target.")
    way_to_measure: WayToMeasure | None = Field(default=None, description="In place of it: measured before the load.")
    environment: Environment = Environment()
    detected: dict[str, str] = Field(default={}, description="Facts of the cluster and node, as found.")
    images: dict[str, str] = {}
    stores: Annotated[list[StoreSink], Field(max_length=4)] = []
    prices: CostFile | None = None
    deadline_s: int = Field(default=86_400, description="The runner stops its load by itself after this long.")
    spec_hash: str = ""

    @property
    def fingerprint_fields(self) -> dict[str, Any]:
        """What must be equal for two results to be comparable; place and provider are left out."""
        return {
            "engine": self.target.engine,
            "model": self.target.model,
            "vantage": self.vantage,
            "workload": self.workload_identity.hash,
            "stages": [stage.model_dump(mode="json") for stage in self.stages],
            "warmup": self.warmup.model_dump(mode="json"),
            "seed": self.seed,
            **({"retrieval": retrieval.model_dump(mode="json")} if (retrieval := self.target.retrieval) else {}),
        }

    @property
    def fingerprint(self) -> str:
        """sha256 over those fields."""
        return hashlib.sha256(canonical_json(self.fingerprint_fields)).hexdigest()


def inline_prices(spec: BenchmarkRunSpec, dated: date) -> CostFile | None:
    """`cost.inline` as the file that it stands for."""
    said = spec.cost.inline if spec.cost else None
    if said is None:
        return None
    price = Price(on_demand_per_hour=Decimal(said.microdollars_per_hour) / 10**6, source=said.source, dated=dated)
    return CostFile(name="inline", prices=[price], instances=said.instances)


def resolve(
    spec: BenchmarkRunSpec,
    run: RunIdentity,
    *,
    url: str,
    workload: Workload | None,
    dataset_sha256: str | None = None,
    **extra: Any,
) -> RunConfig:
    """BenchmarkRun spec + the workload it names -> RunConfig. Pure; raises ValueError where nothing says the load.

    `workload` is the file that `workloadRef` points at, None when the spec holds its workload inline.
    """
    if spec.workload is not None:
        base: WorkloadSpec = spec.workload
        name, version, stages = "inline", None, spec.stages
    else:
        if workload is None:
            raise ValueError("the run names no workload")
        base = WorkloadSpec(**workload.model_dump(include=set(WorkloadSpec.model_fields)))
        name, version, stages = workload.name, workload.version, spec.stages or workload.stages
    if stages is None:
        raise ValueError("spec.stages is missing: an inline workload has no stages of its own")
    if spec.max_output_tokens is not None and base.operations is None:
        base = base.model_copy(update={"max_output_tokens": spec.max_output_tokens})
    warmup = spec.warmup or (workload.warmup if workload else Warmup())
    target = spec.target
    in_cluster = extra.get("vantage", "local") != "local"
    deadline_s = spec.execution.active_deadline_seconds or plan_seconds(
        stages[:1] if spec.search else stages, warmup, spec.search.max_steps if spec.search else spec.repetitions + spec.rerun_outliers,
        spec.cooldown_seconds, target, base,
    ) + (GATHER_S if in_cluster and spec.execution.workers > 1 else 0)  # fmt: skip
    return RunConfig(
        run=run,
        target=RunTarget(
            engine=target.engine,
            model=target.called,
            url=url,
            request_timeout_s=target.request_timeout_seconds,
            first_token_timeout_s=target.first_token_timeout_seconds,
            idle_timeout_s=target.idle_timeout_seconds,
            token_env=extra.pop("token_env", None),
            ca_file=extra.pop("ca_file", None),
            insecure_skip_tls_verify=target.insecure_skip_tls_verify,
            proxy_url=target.proxy_url,
            gpu_metrics_url=target.gpu_metrics_url,
            host_metrics_url=target.host_metrics_url,
            reuse_connections=target.connections.policy == "Reuse",
            max_connections=target.connections.max_open,
            honour_retry_after=target.retry_after == "Honour",
            retrieval=(spec.retrieval or Retrieval()) if target.engine == "rag" else None,
            database=(spec.database or DatabaseSpec()) if target.engine in DATABASES else None,
        ),
        workload=base,
        workload_identity=WorkloadIdentity(name=name, version=version, hash=base.content_hash(dataset_sha256)),
        stages=stages,
        warmup=warmup,
        repetitions=spec.repetitions,
        rerun_outliers=spec.rerun_outliers,
        cooldown_seconds=spec.cooldown_seconds,
        stop_rules=spec.stop_rules,
        search=spec.search,
        workers=1 if in_cluster else spec.execution.workers,
        calibrate=spec.calibration == "Always" or (spec.calibration == "Auto" and in_cluster),
        seed=spec.seed,
        objectives=spec.objectives or [],
        detail=spec.results.detail,
        stores=store_sinks(spec.results, in_pod=in_cluster),
        purpose=spec.purpose,
        way_to_measure=None if in_cluster else _way_to_measure(spec, url),
        environment=spec.environment,
        deadline_s=deadline_s,
        spec_hash=hashlib.sha256(canonical_json(spec.snake())).hexdigest(),
        **extra,
    )


def _way_to_measure(spec: BenchmarkRunSpec, url: str) -> WayToMeasure | None:
    asked = spec.network
    if asked is None or not asked.measure:
        return None
    return WayToMeasure(host=urlsplit(url).hostname or "", repetitions=asked.repetitions)


def service_in(url: str) -> tuple[str, str] | None:
    """(namespace, Service) of an address inside the cluster: name.namespace.svc, with or without what follows."""
    parts = (urlsplit(url).hostname or "").rstrip(".").removesuffix(".cluster.local").split(".")
    return (parts[1], parts[0]) if len(parts) == 3 and parts[2] == "svc" else None


def vantage_in_cluster(endpoint: str | None) -> Literal["in_cluster", "north_south"]:
    """How a pod comes to its target: by a Service of the cluster, or by the way in that everybody takes."""
    return "in_cluster" if endpoint is None or service_in(endpoint) is not None else "north_south"


def service_url(spec: BenchmarkRunSpec, namespace: str) -> str:
    """The address of the target as seen from a pod of that namespace."""
    if spec.target.endpoint is not None:
        return spec.target.endpoint.url.rstrip("/")
    ref = spec.target.service_ref
    if ref is None:
        raise ValueError("the target has neither endpoint nor serviceRef")
    scheme = "postgresql" if spec.target.engine == "postgres" else ref.scheme
    return f"{scheme}://{ref.name}.{namespace}.svc:{ref.port}{ref.path}".rstrip("/")
