"""BenchmarkMatrix v1alpha1: models by quantisation and use in a cluster. The operator starts a server, makes the runs of all its cells one after the
other, takes it away, and starts the next.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from .base import Contract, Label, ObjectName, Port, Sha256, Text63, Text253, Text1024, cel, list_map, rules
from .benchmarkrun import Cost
from .kube import (
    ConfigMapKey,
    Environment,
    Execution,
    ObjectMeta,
    Quantity,
    Results,
    RetryExecution,
    Status,
    immutable,
    named_within,
)
from .local_models import Quantization
from .matrix import MatrixLimits
from .run_template import TemplateMeta

LONGEST_NAME = 37  # a run's name has 48 characters, ten of them for what tells it from the others
MOST_CELLS = 256
MOST_SERVERS = 256
CODE_RESULT_KEY = "code_result.json"  # of the ConfigMap with what was found of a cell that asks for code
CellPhase = Literal["Waiting", "Running", "Measured", "Failed", "Skipped"]
ServerPhase = Literal["Starting", "Serving", "Stopped", "Failed"]
# Options that change how fast an answer comes, and nothing else: none that opens a file, runs a program or serves what is none of a model's business.
SERVER_OPTIONS = (
    "batch-size", "cache-reuse", "cache-type-k", "cache-type-v", "cont-batching", "cpu-mask", "cpu-moe", "cpu-range", "cpu-strict", "device", "flash-attn",
    "kv-unified", "main-gpu", "mlock", "n-cpu-moe", "no-cont-batching", "no-kv-offload", "no-mmap", "no-repack", "no-warmup", "numa", "poll", "prio", "rope-freq-base",
    "rope-freq-scale", "rope-scale", "rope-scaling", "split-mode", "swa-full", "tensor-split", "threads-http", "ubatch-size", "yarn-attn-factor", "yarn-beta-fast",
    "yarn-beta-slow", "yarn-ext-factor", "yarn-orig-ctx",
)  # fmt: skip
ServerWord = Annotated[str, Field(min_length=1, max_length=128, pattern=rf"^(--({'|'.join(SERVER_OPTIONS)})|[A-Za-z0-9][A-Za-z0-9_.,:*+-]*)$")]  # fmt: skip
ModelPath = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^/?[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*$")]  # fmt: skip


def code_result_name(run: str) -> str:
    """Of that ConfigMap; `run` is the cell's."""
    return f"{run}-code"


class MatrixFile(Contract):
    """A model's file of one quantisation."""

    quantization: Quantization
    path: ModelPath = Field(
        description="Below the claim of spec.store, where there is one; else in the server's image, from / on."
    )
    sha256: Sha256 | None = Field(default=None, description="Of a file that is fetched.")
    size_bytes: Annotated[int, Field(ge=1, le=2**50)] | None = Field(
        default=None,
        description="Smaller files go first, and where one asks too much of its machine, larger ones at the same quantisation are left out. Unset: in the "
        "order of the list.",
    )
    memory: Quantity | None = Field(
        default=None, description="Request and limit of the server that holds it, instead of server.execution's."
    )


class Repository(Contract):
    """Of the Hugging Face Hub, or of what speaks like it."""

    repo: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    revision: Text253 = "main"


class MatrixModel(Contract):
    name: Label = Field(description="What its server calls it.")
    context: Annotated[int, Field(ge=256, le=10_000_000)] | None = Field(
        default=None, description="That it was made for, in tokens; loads that need more are left out."
    )
    hub: Repository | None = Field(
        default=None, description="Where its files are fetched from, if the store lacks them."
    )
    files: Annotated[list[MatrixFile], Field(min_length=1, max_length=16, json_schema_extra=list_map("quantization"))]


