"""The agents' entry point: `server --deadline S`, `client CONFIG`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

import typer
from pydantic import ValidationError

from tokenmark_schemas.errors import InvalidInput, TokenmarkError
from tokenmark_schemas.netprobe import ProbeConfig

from . import client as client_agent
from . import server as server_agent

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def server(deadline: int = typer.Option(3600, min=1, help="Seconds after which it ends by itself.")) -> None:
    """Answer pings and run iperf3's server."""
    raise typer.Exit(server_agent.serve(deadline))


@app.command()
def client(config: Path = typer.Argument(help="A netprobe-config/v1 file.")) -> None:
    """Measure, and write the result into the log."""
    try:
        parsed = ProbeConfig.model_validate_json(config.read_text())
    except (OSError, ValidationError) as exc:
        raise InvalidInput(f"{config} is no netprobe-config/v1: {exc}") from exc
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_client)
    raise typer.Exit(client_agent.probe(parsed))


def main() -> None:
    signal.signal(signal.SIGTERM, _on_term)
    try:
        app()
    except TokenmarkError as exc:
        print(f"netprobe: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)


def _stop_client(number: int, _frame: FrameType | None) -> None:
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)  # what was measured is being written
    raise client_agent.Stopped(number)


def _on_term(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
