"""BenchmarkSchedules -> samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import Metric

from ..observe.times import parse_time
from .families import gauge

LABELS = ("schedule", "schedule_namespace")
TIMES = (
    ("last_schedule_timestamp_seconds", "The time that was due last.", "lastScheduleTime"),
    ("last_success_timestamp_seconds", "When its last good run ended.", "lastSuccessfulTime"),
    ("next_timestamp_seconds", "The time that is due next; absent while it is suspended or refused.", "nextScheduleTime"),
)  # fmt: skip


def schedule_metrics(schedules: list[dict[str, Any]]) -> Iterator[Metric]:
    times = {field: gauge(f"tokenmark_schedule_{name}", about, LABELS) for name, about, field in TIMES}
    active = gauge("tokenmark_schedule_active", "Runs of it that are not over.", LABELS)
    for cr in schedules:
        row, status = [cr["metadata"]["name"], cr["metadata"]["namespace"]], cr.get("status") or {}
        for field, family in times.items():
            if (at := parse_time(status.get(field))) is not None:
                family.add_metric(row, at.timestamp())
        active.add_metric(row, len(status.get("active") or []))
    yield from (*times.values(), active)