class ModelStore(Contract):
    """A PersistentVolumeClaim of the namespace. Servers mount it read-only; a Job fetches into it what models with `hub` lack."""

    claim_name: ObjectName
    endpoint: Annotated[str, Field(max_length=1024, pattern=r"^https?://[^?#@\s]+$")] | None = Field(
        default=None, description="In the place of huggingface.co."
    )
    token_secret_ref: ConfigMapKey | None = Field(
        default=None, description="Secret and key of a token for the hub; the fetching pod alone reads it."
    )
    deadline_seconds: Annotated[int, Field(ge=60, le=604_800)] = Field(
        default=86_400, description="How long fetching is tried."
    )


class MatrixServer(Contract):
    """llama-server, or an image whose entrypoint takes its options. A pod of it is alone: it is given its model, context, streams, threads and GPU layers."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("has(self.execution.image)", "name the server's image", path=".execution.image"),
            cel("self.execution.workers == 1", "a server is one pod", path=".execution.workers"),
        )
    )
    args: Annotated[list[ServerWord], Field(max_length=64)] = Field(
        default=[],
        description="Further options of llama-server with their values, long names alone: those that change its speed.",
    )
    port: Port = 8080
    threads: Annotated[list[Annotated[int, Field(ge=1, le=1024)]], Field(max_length=8)] = Field(
        default=[], description="Several are compared; unset: the server's own choice."
    )
    gpu_layers: Annotated[list[Annotated[int, Field(ge=0, le=10_000)]], Field(max_length=8)] = Field(
        default=[], description="That it keeps on GPUs; several are compared, such as 0 and 99."
    )
    contexts: Annotated[list[Annotated[int, Field(ge=256, le=10_000_000)]], Field(max_length=8)] = Field(
        default=[],
        description="Tokens that it keeps for a stream; several are compared. Unset, or where a use asks for more: what each use asks for.",
    )
    execution: Execution = Field(
        description="Its pod. `image` has to stand in the operator's allow-list; `activeDeadlineSeconds` ends a server that nobody takes away (a day if unset)."
    )

    @model_validator(mode="after")
    def _one_image(self) -> MatrixServer:
        if self.execution.image is None:
            raise ValueError("execution.image: name the server's image")
        if self.execution.workers != 1:
            raise ValueError("execution.workers: a server is one pod")
        return self


class CellRuns(Contract):
    """What the runs of all cells have. Four more labels say which cell of a matrix each is."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.environment) || !has(self.environment.labels) || size(self.environment.labels) <= 28",
                "28 labels at most: a run has 32, and four say which cell it is",
                path=".environment.labels",
            )
        )
    )

    metadata: TemplateMeta = TemplateMeta()
    environment: Environment = Environment()
    execution: RetryExecution = RetryExecution()
    results: Results = Results()
    cost: Cost | None = None

    @model_validator(mode="after")
    def _room_for_labels(self) -> CellRuns:
        if len(self.environment.labels or {}) > 28:
            raise ValueError("environment.labels: 28 labels at most: a run has 32, and four say which cell it is")
        return self


class GiveUp(Contract):
    """When to give up on a model."""

    load_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=300, description="From the start of its container until the server is ready."
    )
    ttft_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=30, description="Until the first token of an answer."
    )
    tokens_per_second: Annotated[int, Field(ge=0, le=10_000)] = Field(default=2, description="Of an answer, at least.")
    celsius: Annotated[int, Field(ge=40, le=120)] = Field(
        default=90, description="Of the server's machine, in a stress test, where an exporter tells it."
    )

    def of_matrix(self) -> MatrixLimits:
        return MatrixLimits(
            load_s=self.load_seconds,
            ttft_s=self.ttft_seconds,
            tokens_per_s=self.tokens_per_second,
            celsius=self.celsius,
        )


