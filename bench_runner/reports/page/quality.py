"""What a model made of tests, as a section of a report: how many were right, how sure that is, and which were wrong."""

from __future__ import annotations

from collections.abc import Sequence

from tokenmark_schemas.result import RunResult

from .figures import Cell, Reader, Section, Table


def quality_section(result: RunResult, read: Reader) -> Section | None:
    """None where nothing was tested."""
    shares: list[Sequence[Cell]] = []
    wrong: list[Sequence[Cell]] = []
    lines: list[Cell] = []
    for k, stage in enumerate(result.stages):
        if (found := stage.quality) is None:
            continue
        at = f"stages[{k}].quality"
        shares.append(_share(read, at, stage.name, "all"))
        shares += [_share(read, f"{at}.kinds[{n}]", "", each.kind) for n, each in enumerate(found.kinds)]
        wrong += [
            (stage.name, each.test, each.kind, read(f"{at}.outcomes[{n}].answer"))
            for n, each in enumerate(found.outcomes)
            if each.right < each.asked
        ]
        if found.unanswered:
            lines.append(f"{found.unanswered} requests of {stage.name} failed: their tests count nowhere.")
        if found.unsteady:
            lines.append(f"{found.unsteady} tests of {stage.name} were answered right and wrong; they count as wrong.")
    if not shares:
        return None
    heads = ("Stage", "Tests", "Asked", "Right", "Accuracy", "95 % from", "to")
    tables = [Table(heads, shares, "Wilson's interval: between what the share lies for tests such as these.")]
    if wrong:
        tables.append(Table(("Stage", "Test", "Kind", "What was answered"), wrong, "Answered wrong, cut short."))
    return Section("quality", "Quality", lines, tables)


def _share(read: Reader, at: str, stage: str, kind: str) -> Sequence[Cell]:
    ends = (read(f"{at}.ci95[{n}]", "share") for n in (0, 1))
    return (
        stage,
        kind,
        read(f"{at}.asked", "count"),
        read(f"{at}.right", "count"),
        read(f"{at}.accuracy", "share"),
        *ends,
    )
