"""Two matrices of the same cells, over time or between machines (pure): what each cell's figures became, as a share of what they were.

Speeds of a row are means of a handful, so nothing is called a change that the two rows' answers do not carry: a share of right answers is beyond chance where
Wilson's intervals do not meet, a speed is told and not judged. `tokenmark compare` judges the runs themselves, which lie beside the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenmark_schemas.matrix import MatrixResult, MatrixRow

FIGURES = ("ttft_mean_s", "tokens_per_s", "per_hour", "held_bytes", "accuracy")


@dataclass(frozen=True)
class CellChange:
    """`shares` are new by old, of the figures that both have; `apart` tells that accuracy differs by more than chance."""

    cell: str
    before: MatrixRow
    after: MatrixRow
    shares: dict[str, float]
    apart: bool


def objection(before: MatrixResult, after: MatrixResult) -> str | None:
    """Why they cannot be compared, in a sentence."""
    if before.fingerprint == after.fingerprint:
        return None
    other = sorted({row.cell for row in before.rows} ^ {row.cell for row in after.rows})
    if other:
        return f"they are not of the same cells: {', '.join(other[:6])}{' …' if len(other) > 6 else ''} {'is' if len(other) == 1 else 'are'} in one alone"
    return "their files, profiles, depth or limits differ: what was asked is not the same"


def compared(before: MatrixResult, after: MatrixResult) -> list[CellChange]:
    """Cells that both measured, in the order of the first."""
    new = {row.cell: row for row in after.rows if row.state == "done"}
    return [_change(row, new[row.cell]) for row in before.rows if row.state == "done" and row.cell in new]


def _change(before: MatrixRow, after: MatrixRow) -> CellChange:
    shares = {}
    for name in FIGURES:
        old, now = getattr(before, name), getattr(after, name)
        if old and now is not None:
            shares[name] = now / old
    return CellChange(before.cell, before, after, shares, _apart(before.accuracy_ci95, after.accuracy_ci95))


def _apart(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    return one is not None and other is not None and (one[1] < other[0] or other[1] < one[0])
