"""What both kinds share: metadata, conditions, execution, results, environment, and the immutability rules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from .base import (
    Contract,
    KeyName,
    Label,
    ObjectName,
    StringMap,
    Text63,
    Text253,
    Text1024,
    cel,
    exactly_one,
    list_map,
    rules,
)

GROUP = "tokenmark.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Timestamp = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
FreeObject = Annotated[dict[str, Any], Field(max_length=64)]

# Kubernetes' own grammar of a resource quantity.
QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
Quantity = Annotated[str, Field(max_length=32, pattern=QUANTITY)]
Resources = Annotated[dict[str, Quantity], Field(max_length=16)]


class ObjectMeta(Contract):
    """The part of metadata that Tokenmark reads; everything else passes through unread."""

    model_config = ConfigDict(extra="ignore")
    name: Annotated[str, Field(min_length=1, max_length=48, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    namespace: Text63 = "default"
    uid: Text253 = ""
    generation: int = 1
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    resource_version: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _generated(cls, given: Any) -> Any:
        """A manifest for `kubectl create` may leave the name to the API server."""
        if isinstance(given, dict) and "name" not in given and given.get("generateName"):
            return {**given, "name": str(given["generateName"]).rstrip("-")}
        return given


def named_within(longest: int, whose: str) -> AfterValidator:
    """Names of what makes other objects are shorter: those carry them."""

    def short(metadata: ObjectMeta) -> ObjectMeta:
        if len(metadata.name) > longest:
            raise ValueError(f"name: {whose} name has {longest} characters at most, for its runs carry it")
        return metadata

    return AfterValidator(short)


class ResourceRequirements(Contract):
    requests: Resources | None = None
    limits: Resources | None = None


class Toleration(Contract):
    key: Text253 | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: Text253 | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None


class PullSecret(Contract):
    name: ObjectName


class Execution(Contract):
    """Where and with what a runner pod runs: a small override set, never a whole pod template."""

    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Pods, or on a laptop processes, that share the load."
    )
    image: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Only images the operator's allow-list names."
    )
    resources: ResourceRequirements | None = None
    node_selector: StringMap | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    affinity: FreeObject | None = None
    topology_spread_constraints: Annotated[list[FreeObject], Field(max_length=4)] | None = None
    priority_class_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    service_account_name: ObjectName | None = Field(
        default=None, description="Only accounts the operator's allow-list names; no token is mounted."
    )
    image_pull_secrets: Annotated[list[PullSecret], Field(max_length=8)] | None = None
    pod_labels: StringMap | None = None
    pod_annotations: Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32)] | None = None
    queue_name: Label | None = Field(default=None, description="A Kueue local queue.")
    active_deadline_seconds: Annotated[int, Field(ge=60, le=86_400)] | None = Field(
        default=None, description="Default: what the plan needs, plus a margin. Counted from when a node took the pod."
    )
    startup_deadline_seconds: Annotated[int, Field(ge=30, le=86_400)] = Field(
        default=600, description="For every pod to run: scheduling and pulling images; then the target is free again."
    )


class RetryExecution(Execution):
    max_attempts: Annotated[int, Field(ge=1, le=5)] = 2
    retry_on: Annotated[list[Literal["Disruption"]], Field(max_length=1)] = ["Disruption"]


class Exclusivity(Contract):
    """No two loads on one target: runs of one group go one after the other, oldest first."""

    group: Label | None = Field(default=None, description="Default: derived from the target.")
    policy: Literal["Queue", "Allow", "Reject"] = "Queue"


class SecretRef(Contract):
    name: ObjectName


class ConfigMapKey(Contract):
    name: ObjectName
    key: KeyName


KEY_FIELDS = (
    "provider", "region", "cluster", "namespace", "run", "uid", "date", "time", "model", "engine", "workload", "attempt",
)  # fmt: skip
KEY_TEMPLATE = "runs/{provider}/{cluster}/{date}/{namespace}/{run}-{time}"
KEY_PATTERN = rf"^([A-Za-z0-9._=/-]|\{{({'|'.join(KEY_FIELDS)})\}})+$"


class ObjectStore(Contract):
    """A bucket and a prefix. Only the pod that uploads mounts the credentials; without them it goes as who it is."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.keyTemplate) || (self.keyTemplate.contains('{run}') && "
                "(self.keyTemplate.contains('{time}') || self.keyTemplate.contains('{uid}')))",
                "keyTemplate needs {run} and one of {time}, {uid}: else runs would overwrite each other",
                path=".keyTemplate",
            ),
            cel("!has(self.region) || self.uri.startsWith('s3:')", "region is for s3; leave it out", path=".region"),
        )
    )
    uri: Annotated[str, Field(min_length=6, max_length=1024, pattern=r"^(s3|gs|az|file)://[^?#@\s]+$")] = Field(
        description="s3://bucket/prefix, gs://bucket/prefix, az://container/prefix; outside a cluster also file:///folder."
    )
    endpoint: Annotated[str, Field(max_length=1024, pattern=r"^https?://[^?#@\s]+$")] | None = Field(
        default=None, description="Address of a store that speaks one of these, such as MinIO or Ceph."
    )
    region: Text63 | None = None
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret of the run's namespace, its keys named as the store's own variables: AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, GOOGLE_SERVICE_ACCOUNT_KEY, AZURE_STORAGE_ACCOUNT_KEY. Unset: the pod's own identity.",
    )
    ca_bundle_ref: ConfigMapKey | None = Field(default=None, description="PEM bundle in a ConfigMap, for https.")
    key_template: Annotated[str, Field(min_length=1, max_length=512, pattern=KEY_PATTERN)] = Field(
        default=KEY_TEMPLATE, description=f"Where under the prefix the files go. Fields: {', '.join(KEY_FIELDS)}."
    )
    deadline_seconds: Annotated[int, Field(ge=10, le=3600)] = Field(
        default=300, description="How long an upload is tried."
    )

    @model_validator(mode="after")
    def _region_of_s3(self) -> ObjectStore:
        if self.region is not None and not self.uri.startswith("s3:"):
            raise ValueError("region is for s3; leave it out")
        return self

    @model_validator(mode="after")
    def _tells_runs_apart(self) -> ObjectStore:
        template = self.key_template
        if "{run}" not in template or not ("{time}" in template or "{uid}" in template):
            raise ValueError("keyTemplate needs {run} and one of {time}, {uid}: else runs would overwrite each other")
        return self


