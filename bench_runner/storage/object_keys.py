"""Where in a store the files of a run go (pure): the sink's template for the run's own, `benchmarks/` for the records."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tokenmark_schemas.result import RunResult
from tokenmark_schemas.run import RunConfig

UNKNOWN = "unknown"


def facts_of(result: RunResult, config: RunConfig | None) -> dict[str, str]:
    """What a template may name. A name that nobody gave is `unknown`."""
    run, place = result.run, result.provenance.environment
    model = config.target.model if config else result.provenance.engine.reported_model
    found = {
        "provider": place.get("provider"), "region": place.get("region"), "cluster": place.get("cluster_label"),
        "namespace": run.namespace, "run": run.name, "uid": run.uid[:8], "attempt": str(run.attempt),
        "date": (run.started_at or "")[:10], "time": compact(run.started_at or ""), "model": model,
        "engine": result.provenance.engine.name, "workload": result.provenance.workload.name,
    }  # fmt: skip
    return {name: _part(value or UNKNOWN) for name, value in found.items()}


def folder_of(template: str, facts: Mapping[str, str]) -> str:
    """A template with its fields filled in, without slashes at its ends."""
    return template.format_map(facts).strip("/")


def record_key(direction: str, provider: str | None, at: str | None) -> str:
    """`benchmarks/ns/<provider>/<time>.json`: `ns` is a client and its target, `ew` two nodes of a cluster."""
    return f"benchmarks/{direction}/{_part(provider or UNKNOWN)}/{compact(at or UNKNOWN)}.json"


def compact(at: str) -> str:
    """2030-01-01T00:00:00.123Z -> 20300101T000000.123Z: no colons, which some file systems and tools refuse."""
    return at.replace("-", "").replace(":", "")


def _part(text: str) -> str:
    """One level of a key: what a shell, a URL and a file system take alike."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip(".-") or UNKNOWN
