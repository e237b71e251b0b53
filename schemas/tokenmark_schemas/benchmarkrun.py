"""BenchmarkRun v1alpha1: one measured load on one target, as a Kubernetes object.

A run is a record: everything that influences the measurement is immutable, only `suspend` and
`ttlSecondsAfterFinished` may change. A rerun is a new object; statistical repeats are `repetitions`.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from .base import (
    Contract,
    KeyName,
    Label,
    ObjectName,
    Port,
    Seconds,
    Text1024,
    Tokens,
    cel,
    exactly_one,
    list_map,
    rules,
)
from .database import DATABASES, DatabaseSpec
from .kube import (
    ConfigMapKey,
    Environment,
    Exclusivity,
    ObjectMeta,
    Results,
    RetryExecution,
    immutable,
)
from .network import NetworkSpec
from .rag import Retrieval
from .run_status import RunStatus
from .stopping import Search, StopRules
from .workload import Stages, Warmup, WorkloadSpec, check_stage_names

EngineName = Literal[
    "openai", "openai-completions", "vllm", "sglang", "tgi", "ollama", "llamacpp", "rag", "postgres", "chroma"
]


class Endpoint(Contract):
    url: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^(https?|postgresql)://")]

    @field_validator("url")
    @classmethod
    def _no_user_information(cls, url: str) -> str:
        if "@" in url:
            raise ValueError("endpoint.url must not contain user information; use authSecretRef")
        if "?" in url or "#" in url:
            raise ValueError("endpoint.url must end with the path: a query would be left out")
        try:
            parts = urlsplit(url)
            named = parts.hostname is not None and parts.port != 0
        except ValueError:
            named = False
        if not named:
            raise ValueError("endpoint.url is not a URL; write for example http://host:8000")
        if parts.scheme == "postgresql" and parts.path.strip("/"):
            raise ValueError("endpoint.url: an existing database is named in spec.database.name, not in the address")
        return url


class ServiceRef(Contract):
    """A Service in the run's own namespace."""

    name: Label
    port: Port
    scheme: Literal["http", "https"] = "http"
    path: Annotated[str, Field(max_length=256, pattern=r"^/")] = "/"


class SecretKeyRef(Contract):
    """A key of a Secret in the run's namespace. Only the runner pod mounts it; the operator never reads it."""

    name: ObjectName
    key: KeyName


class Connections(Contract):
    """Kept and used again by default, as the client of an application does."""

    policy: Literal["Reuse", "PerRequest"] = "Reuse"
    max_open: Annotated[int, Field(ge=1, le=65_000)] = Field(
        default=16_384, description="Requests beyond it wait, and their wait counts in the scheduled metrics."
    )


