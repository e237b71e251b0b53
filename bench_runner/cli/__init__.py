"""`tokenmark`: one thin module a verb. Errors become one sentence and an exit code here, and nowhere else.

Verbs of other parts of the product are found by their entry point (`tokenmark.verbs`): the runner's image has none of them.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import importlib.metadata
import os
import sys
from typing import Any

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for them costs a tenth of the start
gc.disable()  # imports make no garbage worth looking for; `main` switches it on again

import typer  # noqa: E402

from tokenmark_schemas.errors import TokenmarkError  # noqa: E402

VERBS = (
    "run", "runs", "sweep", "matrix", "code", "show", "summary", "logs", "watch", "compare", "baseline", "cost", "rate", "report", "export", "import", "engines", "models", "test-request", "metrics", "doctor", "sim", "calibrate", "translate", "results", "validate", "explain", "workloads",
)  # fmt: skip
MODULES = {"import": "import_", "test-request": "single_request"}  # where a verb's own word names no module
app = typer.Typer(
    name="tokenmark",
    help="Benchmark LLM serving, and know whether the number can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _load_verbs(words: list[str]) -> None:
    """Only the module of the verb that is asked for: a run must not wait for what the others import."""
    asked = next((word for word in words if not word.startswith("-")), None)
    for verb in [asked] if asked in VERBS else VERBS:
        module = MODULES.get(verb, verb)
        found = getattr(importlib.import_module(f"{__name__}.{module}"), module)
        _add(verb, found)
    if asked not in VERBS:
        _load_others()


def _add(verb: str, found: Any) -> None:
    """A verb with verbs of its own, or one alone."""
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=verb)
    else:
        app.command(verb)(found)


def _load_others() -> None:
    for entry in importlib.metadata.entry_points(group="tokenmark.verbs"):
        with contextlib.suppress(ImportError):  # of a part that is not installed here
            _add(entry.name, entry.load())


def version(show: bool) -> None:
    if show:
        from ..run.provenance import VERSION

        print(f"tokenmark {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    _version: bool = typer.Option(False, "--version", callback=version, is_eager=True, help="Print the version."),
) -> None:
    """Benchmark LLM serving, and know whether the number can be trusted."""


def main(words: list[str] | None = None) -> None:
    """For `words` or the process's own arguments: exit codes 0 fine, 2 bad input, 3 objective missed, 4 invalid, 5 failed, 130 interrupted."""
    words = sys.argv[1:] if words is None else words
    try:
        _load_verbs(words)
        gc.freeze()
        gc.enable()
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


def entry() -> None:
    """`main`, then the end of the process. The object store's library leaves threads behind that an interpreter which tears itself
    down under load is aborted by (github.com/PyO3/pyo3-async-runtimes/issues/40): 4 of 100 uploads ended with SIGABRT, after all was done. So
    where it was used nothing is torn down: what Python has to finish is finished, and the process is left."""
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    if "obstore" in sys.modules:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
    sys.exit(code)  # type: ignore[arg-type]
