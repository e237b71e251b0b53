"""Numbers with where they come from: text for people, and the path in `result.json` that it was made from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ..cost import money
from ..units import rate, seconds

PART = re.compile(r"([a-z0-9_]+)|\[(\d+)\]")


@dataclass(frozen=True)
class Figure:
    """`path` is in the document of run number `run`; text without a path is words. `sort` is the value, for a table that sorts;
    `heat` colours it, from 0 to 1."""

    text: str
    path: str | None = None
    kind: str | None = None
    run: int = 0
    sort: float | None = None
    heat: float | None = None


Cell = Figure | str


@dataclass(frozen=True)
class Table:
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, lists and tables. `charts` are names of what the page draws there."""

    id: str
    title: str
    lines: Sequence[Cell] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[str] = ()
    code: Sequence[str] = field(default=())


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _bytes(value: float | None) -> str:
    if value is None:
        return "–"
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB")):
        if value >= limit:
            return f"{value / limit:.2f} {unit}"
    return f"{value:.0f} B"


def _dollars(value: str | None) -> str:
    return money(None if value is None else Decimal(value), "USD")


FORMATS: Mapping[str, Callable[[Any], str]] = {
    "seconds": seconds,
    "rate": rate,
    "share": _share,
    "count": _count,
    "bytes": _bytes,
    "text": lambda value: "–" if value in (None, "") else str(value),
    "money": lambda value: "–" if value is None else str(value),
    "dollars": _dollars,
}


def resolve(document: Any, path: str) -> Any:
    """`stages[0].metrics.ttft.p50` of a document; None where a part is absent."""
    for name, index in PART.findall(path):
        if document is None:
            return None
        document = document[int(index)] if index else document.get(name)
    return document


class Reader:
    """Figures of one run's document."""

    def __init__(self, document: Mapping[str, Any], run: int = 0) -> None:
        self.document, self.run = document, run

    def __call__(self, path: str, kind: str = "text") -> Figure:
        value = resolve(self.document, path)
        sort = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        return Figure(FORMATS[kind](value), path, kind, self.run, sort)
