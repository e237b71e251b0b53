"""Ratings as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from tokenmark_schemas.ratings import Rated, RatedLine, RatingLine, RatingUse

from .units import seconds

STYLES = {
    "excellent": "bold green",
    "good": "green",
    "acceptable": "yellow",
    "poor": "bold yellow",
    "failed": "bold red",
    None: "dim",
}


def rating_lines(rated: Rated, use: RatingUse, verdict: str) -> Iterator[Text | Table]:
    """A row a stage, then what each number means."""
    yield Text.assemble((f"\n{use.name}", "bold"), f"  {use.about}\n")
    if verdict != "valid":
        yield Text(f"the verdict is {verdict}: the words below are worth as much as the numbers\n", style="yellow")
    lines = {line.stage: [each for each in rated.lines if each.stage == line.stage] for line in rated.lines}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("stage", "", *(title(line) for line in next(iter(lines.values()), []))):
        table.add_column(head, no_wrap=True)
    for stage, word in rated.stages.items():
        cells = [
            Text.assemble(f"{shown(each)} ", (each.word or "not known", STYLES[each.word])) for each in lines[stage]
        ]
        table.add_row(stage, Text(word or "not known", STYLES[word]), *cells)
    yield table
    yield Text()
    for line in use.lines:
        yield Text.assemble((f"{title(line)}  ", "bold"), line.says, (f"  ({line.source})", "dim"))
    yield Text(f"\nlimits: ratings/v1 version {rated.version}", style="dim")


def title(line: RatedLine | RatingLine) -> str:
    return f"{line.metric} {line.statistic}" if line.statistic else line.metric.replace("_", " ")


def shown(line: RatedLine) -> str:
    if line.value is None:
        return "–"
    if line.unit == "ratio":
        return f"{100 * line.value:.2f} %"
    return seconds(line.value) if line.unit == "s" else f"{line.value:.4g} {line.unit}"