class Target(Contract):
    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one("endpoint", "serviceRef"),
            cel(
                "!has(self.endpoint) || !self.endpoint.url.contains('@')",
                "endpoint.url must not contain user information; use authSecretRef",
                path=".endpoint.url",
            ),
            cel(
                "!has(self.endpoint) || !self.endpoint.url.matches('[?#]')",
                "endpoint.url must end with the path: a query would be left out",
                path=".endpoint.url",
            ),
            cel(
                "!has(self.endpoint) || isURL(self.endpoint.url)",
                "endpoint.url is not a URL, such as http://host:8000",
                path=".endpoint.url",
            ),
            cel(
                "self.firstTokenTimeoutSeconds <= self.requestTimeoutSeconds",
                "firstTokenTimeoutSeconds must not be above requestTimeoutSeconds",
                path=".firstTokenTimeoutSeconds",
            ),
            cel(
                "has(self.model) || self.engine in ['postgres', 'chroma']",
                "model is missing: name it as the server knows it",
                path=".model",
            ),
            cel(
                "!has(self.endpoint) || self.endpoint.url.startsWith('postgresql://') == (self.engine == 'postgres')",
                "endpoint.url: postgresql://host:5432 for engine postgres, http:// or https:// for every other",
                path=".endpoint.url",
            ),
        )
    )
    engine: EngineName = "openai"
    model: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None,
        validate_default=True,
        description="As the server knows it; of a database a name of your choice, or none.",
    )
    endpoint: Endpoint | None = None
    service_ref: ServiceRef | None = None
    auth_secret_ref: SecretKeyRef | None = None
    ca_bundle_ref: ConfigMapKey | None = Field(default=None, description="PEM bundle in a ConfigMap, for https.")
    insecure_skip_tls_verify: bool = Field(
        default=False, alias="insecureSkipTLSVerify", description="Take any certificate; the result says so."
    )
    proxy_url: Annotated[str, Field(max_length=2048, pattern=r"^http://[^/@]+/?$")] | None = Field(
        default=None, description="An HTTP proxy, http://host:port; https goes through it by CONNECT."
    )
    gpu_metrics_url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^@?#]+$")] | None = Field(
        default=None, description="The page of a DCGM exporter that sees the target's GPUs, http://host:9400/metrics."
    )
    host_metrics_url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^@?#]+$")] | None = Field(
        default=None, description="The page of the node exporter on the target's node, http://node:9100/metrics."
    )
    connections: Connections = Connections()
    retry_after: Literal["Ignore", "Honour"] = Field(
        default="Ignore", description="Honour: a closed loop's slot rests as long as a 429 or 503 asks, at most 60 s."
    )
    request_timeout_seconds: Seconds = 600
    first_token_timeout_seconds: Seconds = 120
    idle_timeout_seconds: Seconds = Field(default=60, description="Longest silence inside an answer.")

    @model_validator(mode="after")
    def _one_address(self) -> Target:
        if (self.endpoint is None) == (self.service_ref is None):
            raise ValueError("set exactly one of endpoint, serviceRef")
        if self.first_token_timeout_seconds > self.request_timeout_seconds:
            raise ValueError("firstTokenTimeoutSeconds must not be above requestTimeoutSeconds")
        return self

    @field_validator("endpoint")
    @classmethod
    def _of_the_engines_kind(cls, endpoint: Endpoint | None, info: ValidationInfo) -> Endpoint | None:
        if endpoint and endpoint.url.startswith("postgresql:") != (info.data.get("engine") == "postgres"):
            raise ValueError("postgresql://host:5432 for engine postgres, http:// or https:// for every other")
        return endpoint

    @field_validator("model")
    @classmethod
    def _named(cls, model: str | None, info: ValidationInfo) -> str | None:
        if model is None and info.data.get("engine", "openai") not in DATABASES:
            raise ValueError("model is missing: name it as the server knows it")
        return model

    @property
    def called(self) -> str:
        """The model, or of a database that none is named for, the engine."""
        return self.model or self.engine


class WorkloadRef(Contract):
    model_config = ConfigDict(json_schema_extra=rules(exactly_one("name", "configMap")))
    name: Label | None = Field(default=None, description="A built-in workload.")
    config_map: ConfigMapKey | None = Field(default=None, description="A workload file in a ConfigMap.")

    @model_validator(mode="after")
    def _one_source(self) -> WorkloadRef:
        if (self.name is None) == (self.config_map is None):
            raise ValueError("set exactly one of name, configMap")
        return self


LATENCY = ["maxMilliseconds", "maxMicroseconds"]


