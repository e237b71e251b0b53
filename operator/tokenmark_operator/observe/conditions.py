"""The conditions of any object, of ours or of the cluster's (pure)."""

from __future__ import annotations

from typing import Any


def condition(body: dict[str, Any], kind: str) -> dict[str, Any]:
    """One of them; empty where it is not there."""
    conditions = (body.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), {})
