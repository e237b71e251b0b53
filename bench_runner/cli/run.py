"""`tokenmark run`: a manifest, flags, or both."""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import typer

from tokenmark_schemas.errors import InvalidInput

from ..config.flags import Flags, parameters
from ..config.manifest import load

CONTEXT, PLACES = (
    4096,
    8,
)  # where a model file is served for a run: tokens of one stream; streams where the load does not say how many
INDEX_ENV = "JOB_COMPLETION_INDEX"  # which of its pods an indexed Job says that this is


def _option(default: Any, help: str, name: str, **more: Any) -> Any:
    return typer.Option(default, help=help, envvar=f"TOKENMARK_{name}", show_envvar=False, **more)


def run(
    manifest: Path | None = typer.Argument(
        None, help="A BenchmarkRun, the same file kubectl applies, or a stored config.json."
    ),
    *,
    out: Path = _option(Path("results"), "Folder for results.", "OUT"),
    format: str = _option("table", "table or json.", "FORMAT"),
    quiet: bool = _option(False, "No progress.", "QUIET"),
    pod: bool = _option(False, "Write results as log frames, for the operator.", "POD", hidden=True),
    **said: Any,
) -> None:
    """Run a benchmark: `tokenmark run --target sim --model sim`.

    Every option is also an environment variable: --max-output-tokens is TOKENMARK_MAX_OUTPUT_TOKENS.
    """
    if format not in ("table", "json"):
        raise InvalidInput(f"--format {format}: choose table or json")
    flags = Flags(**{name: None if value is False or value == [] else value for name, value in said.items()})
    raise typer.Exit(execute(manifest, flags, out, format, quiet, pod))


def _declared() -> inspect.Signature:
    """The signature that typer reads: the flags' rows stand in the place of `said`."""
    own = [p for p in inspect.signature(run, eval_str=True).parameters.values() if p.kind != p.VAR_KEYWORD]
    return inspect.Signature([own[0], *parameters(), *own[1:]])


run.__signature__ = _declared()  # type: ignore[attr-defined]
run.__annotations__ = {p.name: p.annotation for p in run.__signature__.parameters.values()}  # type: ignore[attr-defined]


def execute(manifest: Path | None, flags: Flags, out: Path, format: str, quiet: bool, pod: bool = False) -> int:
    """Measures, prints, and gives the exit code; target `sim` brings its server."""
    if flags.target == "sim":
        return _with_simulator(manifest, flags, out, format, quiet)
    if flags.target == "embedded":
        return _with_postgres(manifest, flags, out, format, quiet)
    if flags.target and flags.target.endswith(".gguf"):
        return _with_model(manifest, flags, out, format, quiet)
    return _execute(manifest, flags, out, format, quiet, pod)


def measured(manifest: Path, flags: Flags, out: Path, quiet: bool) -> int:
    """Measures without printing, and gives the exit code."""
    from ..run.session import Session, outcome_code

    session = Session(load(manifest, flags), out, quiet=quiet, pod=False)
    return outcome_code(session, session.execute())


def _execute(manifest: Path | None, flags: Flags, out: Path, format: str, quiet: bool, pod: bool = False) -> int:
    config = load(manifest, flags, pod=pod)
    from ..run.session import Session, outcome_code

    session = Session(config, out, quiet=quiet, pod=pod)
    index = int(os.environ.get(INDEX_ENV) or 0)
    if pod and config.team is not None and index:
        return session.follow(config.team, index)
    result = session.execute()
    if pod:
        return outcome_code(session, result)
    if format == "json":
        print(json.dumps(result.snake(), indent=2))
    else:
        from ..reports.table import print_result

        print_result(result)
        print(f"\n{session.folder}/result.json", file=sys.stderr)
    return outcome_code(session, result)


def _with_simulator(manifest: Path | None, flags: Flags, out: Path, format: str, quiet: bool) -> int:
    """Starts the simulator beside the run, for the model that the run asks for."""
    from ..sim.beside import simulator_beside
    from ..sim.scenario import Scenario

    flags.target, flags.model = "http://127.0.0.1:1", flags.model or (None if manifest else "sim")
    model = load(manifest, flags).target.model
    with simulator_beside(Scenario(model=model)) as url:
        flags.target = url
        return _execute(manifest, flags, out, format, quiet)


def _with_postgres(manifest: Path | None, flags: Flags, out: Path, format: str, quiet: bool) -> int:
    """Starts a PostgreSQL of the run's own beside it, once what is asked is known to make sense."""
    from ..pipelines.embedded import postgres_beside

    flags.target = "postgresql://127.0.0.1:1"
    flags.engine = flags.engine or (None if manifest else "postgres")
    load(manifest, flags)
    with postgres_beside() as url:
        flags.target = url
        return _execute(manifest, flags, out, format, quiet)


def _with_model(manifest: Path | None, flags: Flags, out: Path, format: str, quiet: bool) -> int:
    """Starts a llama-server, or an Ollama with engine ollama, with a model file beside the run; its log lies with the results."""
    from dataclasses import replace

    from ..local.gguf_file import read_model_file
    from ..local.launch import WHERE, ServerKind, Settings, launch, load_limit_s, model_name
    from ..local.memory import must_fit
    from ..local.server import serving

    model = read_model_file(Path(str(flags.target)).expanduser())
    if flags.engine not in (None, *WHERE):
        raise InvalidInput(f"--engine {flags.engine} with a model file: {' or '.join(WHERE)} is started with one")
    kind = cast("ServerKind", flags.engine or "llamacpp")
    asked = replace(flags, target="http://127.0.0.1:1", engine=kind, model=flags.model or model_name(kind, model.path))
    config = load(manifest, asked)
    closed = config.search is None and all(stage.concurrency for stage in config.stages)
    streams = max(stage.concurrency or 1 for stage in config.stages) if closed else PLACES
    settings = Settings(context=streams * min(model.context or CONTEXT, CONTEXT), parallel=streams)
    must_fit(model, settings.context, streams)
    if not quiet:
        print(
            f"{WHERE[kind][0]} with {model.name or model.path.name}, {model.quantization}, {streams} at a time",
            file=sys.stderr,
        )
    folder = out / "server"
    how = launch(kind, model.path, str(asked.model), settings, folder)
    with serving(how, folder, load_limit_s(kind, model.path)) as running:
        asked.target = running.url
        return _execute(manifest, asked, out, format, quiet)
