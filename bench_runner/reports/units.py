"""Numbers as people read them (pure)."""

from __future__ import annotations


def seconds(value: float | None) -> str:
    """Three significant digits, in the unit a person would pick; a dash where there is no value."""
    if value is None:
        return "–"
    for limit, factor, unit in ((0.001, 1e6, "µs"), (1.0, 1e3, "ms")):
        if value < limit:
            return f"{_three(value * factor)} {unit}"
    return f"{_three(value)} s"


def _three(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def rate(value: float | None) -> str:
    return "–" if value is None else _three(value)
