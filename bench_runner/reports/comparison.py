"""A comparison as people and machines read it: 80 columns of a terminal, one comment of a pull request, JUnit XML (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tokenmark_decisions.compared import BY_NAME
from tokenmark_schemas.comparison import Comparison, ComparisonLine

from .units import rate, seconds

STYLE = {"OK": "green", "IMPROVED": "bold cyan", "REGRESSED": "bold red", "INCONCLUSIVE": "yellow"}
RESULT = {
    "passed": ("PASSED", "bold green"), "regressed": ("REGRESSIONS DETECTED", "bold red"),
    "inconclusive": ("INCONCLUSIVE", "bold yellow"), "not_judged": ("NOT JUDGED", "bold"),
}  # fmt: skip
HEADS = ("Metric", "Baseline", "Current", "Delta", "Change", "95 % interval", "Status")
MARKER = "<!-- tokenmark compare {key} -->"


def title_of(line: ComparisonLine) -> str:
    return BY_NAME[line.name].title


def value_of(line: ComparisonLine, value: float | None, *, signed: bool = False) -> str:
    """With its unit; a dash where there is none."""
    if value is None:
        return "–"
    sign = "" if not signed else "−" if value < 0 else "+"
    size = abs(value) if signed else value
    if line.unit == "ratio":
        return f"{sign}{_percent(100 * size, plain=True)} %"
    return sign + (seconds(size) if line.unit == "s" else rate(size))


def _percent(value: float, *, plain: bool = False) -> str:
    sign = "" if plain else "−" if value < 0 else "+"
    return f"{sign}{abs(value):.1f}"


def change_of(line: ComparisonLine) -> str:
    return "–" if line.change is None else f"{_percent(100 * line.change)} %"


def interval_of(line: ComparisonLine) -> str:
    if line.low is None or line.high is None:
        return "–"
    return f"{_percent(100 * line.low)} … {_percent(100 * line.high)} %"


def plan_of(line: ComparisonLine) -> str:
    """What would decide it."""
    ways = []
    if line.repetitions_needed is not None:
        ways.append(f"about {line.repetitions_needed} repetitions a side")
    if line.requests_factor is not None:
        ways.append(f"{line.requests_factor:g} × the requests in each")
    if ways:
        return " or ".join(ways) + " would tell"
    return "no sensible number of repetitions would tell" if line.change is not None else ""


def shown(lines: Sequence[ComparisonLine], *, everything: bool) -> list[ComparisonLine]:
    """All, or what fits a screen."""
    return [line for line in lines if everything or line.matters]


def verdict_of(found: Comparison) -> str:
    """One sentence: the gates' outcome, or that there are none."""
    gates = [line for line in found.lines if line.gate]
    moved = sum(line.status == "REGRESSED" for line in found.lines)
    if found.result == "not_judged":
        tail = f"; {moved} of {len(found.lines)} lines are worse" if moved else ""
        return f"no line is a gate: name one, as --gate ttft:p99{tail}"
    named = [f"{title_of(line)} at {line.stage}" for line in gates if line.status == "REGRESSED"]
    if named:
        return f"worse: {', '.join(named)}"
    open_ = [f"{title_of(line)} at {line.stage}" for line in gates if line.status == "INCONCLUSIVE"]
    if open_:
        return f"not known: {', '.join(open_)}"
    return f"{len(gates)} gate{'s' if len(gates) > 1 else ''}, none worse by its minimum effect"


# --- terminal -------------------------------------------------------------------------------------------------------


def render(found: Comparison, *, everything: bool = False) -> RenderableType:
    heading = Text.assemble(
        ("\nComparison: ", "bold"), f"{found.baseline.source} (baseline) vs {found.current.source} (current)"
    )
    word, style = RESULT[found.result]
    return Group(
        heading,
        *(Text(f"  ! {reservation}", style="bold yellow") for reservation in found.reservations),
        *(part for stage in _stages(found) for part in _stage(found, stage, everything=everything)),
        *(Text(f"  – {note}", style="dim") for note in found.notes),
        Text.assemble("RESULT: ", (word, style), f"  ({verdict_of(found)})"),
    )


