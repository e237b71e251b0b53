"""What a model's refactorings are worth, as a table of 80 columns."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from tokenmark_schemas.quality import CodeAnswer, CodeResult


def code_table(result: CodeResult) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
        title=f"{result.model}  {result.mean:.1f} of 10",
        title_justify="left",
    )
    for head in ("fixture", "runs", "score", "spread", "same", "what was wrong first"):
        table.add_column(
            head, justify="right" if head in ("runs", "score", "spread", "same") else "left", overflow="fold"
        )
    for each in result.fixtures:
        spread = f"{each.stddev:.1f}" if each.stddev is not None else "–"
        first = next(
            (said for answer in result.answers if answer.fixture == each.fixture and (said := wrong(answer))), ""
        )
        table.add_row(each.fixture, str(each.runs), f"{each.mean:.1f}", spread, f"{100 * each.same:.0f} %", Text(first))
    return table


def wrong(answer: CodeAnswer) -> str | None:
    """The first thing that cost points; None where there is none."""
    if answer.finding is None:
        return answer.ended
    found = answer.finding
    missing = [f"not there: {check.what}" for check in found.structure if not check.good]
    failed = found.tests.problems if found.tests is not None else []
    return next(iter([*found.problems, *missing, *found.type_errors, *failed]), None)
