"""`tokenmark compare`: what is better, worse, the same or not known against a baseline, and whether it may ship."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from tokenmark_schemas.errors import InvalidInput

if TYPE_CHECKING:
    from tokenmark_schemas.matrix import MatrixResult

REGRESSED, INCONCLUSIVE = 3, 6
MATRIX = "_results.json"  # how the files of tokenmark matrix end
SOURCE = "A run's folder or result.json, s3://bucket/key (gs://, az://), NAMESPACE/NAME of a run in the cluster, or baseline:NAME. The first is the baseline."


def compare(
    runs: list[str] = typer.Argument(..., help=SOURCE),
    gate: list[str] = typer.Option(
        [], help="A line that decides, as ttft:p99, ttft:p50=3% or e2e:p99@c8; may stand several times."
    ),
    min_effect: list[str] = typer.Option(
        [], help="Smallest change that matters: 3%, or tpot:p50=1%. Default 5 %, of the success rate 1 point."
    ),
    stage: list[str] = typer.Option([], help="Only these stages."),
    min_repetitions: int = typer.Option(3, min=1, max=50, help="Fewer are refused."),
    fail_on: Literal["regressed", "inconclusive"] = typer.Option(
        "regressed", help="inconclusive: a gate that is not known ends with 6, not 0."
    ),
    output: Literal["table", "json", "markdown", "junit"] = typer.Option("table", "--format", help="What is printed."),
    out: Path | None = typer.Option(None, help="Write it there, and print the table."),
    everything: bool = typer.Option(False, "--all", help="Every percentile, not p50 and p99 alone."),
    force: bool = typer.Option(False, "--force", help="Compare what should not be compared; every line says so."),
    baselines: str = typer.Option(
        "baselines",
        help="Where baseline:NAME is kept: a folder, a store, or namespace:NAME.",
        envvar="TOKENMARK_BASELINES",
        show_envvar=False,
    ),
    store_endpoint: str | None = typer.Option(None, help="Address of a store that speaks S3."),
    store_region: str | None = typer.Option(None, help="Region of the store."),
) -> None:
    """Compare runs with a baseline; gate on it.

    Per metric the change, its 95 % interval, and a status. The first run is the baseline, of the same work as the others.

    Results of tokenmark matrix, over time or between machines: tokenmark compare OLD_results.json NEW_results.json.

    Exit codes: 0 nothing named as a gate is worse, 2 they cannot be compared, 3 a gate regressed, 6 a gate is not known and
    --fail-on inconclusive was given.
    """
    from rich.console import Console

    from tokenmark_decisions.comparability import objections
    from tokenmark_decisions.comparison import compare as compared

    from ..config.gates import rules_of
    from ..config.sources import find_result
    from ..reports.comparison import junit, markdown, render
    from ..storage.text_file import write_text

    if len(runs) < 2:
        raise InvalidInput("compare takes two runs or more: the baseline, then what is compared with it")
    if all(source.endswith(MATRIX) for source in runs):
        _matrices(runs, force=force)
        return
    rules = rules_of(gate, min_effect, stage, min_repetitions)
    results = [find_result(source, store_endpoint, store_region, baselines) for source in runs]
    found = []
    for source, result in zip(runs[1:], results[1:], strict=True):
        against = objections(results[0], result, rules.least_repetitions)
        if against and not force:
            hint = "--force compares them all the same, and says so in every line"
            raise InvalidInput("they cannot be compared:\n  " + "\n  ".join(against) + f"\n  {hint}")
        comparison = compared(results[0], result, rules, sources=(runs[0], source))
        found.append(comparison.model_copy(update={"reservations": against}))
    text = {
        "json": lambda: (
            json.dumps([each.snake() for each in found] if len(found) > 1 else found[0].snake(), indent=2) + "\n"
        ),
        "markdown": lambda: "\n".join(markdown(each, f"{each.baseline.name} {each.current.name}") for each in found),
        "junit": lambda: junit(found),
    }.get(output)
    if text is not None and out is None:
        sys.stdout.write(text())
    else:
        if text is not None and out is not None:
            write_text(out, text(), f"--out {out}")
        console = Console()
        for each in found:
            console.print(render(each, everything=everything), soft_wrap=False)
    outcomes = {each.result for each in found}
    if "regressed" in outcomes:
        raise typer.Exit(REGRESSED)
    if "inconclusive" in outcomes and fail_on == "inconclusive":
        raise typer.Exit(INCONCLUSIVE)


def _matrices(sources: list[str], *, force: bool) -> None:
    """Two results of `tokenmark matrix`: what each cell became."""
    from rich.console import Console

    from tokenmark_decisions.matrix_compared import compared, objection
    from tokenmark_schemas.documents import read_model
    from tokenmark_schemas.matrix import MatrixResult

    from ..reports.matrix import change_table

    if len(sources) != 2:
        raise InvalidInput("of matrices two are compared: the earlier one, then the later one")
    before, after = (
        read_model(Path(source), MatrixResult, "result of a matrix", "matrix-result/v1") for source in sources
    )
    if (why := objection(before, after)) and not force:
        raise InvalidInput(f"{why}; --force compares what they have in common all the same")
    console = Console()
    if why:
        console.print(f"compared all the same: {why}", highlight=False)
    if before.machine != after.machine or before.settings != after.settings:
        console.print(f"{_told(before)}  ->  {_told(after)}", highlight=False)
    console.print(change_table(compared(before, after)))


def _told(result: MatrixResult) -> str:
    return ", ".join([*result.machine.values(), *(f"{name} {value}" for name, value in result.settings.items())])
