"""`tokenmark workloads`: the built-in workloads and the question each answers."""

from __future__ import annotations

import shutil
import textwrap

from tokenmark_schemas.documents import builtin_workloads, read_workload


def workloads() -> None:
    """List the built-in workloads."""
    width = shutil.get_terminal_size().columns
    for name in builtin_workloads():
        workload = read_workload(name)
        print(textwrap.fill(f"{name:<16} v{workload.version}  {workload.question}", width, subsequent_indent=" " * 21))
