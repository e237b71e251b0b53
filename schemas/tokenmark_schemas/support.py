"""What this version does not do yet: refused by name, in a cluster and on a laptop alike, never ignored (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .database import DATABASES

if TYPE_CHECKING:
    from .benchmarkrun import BenchmarkRunSpec
    from .kube import Results
    from .netprobe import NetProbeSpec
    from .workload import Stage, WorkloadSpec

ENGINES = ("openai", "openai-completions", "vllm", "sglang", "tgi", "ollama", "llamacpp", "rag", *DATABASES)
SETS_MIN_TOKENS = ("vllm", "sglang")


def unsupported_run(
    spec: BenchmarkRunSpec, workload: WorkloadSpec, stages: list[Stage], *, in_cluster: bool
) -> list[str]:
    """The fields of a run that ask for what is not there, each as `path: what to do`."""
    target = spec.target
    checks = [
        (target.engine not in ENGINES, f"spec.target.engine: {target.engine}; supported: {', '.join(ENGINES)}"),
        (
            target.ca_bundle_ref is not None and not in_cluster,
            "spec.target.caBundleRef: outside a cluster; use --ca-file",
        ),
        (
            spec.retrieval is not None and target.engine != "rag",
            f"spec.retrieval: with engine {target.engine}; it is for rag",
        ),
        *_databases(spec, workload, stages),
        (
            spec.baseline_ref is not None and not in_cluster,
            "spec.baselineRef: outside a cluster; use tokenmark compare BASELINE RUN",
        ),
        (
            spec.net_probe_ref is not None and not in_cluster,
            "spec.netProbeRef: outside a cluster; use --network FILE",
        ),
        (
            _measures(spec) and spec.execution.workers > 1,
            "spec.network.measure: with execution.workers above 1; probe before, and name the probe in netProbeRef",
        ),
        (
            _measures(spec) and spec.execution.affinity is not None,
            "spec.network.measure: with execution.affinity; use nodeSelector",
        ),
        (
            spec.cost is not None and spec.cost.config_map is not None and not in_cluster,
            "spec.cost.configMap: outside a cluster; use --cost FILE",
        ),
        (
            spec.search is not None and bool(stages) and stages[0].trace is not None,
            "spec.search: over a trace; give the first stage a concurrency or a requestRate",
        ),
        (spec.results.detail == "Text", "spec.results.detail: Text; use Summary, Requests or Chunks"),
        (
            workload.min_output_tokens is not None and target.engine not in SETS_MIN_TOKENS,
            f"workload.minOutputTokens: with engine {target.engine}; use ignoreEOS: Force for equal lengths",
        ),
        (in_cluster and workload.dataset.jsonl is not None, "workload.dataset.jsonl: in a cluster; use configMap"),
        *[(in_cluster and is_folder, named) for is_folder, named in _folders(spec.results)],
    ]
    return [text for missing, text in checks if missing]


def _databases(spec: BenchmarkRunSpec, workload: WorkloadSpec, stages: list[Stage]) -> list[tuple[bool, str]]:
    engine, kinds = spec.target.engine, [operation.kind for operation in workload.operations or []]
    is_one = engine in DATABASES
    return [
        (spec.database is not None and not is_one, f"spec.database: with engine {engine}; it is for postgres and chroma"),
        (
            is_one and workload.operations is None,
            f"workload: of prompts, with engine {engine}; use one with operations, such as records-mixed or vector-search",
        ),
        (not is_one and workload.operations is not None, f"workload.operations: with engine {engine}; use postgres or chroma"),
        (engine == "chroma" and "Statement" in kinds, "workload.operations: kind Statement with engine chroma"),
        (
            engine == "chroma" and workload.dataset.records is not None and not workload.dataset.records.dimensions,
            "workload.dataset.records: without dimensions, with engine chroma, whose records are vectors",
        ),
        (
            engine == "chroma" and spec.database is not None and spec.database.index.kind == "Flat",
            "spec.database.index.kind: Flat with engine chroma, which always has Hnsw",
        ),
        (is_one and workload.conversation is not None, f"workload.conversation: with engine {engine}"),
        (is_one and spec.target.proxy_url is not None, f"spec.target.proxyUrl: with engine {engine}"),
        (is_one and any(stage.trace for stage in stages), f"stages: a trace, with engine {engine}"),
        (is_one and _measures(spec), f"spec.network.measure: with engine {engine}; use netProbeRef"),
        (is_one and spec.execution.workers > 1, f"spec.execution.workers: above 1, with engine {engine}"),
        (
            engine == "postgres" and spec.target.connections.policy == "PerRequest",
            "spec.target.connections.policy: PerRequest, with engine postgres",
        ),
    ]  # fmt: skip


def _folders(results: Results) -> list[tuple[bool, str]]:
    """A pod has no folder that outlives it."""
    said = "file: in a cluster; use s3, gs or az"
    return [
        (sink.object_store.uri.startswith("file:"), f"spec.results.sinks[{sink.name}].objectStore.uri: {said}")
        for sink in results.sinks
        if sink.object_store is not None
    ]


def _measures(spec: BenchmarkRunSpec) -> bool:
    return spec.network is not None and spec.network.measure


def unsupported_probe(spec: NetProbeSpec) -> list[str]:
    """The same for a probe."""
    checks = [
        (spec.exclusivity.group is not None, "spec.exclusivity.group: probes of a cluster share one group"),
        (spec.exclusivity.policy == "Reject", "spec.exclusivity.policy: Reject; use Queue or Allow"),
        (spec.execution.queue_name is not None, "spec.execution.queueName"),
        (spec.execution.affinity is not None, "spec.execution.affinity: use placement"),
        (
            spec.execution.active_deadline_seconds is not None,
            "spec.execution.activeDeadlineSeconds: follows from the tests",
        ),
        (spec.execution.workers > 1, "spec.execution.workers"),
        *_folders(spec.results),
    ]
    return [text for missing, text in checks if missing]