def _stage(found: Comparison, stage: str, *, everything: bool) -> Iterator[RenderableType]:
    lines = shown([line for line in found.lines if line.stage == stage], everything=everything)
    if not lines:
        return
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="dim",
        title=f"stage {stage}",
        title_justify="left",
        title_style="bold",
    )
    for number, head in enumerate(HEADS):
        table.add_column(head, justify="left" if number in (0, 6) else "right", no_wrap=True)
    for line in lines:
        forced = "!" if found.reservations else ""
        table.add_row(
            title_of(line) + ("*" if line.gate else ""), value_of(line, line.baseline), value_of(line, line.current),
            value_of(line, line.delta, signed=True), change_of(line), interval_of(line), Text(forced + line.status, style=STYLE[line.status]),
        )  # fmt: skip
    yield table
    for said, titles in _open(lines).items():
        yield Text(f"  · {', '.join(titles)}: {said}", style="dim")


def _open(lines: Sequence[ComparisonLine]) -> dict[str, list[str]]:
    """Why lines are not known and what would tell -> which."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.status == "INCONCLUSIVE":
            said = "; ".join(part for part in (line.reason, plan_of(line)) if part)
            found.setdefault(said, []).append(title_of(line))
    return found


def _stages(found: Comparison) -> list[str]:
    return list(dict.fromkeys(line.stage for line in found.lines))


# --- pull request ---------------------------------------------------------------------------------------------------


def markdown(found: Comparison, key: str) -> str:
    """With a marker by which a bot finds the comment that it wrote before, and edits it in place."""
    word, _ = RESULT[found.result]
    out = [MARKER.format(key=key), f"### Tokenmark: {word.lower()}", ""]
    out += [
        f"`{found.baseline.source}` (baseline, {found.baseline.repetitions} repetitions) → `{found.current.source}` (current, {found.current.repetitions}): {verdict_of(found)}.",
        "",
    ]
    out += [f"> **{reservation}**" for reservation in found.reservations] + ([""] if found.reservations else [])
    for stage in _stages(found):
        lines = shown([line for line in found.lines if line.stage == stage], everything=False)
        out += [f"**{stage}**", "", "| " + " | ".join(HEADS) + " |", "|---|---:|---:|---:|---:|---:|---|"]
        for line in lines:
            status = f"**{line.status}**" if line.status == "REGRESSED" else line.status
            cells = (
                title_of(line) + (" (gate)" if line.gate else ""), value_of(line, line.baseline), value_of(line, line.current),
                value_of(line, line.delta, signed=True), change_of(line), interval_of(line), ("not comparable: " if found.reservations else "") + status,
            )  # fmt: skip
            out.append("| " + " | ".join(cells) + " |")
        out.append("")
    out += [f"- {note}" for note in found.notes]
    return "\n".join(out).rstrip() + "\n"


# --- CI -------------------------------------------------------------------------------------------------------------


def junit(comparisons: Sequence[Comparison]) -> str:
    """Gates alone: a regression is a failure, what is not known is skipped."""
    root = ElementTree.Element("testsuites", name="tokenmark compare")
    for found in comparisons:
        gates = [line for line in found.lines if line.gate]
        suite = ElementTree.SubElement(
            root, "testsuite", name=f"{found.current.source} vs {found.baseline.source}", tests=str(len(gates)),
            failures=str(sum(line.status == "REGRESSED" for line in gates)), skipped=str(sum(line.status == "INCONCLUSIVE" for line in gates)),
        )  # fmt: skip
        for line in gates:
            case = ElementTree.SubElement(suite, "testcase", classname=line.stage, name=title_of(line))
            said = f"{value_of(line, line.baseline)} → {value_of(line, line.current)}: {change_of(line)} ({interval_of(line)})"
            if line.status == "REGRESSED":
                ElementTree.SubElement(case, "failure", message=said)
            elif line.status == "INCONCLUSIVE":
                ElementTree.SubElement(
                    case, "skipped", message="; ".join(part for part in (said, line.reason, plan_of(line)) if part)
                )
            else:
                ElementTree.SubElement(case, "system-out").text = said
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
