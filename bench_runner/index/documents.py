"""The list as files: `dataset_index.md` for people, CSV for everything else (pure)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict

from .listing import COLUMNS, Row

SHOWN = (
    "id",
    "started_at",
    "engine",
    "model",
    "workload",
    "provider",
    "stages",
    "purpose",
    "status",
    "verdict",
    "fingerprint",
)


def markdown(rows: Sequence[Row], where: str) -> str:
    """A table, newest first; what runs of one fingerprint are is one heading less to read."""
    works = len({row.fingerprint for row in rows})
    out = [f"# Runs of {where}", "", f"{len(rows)} runs, newest first; kinds of work (fingerprints): {works}.", ""]
    out += ["| " + " | ".join(SHOWN) + " |", "|" + "---|" * len(SHOWN)]
    out += ["| " + " | ".join(_cell(str(asdict(row)[name])) for name in SHOWN) + " |" for row in rows]
    return "\n".join(out) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def as_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()
