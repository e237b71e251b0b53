"""What a decision is made from, and what it comes to: plain data between reading, deciding and applying."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tokenmark_schemas.workload import Workload

from .settings import Settings

Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True)
class RunFacts:
    """Everything known about one BenchmarkRun at one moment."""

    cr: dict[str, Any]
    now: datetime
    settings: Settings
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)  # by name
    pods: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # newest by job name, gone ones marked; the leading one
    mates: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # the others of a Job of several pods
    blocks: dict[str, dict[str, bytes]] = field(default_factory=dict)  # verified frames by pod uid
    progress: dict[str, dict[str, Any]] = field(default_factory=dict)  # by pod uid
    log_read: frozenset[str] = frozenset()  # pods whose log was read to its end, as often as is worth it
    stored: dict[str, Any] | None = None  # the result ConfigMap
    others: list[dict[str, Any]] = field(default_factory=list)  # all runs
    target_exists: bool | None = None
    workload: Workload | str | None = None  # the file that workloadRef points at, or why there is none
    dataset: str | None = None  # content of dataset.configMap
    detected: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class KubeEvent:
    """A line for `kubectl describe`."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass
class Decision:
    """What to do, in this order: what must be there or gone first, status, deletions, creations, the Job's time to live."""

    status: dict[str, Any]
    create: list[dict[str, Any]] = field(default_factory=list)
    delete_jobs: list[str] = field(default_factory=list)
    create_first: list[dict[str, Any]] = field(default_factory=list)
    delete_services: list[str] = field(default_factory=list)  # before the status says that their attempt is over
    ttl_jobs: list[str] = field(default_factory=list)
    delete_self: bool = False
    events: list[KubeEvent] = field(default_factory=list)
    requeue_s: float | None = None
