"""A matrix as a table of 80 columns, and as CSV: a row a cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from tokenmark_decisions.matrix_compared import CellChange
from tokenmark_decisions.rating import in_a_matrix
from tokenmark_decisions.recommend import verdict_of_means
from tokenmark_schemas.matrix import MatrixResult, MatrixRow
from tokenmark_schemas.result import RunResult

from .rating import STYLES
from .table import right_of
from .units import seconds

NESTED = ("accuracy_ci95", "kinds")
STATE_STYLES = {"failed": "bold red", "skipped": "yellow", "waiting": "dim"}


def matrix_lines(result: MatrixResult) -> Iterator[Table | Text]:
    """The table, what was not run and why, what to choose, what to be warned of."""
    yield matrix_table(result.rows)
    for row in result.rows:
        if row.reason is not None:
            yield Text.assemble((f"{row.state:<9} ", STATE_STYLES.get(row.state, "")), f"{row.cell}: {row.reason}")
    yield Text()
    for each in result.recommendations:
        yield Text.assemble((f"{each.use:<13} ", "bold"), f"{each.model} {each.quantization}: {each.why}")
    for warning in result.warnings:
        yield Text.assemble(("warning       ", "yellow"), warning)


def matrix_table(rows: Sequence[MatrixRow]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("model", "quant", "use", "TTFT", "tok/s", "memory", "right", ""):
        table.add_column(
            head, justify="right" if head in ("TTFT", "tok/s", "memory", "right") else "left", overflow="fold"
        )
    before: tuple[str, str] | None = None
    for row in rows:
        again, before = before == (row.model, row.quantization), (row.model, row.quantization)
        held = f"{row.held_bytes / 1e9:.2f} GB" if row.held_bytes and not again else ""
        pace = f"{row.tokens_per_s:.1f}" if row.tokens_per_s else ""
        right = (
            f"{row.right}/{row.asked}"
            if row.asked
            else f"{row.code_score:.1f}/10"
            if row.code_score is not None
            else ""
        )
        rated = row.rating if row.state == "done" else None
        word = in_a_matrix(rated) if rated else row.state
        style = STYLES[rated] if rated else STATE_STYLES.get(row.state, "")
        table.add_row(
            "" if again else row.model, "" if again else row.quantization, called(row), seconds(row.ttft_mean_s) if row.ttft_mean_s else "",
            pace, held, right, Text(word, style),
        )  # fmt: skip
    return table


def said_of(result: RunResult) -> str:
    """A run in a line."""
    stage, (verdict, _) = result.stages[0], verdict_of_means(result.verdict)
    if (quality := stage.quality) is not None:
        return f"{right_of(quality)}, {verdict}"
    ttft, tpot = stage.metrics["ttft"].mean, stage.metrics["tpot"].mean
    pace = f", {1 / tpot:.1f} tokens/s" if tpot else ""
    return f"TTFT {seconds(ttft)}{pace}, {stage.requests.succeeded} answers, {verdict}"


def called(row: MatrixRow) -> str:
    """The profile, which of its parts, and how the server was started."""
    return " ".join(filter(None, (row.profile, row.part, row.way)))


def change_table(changes: Sequence[CellChange]) -> Table:
    """What each cell's figures became, new by old."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("cell", "TTFT", "tok/s", "an hour", "memory", "right"):
        table.add_column(head, justify="left" if head == "cell" else "right", overflow="fold")
    for each in changes:
        shares = [_changed(each.shares.get(name)) for name in ("ttft_mean_s", "tokens_per_s", "per_hour", "held_bytes")]
        table.add_row(each.cell, *shares, Text(_accuracy(each), "bold" if each.apart else ""))
    return table


def _changed(share: float | None) -> str:
    return "–" if share is None else f"{100 * (share - 1):+.0f} %"


def _accuracy(change: CellChange) -> str:
    """As counts, for a share of a few tests moves by steps."""
    before, after = change.before, change.after
    if not before.asked or not after.asked:
        return "–"
    return f"{before.right}/{before.asked} to {after.right}/{after.asked}{'' if change.apart else ', a tie'}"


def matrix_csv(rows: Sequence[MatrixRow]) -> str:
    """What is null is empty; the interval of the accuracy has two columns, each kind of test has one."""
    kinds = list(dict.fromkeys(each.kind for row in rows for each in row.kinds))
    names = [name for name in MatrixRow.model_fields if name not in NESTED]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, "accuracy_low", "accuracy_high", *(f"accuracy_{kind}" for kind in kinds)])
    for row in rows:
        plain = row.snake()
        by_kind = {each.kind: each.accuracy for each in row.kinds}
        writer.writerow(
            [
                *(plain[name] for name in names),
                *(row.accuracy_ci95 or ("", "")),
                *(by_kind.get(kind, "") for kind in kinds),
            ]
        )
    return out.getvalue()