class Objective(Contract):
    """A limit the run is held to. `onViolation: Fail` makes a miss a failed run."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.maxMilliseconds), has(self.maxMicroseconds), has(self.minPerSecondMilli), "
                "has(self.maxPerMille), has(self.minPerMille)].filter(x, x).size() == 1",
                "set exactly one of maxMilliseconds, maxMicroseconds, minPerSecondMilli, maxPerMille, minPerMille",
            ),
            cel(
                "!(self.metric in ['recall', 'accuracy']) || self.statistic == 'mean'",
                "recall and accuracy are means: set statistic to mean",
            ),
        )
    )
    metric: Literal[
        "ttft", "ttft_scheduled", "ttfo", "tpot", "itl", "e2e", "e2e_scheduled", "output_tokens_per_s",
        "requests_per_s", "errors", "recall", "accuracy",
    ]  # fmt: skip
    statistic: Literal["p50", "p90", "p95", "p99", "mean"] = "p99"
    max_milliseconds: Annotated[int, Field(ge=1, le=86_400_000)] | None = None
    max_microseconds: Annotated[int, Field(ge=1, le=2_000_000_000)] | None = Field(
        default=None, description="In place of maxMilliseconds, where they are too coarse."
    )
    min_per_second_milli: Annotated[int, Field(ge=1, le=2_000_000_000)] | None = Field(
        default=None, description="For throughput, in thousandths per second."
    )
    max_per_mille: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None, description="For errors: failed requests per thousand sent."
    )
    min_per_mille: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None,
        description="For recall: found of a thousand of the nearest. For accuracy: right of a thousand tests.",
    )
    on_violation: Literal["Report", "Fail"] = "Report"

    @model_validator(mode="after")
    def _limit_fits_metric(self) -> Objective:
        if self.metric in ("recall", "accuracy") and self.statistic != "mean":
            raise ValueError("recall and accuracy are means: set statistic to mean")
        rates = ("output_tokens_per_s", "requests_per_s")
        shares = {"errors": ["maxPerMille"], "recall": ["minPerMille"], "accuracy": ["minPerMille"]}
        wanted = shares.get(self.metric) or (["minPerSecondMilli"] if self.metric in rates else LATENCY)
        given = [name for name, value in self.camel().items() if name[:3] in ("max", "min") and value is not None]
        if len(given) != 1 or given[0] not in wanted:
            raise ValueError(f"an objective on {self.metric} takes {' or '.join(wanted)} and no other limit")
        return self

    @property
    def max_seconds(self) -> float | None:
        """The limit of a latency."""
        if self.max_microseconds is not None:
            return self.max_microseconds / 1e6
        return None if self.max_milliseconds is None else self.max_milliseconds / 1e3


PerMille = Annotated[int, Field(ge=0, le=10_000)]


class BaselineGate(Contract):
    """A line of the comparison that decides: with no statistic all of the metric's, with no stage at every stage."""

    metric: Literal[
        "success_rate", "recall", "requests_per_s", "output_tokens_per_s", "ttft", "ttft_scheduled", "tpot", "itl", "e2e", "e2e_scheduled",
    ]  # fmt: skip
    statistic: Literal["p50", "p90", "p95", "p99"] | None = None
    stage: Label | None = None
    min_effect_per_mille: PerMille | None = Field(
        default=None, description="In place of minEffectPerMille of the whole."
    )


