"""`tokenmark matrix`: every model file of this machine at every use, to one table of what to choose."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from tokenmark_schemas.errors import InvalidInput, TokenmarkError

from ..config.flags import Flags, words_of
from .models import listed_models

if TYPE_CHECKING:
    from tokenmark_decisions.matrix_cells import Cell
    from tokenmark_schemas.profiles import Depth

    from ..local.launch import Settings
    from ..local.matrix import Matrix, Outcome
    from ..reports.matrix_rows import About, Standing

LogLevel = Literal["debug", "info", "warning"]


def matrix(
    folder: str | None = typer.Argument(None, help="Searched for *.gguf; modelDir of --config if unsaid. Or NAMESPACE/NAME of a BenchmarkMatrix in the cluster, which is not run but reported."),
    config: Path = typer.Option(Path("models.yaml"), help="A list of models (models/v1), where there is one.", envvar="TOKENMARK_MODELS", show_envvar=False),
    models: str | None = typer.Option(None, help="Only these, by name, with commas between."),
    quants: str | None = typer.Option(None, help="Only these quantisations, such as Q4_K_M,Q8_0."),
    profiles: str | None = typer.Option(None, help="Only these uses: interactive, long-context, batch, quality, stress, code, or those of --own-profiles."),
    own_profiles: Path | None = typer.Option(None, help="A profiles/v1 file in the place of the built-in one."),
    quick: bool = typer.Option(False, "--quick", help="A first look: a few requests a cell, a quarter of the tests, one minute of stress."),
    full: bool = typer.Option(False, "--full", help="For a decision: three repetitions, half an hour of stress."),
    skip_quality: bool = typer.Option(False, "--skip-quality", help="No tests of what the answers are worth."),
    skip_stress: bool = typer.Option(False, "--skip-stress", help="No stress test."),
    resume: bool = typer.Option(False, "--resume", help="Go on with the newest matrix of the same cells: what is done is not done again."),
    output_dir: Path = typer.Option(Path("results"), help="Results, the report and the folder of all runs.", envvar="TOKENMARK_OUT", show_envvar=False),
    engine: Literal["llamacpp", "ollama"] = typer.Option("llamacpp", help="What serves: a llama-server, or an Ollama with a store of its own."),
    threads: str | None = typer.Option(None, help="Of the server, such as 4 or, to compare, 2,4,8; one processor fewer than there are if unsaid."),
    batch: int | None = typer.Option(None, min=1, help="Of the server (--ubatch-size)."),
    gpu_layers: str | None = typer.Option(None, help="That the server keeps on GPUs, such as 0,99 to compare processors with GPUs; its own choice if unsaid."),
    contexts: str | None = typer.Option(None, help="Tokens that the server keeps for a stream, such as 4096,16384 to compare; what each use asks for if unsaid."),
    cost: Path | None = typer.Option(None, help="Prices (cost/v1): what a million tokens cost on this machine."),
    provider: str | None = typer.Option(None, help="Whose machine this is, as the prices name it; it stands in every result."),
    load_s: int = typer.Option(300, min=1, max=86_400, help="Give up on a server that does not answer after so long."),
    ttft_s: int = typer.Option(30, min=1, max=3600, help="Give up where the first token takes longer."),
    tokens_per_s: float = typer.Option(2.0, min=0, help="Give up on a model that is slower."),
    celsius: int = typer.Option(90, min=40, max=120, help="End a stress test at this temperature."),
    seed: int = typer.Option(1, min=0, help="Seed of everything random."),
    log_level: LogLevel = typer.Option("info", help="debug tells of every server, warning only of what is wrong."),
) -> None:  # fmt: skip
    """Measure every model and quantisation at every use, with a server that is started for each and taken away, and say what to choose for what.

    Four-bit quantisations and small models go first; what cannot fit, is too slow, or is heavier than what failed is skipped with its reason.

    Examples: tokenmark matrix ~/models --quick; tokenmark matrix --quants Q4_K_M,Q8_0 --profiles interactive,quality --resume; tokenmark matrix bench/gemma

    Exit codes: 0 every cell was measured or skipped for its reason, 2 bad input, 5 a cell failed (or, in a cluster, is not measured yet), 130 interrupted.
    """
    from tokenmark_decisions.matrix_cells import cells as cells_of
    from tokenmark_schemas.documents import read_profiles
    from tokenmark_schemas.errors import RunFailed
    from tokenmark_schemas.matrix import MatrixLimits

    from ..config.sources import named_object
    from ..load.clock import iso_now
    from ..local.launch import Settings, program_of
    from ..local.matrix import Matrix, last_of
    from ..local.matrix_plan import choose_models, choose_profiles, choose_variants
    from ..run.sweep import INTERRUPTED

    if folder is not None and not Path(folder).exists() and (named := named_object(folder)):
        _report_of_cluster(*named, output_dir)
        return
    if quick and full:
        raise InvalidInput("--quick and --full exclude each other")
    depth: Depth = "quick" if quick else "full" if full else "standard"
    listed = listed_models(config) if folder is None or config.exists() else None
    place = Path(folder or str(listed.model_dir if listed else ".")).expanduser()
    chosen = choose_models(listed, place, words_of(models), words_of(quants))
    uses = choose_profiles(
        read_profiles(own_profiles).profiles, words_of(profiles), quality=not skip_quality, stress=not skip_stress
    )
    settings = Settings(batch=batch)
    ways = choose_variants(words_of(threads), words_of(gpu_layers), words_of(contexts), settings.threads_used)
    limits = MatrixLimits(load_s=load_s, ttft_s=ttft_s, tokens_per_s=tokens_per_s, celsius=celsius)
    plan = cells_of(chosen.candidates, uses, ways, depth, limits, seed, batch, engine)
    program_of(engine)
    for said in chosen.left_out:
        print(f"left out: {said}", file=sys.stderr)
    began = iso_now()
    kept = last_of(output_dir, plan) if resume else None
    where = kept or output_dir / began.translate(str.maketrans("", "", "-:"))[:15]
    quiet = log_level == "warning"
    whole = Matrix(
        where, plan, chosen.files, settings, limits, lambda said: None if quiet else print(said, file=sys.stderr),
        no_code=_no_code(plan), engine=engine,
    )  # fmt: skip
    _greet(whole, kept is not None, quiet=quiet)
    without_template = [" ".join(key) for key, file in chosen.files.items() if not file.chat_template]
    try:
        for cell, entry in whole.run(
            lambda cell, url: _measure(whole, cell, url, Flags(cost=cost, provider=provider), quiet=quiet)
        ):
            _tell(whole, cell, entry, log_level)
    except KeyboardInterrupt:  # between two runs, or while a server starts
        whole.interrupted = True
    finally:
        _report(whole, depth, settings, began, without_template, output_dir)
    if whole.interrupted:
        raise typer.Exit(INTERRUPTED[0])
    if any(entry.state == "failed" for entry in whole.entries.values()):
        raise typer.Exit(RunFailed.exit_code)


def _greet(whole: Matrix, resumed: bool, *, quiet: bool) -> None:
    done = sum(entry.state == "done" for entry in whole.entries.values())
    if not quiet:
        before = f", {done} done before" if resumed else ""
        print(f"{len(whole.cells)} cells{before}; {whole.folder}", file=sys.stderr)


def _measure(whole: Matrix, cell: Cell, url: str, flags: Flags, *, quiet: bool) -> Outcome:
    """One run: its manifest lies beside the others, and can be applied or run again by itself."""
    import yaml

    from tokenmark_schemas.kube import API_VERSION

    from ..local.matrix import Outcome
    from ..storage.text_file import write_text
    from .run import measured

    if cell.profile.kind == "code":
        return _measure_code(whole, cell, url, quiet=quiet)
    spec = {**cell.spec, "target": {**cell.spec["target"], "endpoint": {"url": url}}}
    manifest = whole.folder / "manifests" / f"{cell.name}.yaml"
    document = {"apiVersion": API_VERSION, "kind": "BenchmarkRun", "metadata": {"name": cell.name}, "spec": spec}
    write_text(manifest, yaml.safe_dump(document, sort_keys=False), f"--output-dir {whole.folder.parent}")
    try:
        return Outcome(measured(manifest, flags, whole.runs, quiet))
    except TokenmarkError as exc:
        return Outcome(exc.exit_code, str(exc))


def _measure_code(whole: Matrix, cell: Cell, url: str, *, quiet: bool) -> Outcome:
    """Asked first, and judged when the asking is over."""
    from tokenmark_schemas.run import RunTarget

    from ..local.code_tasks import ask, judge, keep, keep_answer
    from ..local.matrix import Outcome
    from ..quality.code_checks import fixtures, tools

    asked, tasks = cell.spec["code"], fixtures()
    target = RunTarget(
        engine=whole.engine,
        model=cell.candidate.model,
        url=url,
        request_timeout_s=whole.limits.request_s,
        first_token_timeout_s=whole.limits.ttft_s,
    )
    tell = (lambda _said: None) if quiet else (lambda said: print(f"    {said}", file=sys.stderr))
    try:
        place, said = whole.runs / cell.name, f"--output-dir {whole.folder.parent}"
        answers = ask(
            target,
            None,
            tasks,
            asked["runs"],
            asked["maxOutputTokens"],
            tell,
            lambda each: keep_answer(place, each, said),
        )
        result = judge(answers, tasks, tools(), tell).model_copy(update={"cell": cell.hash})
        keep(place, result, said)
    except TokenmarkError as exc:
        return Outcome(exc.exit_code, str(exc))
    return Outcome(0)


def _no_code(cells: list[Cell]) -> str | None:
    """Why code cannot be judged here; nothing is asked where there is none to judge."""
    if not any(cell.profile.kind == "code" for cell in cells):
        return None
    from ..quality.code_checks import tools
    from ..quality.sandbox import available

    try:
        why = available()
        if why is None:
            tools()
        return why
    except TokenmarkError as exc:
        return str(exc)


def _tell(whole: Matrix, cell: Cell, entry: Any, log_level: LogLevel) -> None:
    """One line a cell; with its server where everything is wanted."""
    if entry.state in ("failed", "skipped"):
        print(f"    {entry.state}: {cell.name}: {entry.reason}", file=sys.stderr)
    elif entry.state != "done" or log_level == "warning":
        pass
    elif (code := whole.code_of(cell)) is not None:
        print(f"    {code.mean:.1f} of 10", file=sys.stderr)
    elif (result := whole.result_of(cell)) is not None:
        from ..reports.matrix import said_of

        print(f"    {said_of(result)}", file=sys.stderr)
    if log_level == "debug" and (facts := whole.server_of(cell)) is not None:
        print(f"    server: {facts.model_dump_json(exclude_none=True)}", file=sys.stderr)


def _report(whole: Matrix, depth: str, settings: Settings, began: str, without_template: list[str], out: Path) -> None:
    """Whatever was measured until now: JSON, CSV and HTML, and the table on the terminal."""
    from ..local.matrix_standing import about, standings_of

    standings = standings_of(whole)
    _write(standings, about(whole, standings, depth, settings, began, without_template), out)


def _report_of_cluster(namespace: str, name: str, out: Path) -> None:
    """What it has measured until now."""
    from tokenmark_schemas.errors import RunFailed

    from ..config.matrix_object import matrix_of_cluster

    standings, said = matrix_of_cluster(namespace, name)
    _write(standings, said, out)
    if any(each.state in ("failed", "waiting", "running") for each in standings):
        raise typer.Exit(RunFailed.exit_code)


def _write(standings: list[Standing], said: About, out: Path) -> None:
    import json

    from rich.console import Console

    from ..reports.matrix import matrix_csv, matrix_lines
    from ..reports.matrix_rows import answers_of, matrix_result
    from ..reports.page.matrix import matrix_page
    from ..storage.text_file import write_text

    answers = answers_of(standings)
    result = matrix_result(standings, said, answers)
    place, flag = out / said.id, f"--output-dir {out}"
    write_text(place.with_name(f"{said.id}_results.json"), json.dumps(result.snake(), indent=2) + "\n", flag)
    write_text(place.with_name(f"{said.id}_results.csv"), matrix_csv(result.rows), flag)
    write_text(place.with_name(f"{said.id}_report.html"), matrix_page(result, answers), flag)
    console = Console()
    for line in matrix_lines(result):
        console.print(line, highlight=False)
    print(f"\n{place}_report.html", file=sys.stderr)
