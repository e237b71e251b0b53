"""The operator's /metrics page over given objects, without an operator."""

from __future__ import annotations

from typing import Any, ClassVar

from prometheus_client import CollectorRegistry, generate_latest

from tests.support.builders import a_run
from tests.support.results import a_result
from tokenmark_operator.core.cache import Cache
from tokenmark_operator.core.counters import Counters
from tokenmark_operator.core.queue import WorkQueue
from tokenmark_operator.results.config_map import summarise
from tokenmark_operator.telemetry.projection import Projection


class NoRequests:
    """An API server that nobody asked."""

    requests: ClassVar[dict[tuple[str, str], int]] = {("get", "200"): 40, ("patch", "200"): 12}


def projection(
    *objects: dict[str, Any],
    newest: int = 200,
    progress: dict[str, dict[str, Any]] | None = None,
    counters: Counters | None = None,
) -> Projection:
    memory = Cache()
    for body in objects:
        memory.see((body["kind"], body["metadata"]["namespace"], body["metadata"]["name"]), body, deleted=False)
    said = progress or {}
    return Projection(memory, WorkQueue(), NoRequests(), counters or Counters(), said.get, newest)  # type: ignore[arg-type]


def exposed(
    *objects: dict[str, Any], newest: int = 200, progress: dict[str, dict[str, Any]] | None = None,
    counters: Counters | None = None,
) -> str:  # fmt: skip
    """The page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(projection(*objects, newest=newest, progress=progress, counters=counters))
    return generate_latest(registry).decode()


def finished(name: str = "demo") -> dict[str, Any]:
    """A run that is over, with one stage."""
    run = a_run(name, environment={"provider": "azure"})
    valid = {"type": "Valid", "status": "True", "reason": "Valid", "message": ""}
    succeeded = {"type": "Succeeded", "status": "True", "reason": "Completed", "message": ""}
    run["status"] = {
        "conditions": [valid, succeeded, {"type": "Finished", "status": "True", "reason": "Completed"}],
        "startTime": "2030-01-01T00:00:30Z",
        "completionTime": "2030-01-01T00:01:00Z",
        "environment": {"provider": "azure", "region": "westeurope", "node_instance_type": "ND96"},
        "summary": [stage.camel() for stage in summarise(a_result())],
        "workloadName": "smoke",
    }
    return run
