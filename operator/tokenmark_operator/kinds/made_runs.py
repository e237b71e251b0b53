"""Runs that an object has made: whether one came to its end (pure)."""

from __future__ import annotations

from typing import Any

from tokenmark_schemas.result import RunResult

from ..observe.conditions import condition


def measured(run: dict[str, Any], result: RunResult | None) -> bool:
    """A run that missed an objective is measured too; one that was cut off is not."""
    return condition(run, "Succeeded").get("status") == "True" or (result is not None and not result.run.interrupted)