class MatrixSpec(Contract):
    """What is asked is immutable: results of another question are no answer to this one."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!self.models.exists(m, has(m.hub)) || has(self.store)",
                "models with hub need store, the claim that they are fetched into",
                path=".store",
            ),
            cel(
                "self.models.all(m, m.files.all(f, f.path.startsWith('/') != has(self.store)))",
                "path of a file: below the claim of store where there is one, else in the server's image, from / on",
                path=".models",
            ),
            *[immutable(name, always=True) for name in ("depth", "profiles", "server", "limits", "seed", "runs")],
            immutable("models", always=True, key="name"),
            *[immutable(name) for name in ("profilesRef", "store")],
        )
    )
    depth: Literal["Quick", "Standard", "Full"] = Field(
        default="Standard", description="A few requests a cell, more, or repeated for a decision."
    )
    profiles: Annotated[list[Label], Field(max_length=32)] = Field(
        default=[], description="Uses, such as interactive and quality; unset: all that are not only run on request."
    )
    profiles_ref: ConfigMapKey | None = Field(
        default=None, description="A profiles/v1 file in the place of the built-in one."
    )
    models: Annotated[list[MatrixModel], Field(min_length=1, max_length=32, json_schema_extra=list_map("name"))]
    store: ModelStore | None = None
    server: MatrixServer
    limits: GiveUp = GiveUp()
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    runs: CellRuns = CellRuns()
    suspend: bool = Field(
        default=False,
        description="No further run is begun, and the server is taken away; the run under way goes on to its end.",
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="The matrix and its runs are deleted so long after the last of them."
    )

    @model_validator(mode="after")
    def _whole(self) -> MatrixSpec:
        if self.store is None and (lost := [model.name for model in self.models if model.hub]):
            raise ValueError(f"store: {', '.join(lost)} with hub need the claim that they are fetched into")
        if wrong := [
            each.path for model in self.models for each in model.files if each.path.startswith("/") == bool(self.store)
        ]:
            raise ValueError(
                f"models: {', '.join(wrong)}: a path is below the claim of store where there is one, else in the server's image, from / on"
            )
        places = [each.path.rpartition("/")[2] for model in self.models if model.hub for each in model.files]
        if twice := sorted({place for place in places if places.count(place) > 1}):
            raise ValueError(f"models: two files of the hub would lie at {', '.join(twice)} in the store")
        return self


class MatrixCell(Contract):
    """One of its cells. `message` says why it is not measured, or why nothing heavier was tried after it (`beyond`: it asked too much)."""

    name: Text63
    run: Text63 = Field(
        description="Its BenchmarkRun; of code, what the names of its Jobs and of its result begin with."
    )
    state: CellPhase
    server: int | None = Field(default=None, description="The number of the server that it ran on.")
    reason: Text63 | None = Field(default=None, description="Of its run's condition Succeeded.")
    message: Text1024 | None = None
    valid: Literal["True", "False", "Unknown"] | None = None
    beyond: bool = False


class MatrixServerStatus(Contract):
    """A server that was started. `way` tells how, where several ways are compared."""

    number: int
    model: Text63
    quantization: Text63
    context: int
    streams: int
    way: Text63 = ""
    state: ServerPhase
    message: Text1024 | None = None
    load_milliseconds: int | None = Field(
        default=None, description="From the start of its container until it was ready, in whole seconds' steps."
    )


class MatrixStatus(Status):
    model_config = ConfigDict(extra="ignore")
    matrix_id: Annotated[str, Field(max_length=64)] | None = Field(default=None, alias="matrixID")
    cells_progress: Annotated[str, Field(max_length=16)] | None = None
    models_fetched: bool = False
    cells: Annotated[list[MatrixCell], Field(max_length=MOST_CELLS, json_schema_extra=list_map("name"))] = []
    servers: Annotated[
        list[MatrixServerStatus], Field(max_length=MOST_SERVERS, json_schema_extra=list_map("number"))
    ] = []


class BenchmarkMatrix(Contract):
    api_version: Literal["tokenmark.dev/v1alpha1"]
    kind: Literal["BenchmarkMatrix"]
    metadata: Annotated[ObjectMeta, named_within(LONGEST_NAME, "a matrix's")]
    spec: MatrixSpec
    status: MatrixStatus | None = None