class BaselineRef(Contract):
    """An earlier run of the same work in the same namespace, or what was promoted last under a baseline's name there. Gates that
    are not named are the run's objectives."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("name", "baseline")))
    name: ObjectName | None = Field(default=None, description="A BenchmarkRun.")
    baseline: Label | None = Field(
        default=None, description="A baseline: tokenmark baseline set NAME RUN --in namespace:NS."
    )
    gates: Annotated[list[BaselineGate], Field(max_length=16)] | None = None
    min_effect_per_mille: PerMille = Field(
        default=50,
        description="Changes below it do not matter; of the success rate it is 10 unless its gate says otherwise.",
    )
    on_regression: Literal["Report", "Fail"] = "Report"

    @model_validator(mode="after")
    def _one_of_them(self) -> BaselineRef:
        if (self.name is None) == (self.baseline is None):
            raise ValueError("set exactly one of name, baseline")
        return self

    @property
    def called(self) -> str:
        return self.name or f"baseline {self.baseline}"


class ObjectRef(Contract):
    name: ObjectName


class InlineCost(Contract):
    """What an hour of one instance costs. Money as integers: millionths of a dollar."""

    microdollars_per_hour: Annotated[int, Field(ge=0, le=10**12)]
    instances: Annotated[int, Field(ge=1, le=10_000)] = 1
    source: Annotated[str, Field(min_length=1, max_length=253)] = "spec.cost.inline"


class CostConfigMap(Contract):
    """A cost/v1 file."""

    name: ObjectName
    key: KeyName = "cost.yaml"


class Cost(Contract):
    model_config = ConfigDict(json_schema_extra=rules(exactly_one("configMap", "inline")))
    config_map: CostConfigMap | None = None
    inline: InlineCost | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Cost:
        if (self.config_map is None) == (self.inline is None):
            raise ValueError("set exactly one of configMap, inline")
        return self


_RUN_IMMUTABLE = (
    ("target", True), ("workloadRef", False), ("workload", False), ("maxOutputTokens", False), ("warmup", False),
    ("retrieval", False), ("database", False), ("repetitions", True), ("rerunOutliers", True), ("cooldownSeconds", True), ("stopRules", True), ("calibration", True),
    ("seed", True), ("baselineRef", False),
    ("netProbeRef", False), ("network", False), ("cost", False), ("search", False), ("purpose", False), ("environment", True),
    ("execution", True), ("exclusivity", True), ("results", True),
)  # fmt: skip


class BenchmarkRunSpec(Contract):
    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!(has(self.workload) && has(self.workloadRef))", "set workload or workloadRef, not both"),
            cel("!(has(self.netProbeRef) && has(self.network))", "set netProbeRef or network, not both"),
            cel(
                "!has(self.search) || has(self.objectives)", "search needs objectives: they say what a level must meet"
            ),
            cel(
                "!self.rerunOutliers || (self.repetitions >= 5 && !has(self.search))",
                "rerunOutliers needs five repetitions or more, and no search: of fewer none can be said to lie apart",
            ),
            *[immutable(name, always=always) for name, always in _RUN_IMMUTABLE],
            immutable("stages", key="name"),
            immutable("objectives", key="metric"),
        )
    )
    target: Target
    workload_ref: WorkloadRef | None = Field(default=None, description="Default: the built-in workload smoke.")
    workload: WorkloadSpec | None = None
    max_output_tokens: Tokens | None = Field(default=None, description="Overrides the workload's.")
    warmup: Warmup | None = Field(default=None, description="Default: the workload's, else 10 requests and 5 s.")
    retrieval: Retrieval | None = None
    database: DatabaseSpec | None = None
    stages: Stages | None = Field(default=None, description="Default: the workload's.")
    repetitions: Annotated[int, Field(ge=1, le=50)] = 3
    rerun_outliers: bool = Field(
        default=False,
        description="Measure a repetition that lies apart from the others once more, in its place; the result names it.",
    )
    cooldown_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    stop_rules: StopRules = StopRules()
    calibration: Literal["Auto", "Always", "Never"] = Field(
        default="Auto",
        description="Two seconds against the bundled simulator before each load level; Auto: in a cluster only.",
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    objectives: (
        Annotated[
            list[Objective], Field(min_length=1, max_length=32, json_schema_extra=list_map("metric", "statistic"))
        ]
        | None
    ) = None
    baseline_ref: BaselineRef | None = None
    net_probe_ref: ObjectRef | None = Field(
        default=None, description="A NetProbe whose figures explain a part of the latency."
    )
    network: NetworkSpec | None = Field(default=None, description="In place of netProbeRef: a probe of this run's own.")
    cost: Cost | None = None
    search: Search | None = None
    purpose: Text1024 | None = Field(default=None, description="Why this run was made; carried into the result.")
    environment: Environment = Environment()
    execution: RetryExecution = RetryExecution()
    exclusivity: Exclusivity = Exclusivity()
    results: Results = Results()
    suspend: bool = False
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> BenchmarkRunSpec:
        if self.workload is not None and self.workload_ref is not None:
            raise ValueError("set workload or workloadRef, not both")
        if self.net_probe_ref is not None and self.network is not None:
            raise ValueError("set netProbeRef or network, not both")
        if self.search is not None and not self.objectives:
            raise ValueError("search needs objectives: they say what a level must meet")
        if self.rerun_outliers and (self.repetitions < 5 or self.search is not None):
            raise ValueError(
                "rerunOutliers needs five repetitions or more, and no search: of fewer none can be said to lie apart"
            )
        check_stage_names(self.stages or [])
        keys = [(o.metric, o.statistic) for o in self.objectives or []]
        if len(set(keys)) != len(keys):
            raise ValueError("each objective's metric and statistic may stand once")
        return self


class BenchmarkRun(Contract):
    """The object itself; metadata and status as far as Tokenmark reads them."""

    api_version: Literal["tokenmark.dev/v1alpha1"]
    kind: Literal["BenchmarkRun"]
    metadata: ObjectMeta
    spec: BenchmarkRunSpec
    status: RunStatus | None = None