class ConfigMapSink(Contract):
    """Results in a ConfigMap named after the run."""


class Sink(Contract):
    """One place for results. The ConfigMap has the summary in any case; an object store has everything."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("configMap", "objectStore")))
    name: Label
    config_map: ConfigMapSink | None = None
    object_store: ObjectStore | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Sink:
        if (self.config_map is None) == (self.object_store is None):
            raise ValueError("set exactly one of configMap, objectStore")
        return self


class Results(Contract):
    detail: Literal["Summary", "Requests", "Chunks", "Text"] = "Requests"
    sinks: Annotated[list[Sink], Field(min_length=1, max_length=4, json_schema_extra=list_map("name"))] = [
        Sink(name="configmap", config_map=ConfigMapSink())
    ]
    retention: Literal["DeleteWithRun", "Retain"] = "DeleteWithRun"


class Environment(Contract):
    """Said by the user; what is left out is detected from node labels."""

    provider: Text63 | None = None
    region: Text63 | None = None
    zone: Text63 | None = None
    cluster_label: Text63 | None = None
    instance_type: Text63 | None = None
    accelerator: Text63 | None = None
    labels: StringMap | None = None


class Condition(Contract):
    type: Annotated[str, Field(max_length=63)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(min_length=1, max_length=128)]
    message: Annotated[str, Field(max_length=4096)]
    last_transition_time: Timestamp
    observed_generation: Annotated[int, Field(ge=0)] | None = None


class Artifact(Contract):
    """Where a result lies, and how to know that it is whole."""

    name: Text253
    kind: Literal["ConfigMap", "ObjectStore"]
    ref: Annotated[str, Field(max_length=1024)]
    key: Text1024 | None = None
    sha256: Annotated[str, Field(max_length=64)] | None = None
    size_bytes: Annotated[int, Field(ge=0)] | None = None


class Status(Contract):
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    start_time: Timestamp | None = None
    completion_time: Timestamp | None = None
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))] | None = None
    artifacts: Annotated[list[Artifact], Field(max_length=32, json_schema_extra=list_map("name"))] | None = None


def immutable(name: str, *, always: bool = False, key: str | None = None) -> dict[str, str]:
    """A transition rule that refuses a change of `spec.<name>`.

    `always` says that the member has a default, so it is never absent. `key` is for lists of named items: a
    `listType: map` compares without regard to order, so the order of the keys is compared as well.
    """
    same = f"self.{name} == oldSelf.{name}"
    if key:
        same += f" && self.{name}.map(x, x.{key}) == oldSelf.{name}.map(x, x.{key})"
    rule = same if always else f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || ({same}))"
    return cel(
        rule,
        f"{name} is immutable once created; make a new object with another name",
        path=f".{name}",
        reason="FieldValueForbidden",
    )
