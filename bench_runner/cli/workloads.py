"""`tokenmark workloads`: the built-in workloads and the question each answers."""

from __future__ import annotations

from tokenmark_schemas.documents import builtin_workloads, read_workload


def workloads() -> None:
    """List the built-in workloads."""
    for name in builtin_workloads():
        workload = read_workload(name)
        print(f"{name:<16} v{workload.version}  {workload.question}")
