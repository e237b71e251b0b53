"""The CustomResourceDefinitions, generated from the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from .benchmarkrun import BenchmarkRunSpec
from .kube import GROUP, VERSION
from .matrix_object import LONGEST_NAME as LONGEST_MATRIX
from .matrix_object import MatrixSpec, MatrixStatus
from .netprobe import NetProbeSpec
from .probe_status import ProbeStatus
from .run_status import RunStatus
from .schedule import LONGEST_NAME, ScheduleSpec, ScheduleStatus
from .structural import structural
from .sweep import LONGEST_NAME as LONGEST_SWEEP
from .sweep import SweepSpec, SweepStatus

_NAME = {
    "type": "string",
    "maxLength": 48,
    "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
}
_STATE = '.status.conditions[?(@.type=="Succeeded")]'


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False) -> dict[str, Any]:
    return {"name": name, "jsonPath": path, "type": kind, **({"priority": 1} if wide else {})}


@dataclass(frozen=True)
class Kind:
    """One row: how a kind is called, and what `kubectl get` shows of it."""

    kind: str
    plural: str
    short: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: tuple[dict[str, Any], ...]
    selectable: tuple[str, ...]
    longest_name: int = 48
    has_template: bool = False


KINDS = (
    Kind(
        "BenchmarkRun", "benchmarkruns", "brun",
        "One measured load on one LLM serving target.",
        BenchmarkRunSpec, RunStatus,
        (
            _column("State", f"{_STATE}.reason"),
            _column("Model", ".spec.target.model"),
            _column("TTFT-P99", ".status.headline.ttftP99"),
            _column("TPOT-P99", ".status.headline.tpotP99"),
            _column("Tok/s", ".status.headline.outputTokensPerSecond"),
            _column("Valid", '.status.conditions[?(@.type=="Valid")].status'),
            _column("Age", ".metadata.creationTimestamp", "date"),
            _column("Provider", ".status.environment.provider", wide=True),
            _column("Instance", ".status.environment.instance_type", wide=True),
            _column("Attempt", ".status.attempts[-1:].number", "integer", wide=True),
            _column("Progress", ".status.progress", wide=True),
            _column("Message", f"{_STATE}.message", wide=True),
        ),
        (".spec.target.model", ".spec.target.engine"),
    ),
    Kind(
        "NetProbe", "netprobes", "nprobe",
        "Latency and throughput between the nodes of a cluster.",
        NetProbeSpec, ProbeStatus,
        (
            _column("State", f"{_STATE}.reason"),
            _column("Pairs", ".status.pairsProgress"),
            _column("RTT-P99(us)", ".status.rttP99Microseconds", "integer"),
            _column("Mbit/s-median", ".status.throughputMedianMegabitsPerSecond", "integer"),
            _column("Valid", '.status.conditions[?(@.type=="Valid")].status'),
            _column("Age", ".metadata.creationTimestamp", "date"),
            _column("Worst", ".status.worst", wide=True),
            _column("Message", f"{_STATE}.message", wide=True),
        ),
        (),
    ),
    Kind(
        "BenchmarkSchedule", "benchmarkschedules", "bsched",
        "BenchmarkRuns made again and again by the clock.",
        ScheduleSpec, ScheduleStatus,
        (
            _column("Schedule", ".spec.schedule"),
            _column("Suspend", ".spec.suspend", "boolean"),
            _column("Active", ".status.active[*]"),
            _column("Last", ".status.lastScheduleTime", "date"),
            _column("Succeeded", ".status.lastSuccessfulTime", "date"),
            _column("Age", ".metadata.creationTimestamp", "date"),
            _column("Zone", ".spec.timeZone", wide=True),
            _column("Next", ".status.nextScheduleTime", wide=True),
            _column("Message", '.status.conditions[?(@.type=="Scheduled")].message', wide=True),
        ),
        (),
        LONGEST_NAME, has_template=True,
    ),
    Kind(
        "BenchmarkSweep", "benchmarksweeps", "bsweep",
        "BenchmarkRuns of one question: how far does it go, with which target, model and workload?",
        SweepSpec, SweepStatus,
        (
            _column("State", f"{_STATE}.reason"),
            _column("Runs", ".status.runsProgress"),
            _column("Message", f"{_STATE}.message"),
            _column("Age", ".metadata.creationTimestamp", "date"),
            _column("Suspend", ".spec.suspend", "boolean", wide=True),
            _column("Sweep", ".status.sweepID", wide=True),
        ),
        (),
        LONGEST_SWEEP, has_template=True,
    ),
    Kind(
        "BenchmarkMatrix", "benchmarkmatrices", "bmatrix",
        "Models by quantisation and use: which is good for what? Each cell is a BenchmarkRun on a server that comes and goes with it.",
        MatrixSpec, MatrixStatus,
        (
            _column("State", f"{_STATE}.reason"),
            _column("Cells", ".status.cellsProgress"),
            _column("Message", f"{_STATE}.message"),
            _column("Age", ".metadata.creationTimestamp", "date"),
            _column("Suspend", ".spec.suspend", "boolean", wide=True),
            _column("Matrix", ".status.matrixID", wide=True),
        ),
        (),
        LONGEST_MATRIX,
    ),
)  # fmt: skip


def crd(kind: Kind) -> dict[str, Any]:
    """One row of KINDS -> its CustomResourceDefinition."""
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": list(kind.columns),
        "schema": {"openAPIV3Schema": _object_schema(kind)},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["tokenmark"],
            },
            "versions": [version],
        },
    }


def _changeable(node: Any) -> Any:
    """A run inside a template is no record yet: rules about what it was before hold for a run itself alone."""
    if isinstance(node, list):
        return [_changeable(each) for each in node]
    if not isinstance(node, dict):
        return node
    rules = node.get("x-kubernetes-validations")
    out = {key: _changeable(value) for key, value in node.items() if key != "x-kubernetes-validations"}
    kept = [rule for rule in rules or [] if "oldSelf" not in rule["rule"]]
    return {**out, "x-kubernetes-validations": kept} if kept else out


def _with_template(spec: dict[str, Any]) -> dict[str, Any]:
    parts = spec["properties"]
    return {**spec, "properties": {**parts, "template": _changeable(parts["template"])}}


def _object_schema(kind: Kind) -> dict[str, Any]:
    spec = structural(kind.spec.model_json_schema(by_alias=True), path="spec")
    return {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {**_NAME, "maxLength": kind.longest_name}}},
            "spec": _with_template(spec) if kind.has_template else spec,
            "status": structural(kind.status.model_json_schema(by_alias=True), path="status"),
        },
    }
