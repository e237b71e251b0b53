"""BenchmarkSchedule and a due time -> the BenchmarkRun of that time (pure). Its name is made of the time, so that however often it is
tried there is one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tokenmark_schemas.schedule import BenchmarkSchedule

from .made_run import made_run

SCHEDULED_AT = "tokenmark.dev/scheduled-at"


def run_name(schedule: str, due: datetime) -> str:
    return f"{schedule}-{int(due.timestamp()) // 60}"


def plan_scheduled_run(
    schedule: BenchmarkSchedule, template: dict[str, Any], due: datetime, said_due: str
) -> dict[str, Any]:
    """`template` is spec.template as the object has it: what this version does not know is passed on."""
    spec, meta = dict(template["spec"]), template.get("metadata") or {}
    labels = dict(meta.get("labels") or {})
    if schedule.spec.campaign:
        environment = dict(spec.get("environment") or {})
        environment["labels"] = {**(environment.get("labels") or {}), "campaign": schedule.spec.campaign}
        spec["environment"] = environment
        labels["tokenmark.dev/campaign"] = schedule.spec.campaign
    annotations = {**(meta.get("annotations") or {}), SCHEDULED_AT: said_due}
    name = run_name(schedule.metadata.name, due)
    return made_run("BenchmarkSchedule", schedule.metadata, name, spec, labels, annotations)
