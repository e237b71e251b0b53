"""Runs of a folder, a store or a cluster as rows of one kind: what they were, whether they stand, when."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tokenmark_schemas.documents import MAX_DOCUMENT_BYTES
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult

from ..config.stores import stores_of
from ..storage import cluster
from ..storage.object_store import fetch, keys_under

AGO = re.compile(r"^(\d+)([mhdw])$")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Row:
    """One run. `id` is what `compare`, `cost` and `report` take."""

    id: str
    name: str
    started_at: str
    engine: str
    model: str
    workload: str
    provider: str
    stages: str
    repetitions: int
    status: str
    verdict: str
    campaign: str
    purpose: str
    fingerprint: str


COLUMNS = tuple(field.name for field in fields(Row))


@dataclass(frozen=True)
class Wanted:
    """What a person asks for; None and empty match everything."""

    engine: str | None = None
    since: datetime | None = None
    campaign: str | None = None
    provider: str | None = None
    status: str | None = None

    def holds(self, row: Row) -> bool:
        equal = ((self.engine, row.engine), (self.campaign, row.campaign), (self.provider, row.provider))
        if any(asked is not None and asked != has for asked, has in equal):
            return False
        if self.status is not None and self.status.lower() not in (row.status.lower(), row.verdict.lower()):
            return False
        return self.since is None or (bool(row.started_at) and _parsed(row.started_at) >= self.since)


def since_of(text: str, now: datetime) -> datetime:
    """`7d`, `12h`, or a date. Raises InvalidInput for anything else."""
    if found := AGO.match(text):
        return now - timedelta(**{UNITS[found[2]]: int(found[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"--since {text}: write 12h, 7d, or a date such as 2030-01-31") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def rows(where: str, wanted: Wanted, endpoint: str | None = None, region: str | None = None) -> list[Row]:
    """Newest first. `where` is a folder, a store's address, `namespace:NAME` or `cluster`."""
    if where == "cluster" or where.startswith("namespace:"):
        found = _of_cluster(None if where == "cluster" else where.removeprefix("namespace:"))
    elif "://" in where:
        found = _of_store(where, endpoint, region)
    else:
        found = _of_folder(Path(where))
    return sorted((row for row in found if wanted.holds(row)), key=lambda row: row.started_at, reverse=True)


def _of_folder(folder: Path) -> Iterator[Row]:
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder; where do results lie? tokenmark run writes them into ./results")
    for path in sorted(folder.rglob("result.json")):
        if (row := _row(str(path.parent), path.read_text)) is not None:
            yield row


def _of_store(uri: str, endpoint: str | None, region: str | None) -> Iterator[Row]:
    sink = stores_of([uri], endpoint, region)[0]
    for key in sorted(keys_under(sink)):
        if key.endswith("result.json"):
            text = fetch(sink, key, MAX_DOCUMENT_BYTES).decode()
            if (row := _row(f"{uri.rstrip('/')}/{key}", lambda text=text: text)) is not None:
                yield row


def _row(source: str, read: Any) -> Row | None:
    """None for a file of that name that is no result of ours."""
    try:
        result = RunResult.model_validate_json(read(), extra="ignore")
    except (ValidationError, json.JSONDecodeError, OSError, UnicodeDecodeError):
        return None
    env = result.provenance.environment
    return Row(
        id=source, name=result.run.name, started_at=result.run.started_at or "", engine=result.provenance.engine.name,
        model=result.provenance.model,
        workload=result.provenance.workload.name, provider=env.get("provider", ""), stages=" ".join(stage.name for stage in result.stages),
        repetitions=result.run.repetitions, status="Interrupted" if result.run.interrupted else "Completed", verdict=result.verdict.state,
        campaign=env.get("campaign", ""), purpose=result.run.purpose or "", fingerprint=result.provenance.fingerprint[:12],
    )  # fmt: skip


def _of_cluster(namespace: str | None) -> Iterable[Row]:
    return [_of_object(run) for run in cluster.every(namespace, "benchmarkrun")]


def _of_object(run: dict[str, Any]) -> Row:
    """From the object alone: reading every result would be a download."""
    meta, spec, status = run["metadata"], run["spec"], run.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    valid = conditions.get("Valid", {})
    verdict = {"True": "valid" if valid.get("reason") == "Valid" else "degraded", "False": "invalid"}.get(
        valid.get("status", ""), "unknown"
    )
    labels = (spec.get("environment") or {}).get("labels") or {}
    return Row(
        id=f"{meta['namespace']}/{meta['name']}", name=meta["name"], started_at=status.get("startTime") or meta["creationTimestamp"],
        engine=spec["target"].get("engine", "openai"), model=spec["target"].get("model", ""), workload=status.get("workloadName", ""),
        provider=(status.get("environment") or {}).get("provider", ""), stages=" ".join(s["stage"] for s in status.get("summary") or []),
        repetitions=spec.get("repetitions", 3), status=conditions.get("Succeeded", {}).get("reason", "Pending"), verdict=verdict,
        campaign=(meta.get("labels") or {}).get("tokenmark.dev/campaign") or labels.get("campaign", ""), purpose=spec.get("purpose", ""),
        fingerprint=(status.get("fingerprint") or "")[:12],
    )  # fmt: skip


def _parsed(at: str) -> datetime:
    return datetime.fromisoformat(at.replace("Z", "+00:00"))
