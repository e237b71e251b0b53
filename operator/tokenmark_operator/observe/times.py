"""Kubernetes timestamps."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def parse_time(text: str | None) -> datetime | None:
    """A Kubernetes timestamp; None for none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
