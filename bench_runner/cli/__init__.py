"""`tokenmark`: one thin module a verb. Errors become one sentence and an exit code here, and nowhere else."""

from __future__ import annotations

import os
import sys

import typer

from tokenmark_schemas.errors import TokenmarkError

from . import explain, run, sim, validate, workloads

app = typer.Typer(
    name="tokenmark",
    help="Benchmark LLM serving, and know whether the number can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("sim")(sim.sim)
app.command("validate")(validate.validate)
app.command("explain")(explain.explain)
app.command("workloads")(workloads.workloads)


def version(show: bool) -> None:
    if show:
        from ..provenance import VERSION

        print(f"tokenmark {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    _version: bool = typer.Option(False, "--version", callback=version, is_eager=True, help="Print the version."),
) -> None:
    """Benchmark LLM serving, and know whether the number can be trusted."""


def main(words: list[str] | None = None) -> None:
    """Entry point, for `words` or the process's own arguments: exit codes 0 fine, 2 bad input, 3 objective missed, 4 invalid, 5 failed, 130 interrupted."""
    try:
        app(words)
    except TokenmarkError as exc:
        print(f"tokenmark: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        print("tokenmark: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
