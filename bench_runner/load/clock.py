"""Monotonic nanoseconds, and what they are in calendar time. Wall time is read once per process; every other time is monotonic and mapped through that anchor."""

from __future__ import annotations

import time
from datetime import UTC, datetime

NS = 1_000_000_000  # a second
_MONO_NS = time.monotonic_ns()
_WALL_NS = time.time_ns()


def iso_at(mono_ns: int) -> str:
    """A monotonic stamp as UTC in ISO 8601, milliseconds."""
    wall_s = (_WALL_NS + mono_ns - _MONO_NS) / 1e9
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_now() -> str:
    return iso_at(time.monotonic_ns())
