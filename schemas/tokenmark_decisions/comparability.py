"""What speaks against comparing two results at all (pure), in sentences that name the fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokenmark_schemas.result import RunResult

MOST_FIELDS = 8


def objections(baseline: RunResult, current: RunResult, least_repetitions: int) -> list[str]:
    """Empty where they may be compared."""
    found = []
    for role, result in (("baseline", baseline), ("current", current)):
        name = f"{result.run.name} ({role})"
        if result.imported is not None:
            found.append(
                f"{name} was measured by {result.imported.tool}: its verdict is unknown, for its own error was not measured"
            )
        if result.verdict.state == "invalid":
            found.append(f"{name} is invalid: {reasons_of(result)}; its own result says more")
        if unknown := [
            each.name
            for stage in result.stages
            for each in stage.operations or []
            if each.searches and each.recall is None
        ]:
            found.append(
                f"{name} searched by {unknown[0]} and does not know how many of the nearest it found: speed without recall says nothing"
            )
        if result.run.interrupted:
            found.append(f"{name} was interrupted: not all of its repetitions are there")
        if result.run.repetitions < least_repetitions:
            had = result.run.repetitions
            found.append(
                f"{name} has {had} repetition{'s' if had > 1 else ''}, and it takes {least_repetitions} to know their spread"
            )
    if baseline.provenance.fingerprint != current.provenance.fingerprint:
        found.append(f"they are not the same work: {differing(baseline, current)}")
    if not {stage.name for stage in baseline.stages} & {stage.name for stage in current.stages}:
        found.append("they have no stage in common")
    return found


def reasons_of(result: RunResult) -> str:
    """The codes of a verdict and where they hold."""
    return ", ".join(
        f"{reason.code} at {reason.stage}" if reason.stage else reason.code for reason in result.verdict.reasons
    )


def differing(baseline: RunResult, current: RunResult) -> str:
    """The fields of the fingerprint that differ, as `field: baseline | current`."""
    old, new = (dict(_flat(result.provenance.fingerprint_fields)) for result in (baseline, current))
    if not old or not new:
        return "their fingerprints differ, and one of them does not list its fields"
    fields = [
        f"{key}: {old.get(key, 'none')} | {new.get(key, 'none')}"
        for key in sorted(old | new)
        if old.get(key) != new.get(key)
    ]
    more = f" and {len(fields) - MOST_FIELDS} more" if len(fields) > MOST_FIELDS else ""
    return "; ".join(fields[:MOST_FIELDS]) + more


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Lists of named things by their names, others by their places."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            name = inner.get("name", place) if isinstance(inner, Mapping) else place
            yield from _flat(inner, f"{path}.{name}")
    else:
        yield path, value
