"""`tokenmark sweep`: one question over many runs, to a report."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .engines import FILE

if TYPE_CHECKING:
    from ..config.flags import Flags
    from ..config.recipes import Cell


def sweep(
    recipe: str = typer.Argument(
        ...,
        help="A recipe (recipe/v1) such as deploy/examples/recipe_vllm_stress.yaml, a BenchmarkSweep's manifest; or NAMESPACE/NAME of "
        "a BenchmarkSweep in the cluster, which is not run but reported.",
    ),
    target: str | None = typer.Option(
        None, help="In the place of the recipe's target: an address, or `sim` for the bundled simulator."
    ),
    out: Path = typer.Option(
        Path("results"), help="Results lie in OUT/SWEEP-ID/RUN.", envvar="TOKENMARK_OUT", show_envvar=False
    ),
    reports: Path = typer.Option(
        Path("reports"), help="The report lies in REPORTS/SWEEP-ID.", envvar="TOKENMARK_REPORTS", show_envvar=False
    ),
    again: bool = typer.Option(False, "--again", help="Measure everything anew; else what is done is not done again."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Write the manifests, and run nothing."),
    quiet: bool = typer.Option(False, help="No progress."),
    file: Path | None = FILE,
) -> None:
    """Run a recipe: every engine, model and workload at every load, repeated and in shuffled order, and say how far each goes.

    A sweep that was ended goes on where it stood when it is called again; so does one whose budget was spent.

    Examples: tokenmark sweep deploy/examples/recipe_ollama_stress.yaml; tokenmark sweep default/how-far

    Exit codes: 0 all were measured, 2 bad input, 5 a run failed or was left for want of time, 130 interrupted.
    """
    from tokenmark_schemas.errors import RunFailed

    from ..config.connections import connections
    from ..config.recipes import cells_of, read_recipe, sweep_id
    from ..config.sources import named_object
    from ..run.sweep import INTERRUPTED, Sweep
    from ..storage.text_file import write_text

    if not Path(recipe).exists() and (named := named_object(recipe)):
        _report_of_cluster(*named, out, reports)
        return
    asked = read_recipe(Path(recipe))
    cells = cells_of(asked, connections(file) if asked.vary.engines else [], target)
    flags = {cell.name: _flags(cell, target) for cell in cells}
    identity = sweep_id(asked)
    folder = out / identity
    for cell in cells:
        write_text(folder / "manifests" / f"{cell.name}.yaml", _yaml(cell.manifest), f"--out {out}")
        _check(folder / "manifests" / f"{cell.name}.yaml", flags[cell.name])
    if dry_run:
        print("\n".join(str(folder / "manifests" / f"{cell.name}.yaml") for cell in cells))
        return
    budget_s = asked.budget_minutes * 60 if asked.budget_minutes else None
    whole = Sweep(folder, {cell.name: cell.hash for cell in cells}, budget_s, again=again, asked=asked.camel())
    print(
        f"sweep {identity}: {len(cells)} runs, {sum(part.state == 'done' for part in whole.parts)} done before",
        file=sys.stderr,
    )
    for part in whole.run(lambda name: _run(folder, flags[name], quiet)):
        print(f"sweep {identity}: {part.name} {part.state}", file=sys.stderr)
    _report(identity, asked.purpose, _swept(cells, whole), out, reports)
    if any(part.exit_code in INTERRUPTED for part in whole.parts):
        raise typer.Exit(INTERRUPTED[0])
    if any(part.state != "done" for part in whole.parts):
        raise typer.Exit(RunFailed.exit_code)


def _report(identity: str, purpose: str | None, found: list[Any], out: Path, reports: Path) -> None:
    """summary.json beside the results; report.md and plots; the table on the terminal."""
    import json

    from rich.console import Console

    from ..reports.sweep import markdown, summaries, summary_table
    from ..storage.text_file import write_bytes, write_text

    write_text(out / identity / "summary.json", json.dumps(summaries(found), indent=2) + "\n", f"--out {out}")
    place = reports / identity
    write_text(place / "report.md", markdown(identity, purpose, found), f"--reports {reports}")
    for name, picture in _plots(found, out / identity).items():
        write_bytes(place / "plots" / name, picture, f"--reports {reports}")
    Console().print(summary_table(found))
    print(f"\n{place}/report.md", file=sys.stderr)


def _plots(found: list[Any], folder: Path) -> dict[str, bytes]:
    """Where vl-convert is installed; a report without pictures is one too."""
    from tokenmark_schemas.errors import InvalidInput

    from ..reports.page.files import Run
    from ..reports.plots import plot_files

    logs = {each.name: folder / each.name / "requests.jsonl.gz" for each in found}
    runs = [
        Run(each.name, each.result, log if (log := logs[each.name]).is_file() else None)
        for each in found
        if each.result
    ]
    try:
        return plot_files(runs) if runs else {}
    except InvalidInput as exc:
        print(f"no plots: {str(exc).removeprefix('--plots ')}", file=sys.stderr)
        return {}


def _report_of_cluster(namespace: str, name: str, out: Path, reports: Path) -> None:
    from tokenmark_schemas.errors import RunFailed

    from ..config.swept import sweep_of_cluster
    from ..reports.sweep import Swept

    identity, purpose, rows = sweep_of_cluster(namespace, name)
    found = [
        Swept.of_run(row.run, "done" if result else "gone" if row.state == "Measured" else row.state.lower(), result)
        for row, result in rows
    ]
    _report(identity, purpose, found, out, reports)
    if any(each.state != "done" for each in found):
        raise typer.Exit(RunFailed.exit_code)


def _yaml(document: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False))


def _flags(cell: Cell, target: str | None) -> Flags:
    """What an engines file says of this machine goes along, unless another target is asked."""
    from ..config.flags import Flags

    engine = cell.connection if target is None else None
    return Flags(
        name=cell.name,
        target=target,
        token_env=engine.token_env if engine else None,
        ca_file=Path(engine.ca_file) if engine and engine.ca_file else None,
    )


def _check(manifest: Path, flags: Flags) -> None:
    """Before the first run begins: a recipe fails at once or not at all."""
    from ..config.manifest import load

    load(manifest, replace(flags, target="http://127.0.0.1:1") if flags.target == "sim" else flags)


def _run(folder: Path, flags: Flags, quiet: bool) -> int:
    from tokenmark_schemas.errors import TokenmarkError

    from .run import execute

    print(f"\n{flags.name}", file=sys.stderr)
    try:
        return execute(folder / "manifests" / f"{flags.name}.yaml", flags, folder, "table", quiet)
    except TokenmarkError as exc:
        print(f"tokenmark: {exc}", file=sys.stderr)
        return exc.exit_code


def _swept(cells: list[Any], whole: Any) -> list[Any]:
    from ..reports.sweep import Swept

    states = {part.name: part.state for part in whole.parts}
    return [
        Swept(c.name, c.engine, c.model, c.workload, states[c.name], whole.result_of(c.name))
        for c in sorted(cells, key=lambda c: c.name)
    ]
