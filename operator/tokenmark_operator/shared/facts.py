"""What a decision is made from, and what it comes to: plain data between reading, deciding and applying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tokenmark_schemas.cost import CostFile
from tokenmark_schemas.probe_result import EastWest
from tokenmark_schemas.profiles import Profile
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.workload import Workload

from ..settings import Settings

Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True)
class Refusal:
    """What the API server would not make, in its own words. `passing`: it may yet, as with a quota."""

    kind: str
    name: str
    reason: str
    message: str
    passing: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of an object of any kind at one moment."""

    cr: dict[str, Any]
    now: datetime
    settings: Settings
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)  # by name
    pods: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # the newest (leading) one by job name; gone ones marked
    blocks: dict[str, dict[str, bytes]] = field(default_factory=dict)  # verified frames by pod uid
    progress: dict[str, dict[str, Any]] = field(default_factory=dict)  # by pod uid
    log_read: frozenset[str] = frozenset()  # pods whose log was read to its end, or cannot be had any more
    stored: dict[str, Any] | None = None  # the result ConfigMap
    name_taken: str | None = None  # by whom the result's name is taken, where it is somebody else's
    refused: Refusal | None = None  # what the last step could not have
    unmade: dict[str, str] = field(default_factory=dict)  # by job name: why the Job controller makes no pod
    others: list[dict[str, Any]] = field(default_factory=list)  # all objects of the same kind
    strangers: list[dict[str, Any]] = field(default_factory=list)  # objects of the other kind


@dataclass(frozen=True)
class RunFacts(Facts):
    """Everything known about one BenchmarkRun at one moment."""

    team: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by job name: the pods beside the leading one
    target_pods: list[dict[str, Any]] = field(default_factory=list)  # runner pods of this target, whose ever they are
    target_exists: bool | None = None
    target_unready: str | None = None  # why nothing behind it can answer yet
    target_nodes: frozenset[str] = frozenset()  # where the target's own pods run
    workload: Workload | str | None = None  # the file that workloadRef points at, or why there is none
    dataset: str | None = None  # content of dataset.configMap
    detected: dict[str, str] = field(default_factory=dict)
    net_probe: dict[str, Any] | None = None  # that it names, or has made for itself
    net_found: EastWest | None = None  # what that probe found
    baseline: RunResult | str | None = None  # the result of the run that baselineRef names, or why there is none
    prices: CostFile | str | None = None  # of the ConfigMap that cost names, or why there are none
    nodes: list[dict[str, Any]] | None = None  # of the cluster, where a probe is yet to be made; None: not to be had


@dataclass(frozen=True)
class ProbeFacts(Facts):
    """Everything known about one NetProbe at one moment. `nodes` is None where the operator may not list them."""

    nodes: list[dict[str, Any]] | None = None
    visit_results: dict[int, bytes] = field(default_factory=dict)  # what is kept of visits that run, or of all
    visits_read: bool = False  # all visits are over, and what is kept of any of them is here


@dataclass(frozen=True)
class ScheduleFacts(Facts):
    """Everything known about one BenchmarkSchedule at one moment: the runs that it made, as they are."""

    runs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class SweepFacts(Facts):
    """Everything known about one BenchmarkSweep at one moment: its runs by name, and what those found that its status does not tell."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, RunResult] = field(default_factory=dict)


@dataclass(frozen=True)
class MatrixFacts(Facts):
    """Everything known about one BenchmarkMatrix at one moment: its runs by name, what those found that its status does not tell, and the profiles
    that it may name, or why there are none. Jobs and pods are those of its servers and of what fetches its models."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, RunResult] = field(default_factory=dict)
    profiles: Sequence[Profile] | str = ()


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
    delete_runs: list[str] = field(default_factory=list)  # that this very object made
    ttl_jobs: list[str] = field(default_factory=list)
    job_uids: dict[str, str] = field(default_factory=dict)  # of the Jobs that were looked at: no other is deleted
    delete_self: bool = False
    events: list[KubeEvent] = field(default_factory=list)
    requeue_s: float | None = None
