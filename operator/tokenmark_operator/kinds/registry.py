"""KINDS: every object that the operator cares for. Watches, resync, admission, metrics and the chart's rules go by these rows."""

from __future__ import annotations

from tokenmark_schemas.kube import GROUP

from ..core.kube import MATRICES, PROBES, RUNS, SCHEDULES, SWEEPS
from ..plan import names
from ..shared.admission import group_of
from ..shared.kind import Kind, Right
from .benchmarkrun import decide
from .matrix import decide_matrix
from .matrix_facts import gather_matrix
from .netprobe import decide_probe
from .probe_facts import gather_probe
from .run_facts import gather_run
from .schedule import decide_schedule
from .schedule_facts import gather_schedule
from .sweep import decide_sweep
from .sweep_facts import gather_sweep

AGENTS = (
    Right("batch", "jobs", ("get", "list", "watch", "create", "patch", "delete")),
    Right("", "pods", ("get", "list", "watch")),
    Right("", "pods/log", ("get",)),
    Right("", "configmaps", ("get", "create")),
    Right("", "events", ("create", "list")),
)  # Jobs that measure, what they are told, what they tell
MEETING = Right("", "services", ("get", "create", "delete"))
MAKES_RUNS = (Right(GROUP, RUNS.plural, ("create",)), Right("", "events", ("create",)))
KINDS: tuple[Kind, ...] = (
    Kind("BenchmarkRun", RUNS.plural, names.RUN_LABEL, gather_run, decide,
         lambda one, other: group_of(one) is not None and group_of(one) == group_of(other),
         (*AGENTS, MEETING, Right(GROUP, PROBES.plural, ("create",)))),
    Kind("NetProbe", PROBES.plural, names.PROBE_LABEL, gather_probe, decide_probe, lambda _one, _other: True,
         (*AGENTS, MEETING)),
    Kind("BenchmarkSchedule", SCHEDULES.plural, names.SCHEDULE_LABEL, gather_schedule, decide_schedule, lambda _one, _other: False,
         MAKES_RUNS),
    Kind("BenchmarkSweep", SWEEPS.plural, names.SWEEP_LABEL, gather_sweep, decide_sweep, lambda _one, _other: False,
         (*MAKES_RUNS, Right("", "configmaps", ("get",)))),
    Kind("BenchmarkMatrix", MATRICES.plural, names.MATRIX_LABEL, gather_matrix, decide_matrix, lambda _one, _other: False,
         (*MAKES_RUNS, *AGENTS, MEETING, Right("networking.k8s.io", "networkpolicies", ("get", "create")))),
)  # fmt: skip
