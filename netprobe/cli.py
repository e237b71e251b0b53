"""The agents' entry point in a pod: `server --deadline S`, `client CONFIG`, and `net`, the same by hand."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import typer
from pydantic import ValidationError

from tokenmark_schemas.errors import InvalidInput, TokenmarkError
from tokenmark_schemas.frames import frame
from tokenmark_schemas.probe_result import NetProbeResult, ProbeConfig

from . import client as client_agent
from . import server as server_agent
from .hand import app as by_hand

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(by_hand, name="net")


@app.command()
def server(deadline: int = typer.Option(3600, min=1, help="Seconds after which it ends by itself.")) -> None:
    """Answer pings and run iperf3's server."""
    raise typer.Exit(server_agent.serve(deadline))


@app.command()
def client(config: Path = typer.Argument(help="A netprobe-config/v1 file.")) -> None:
    """Measure, and write the result into the log. Ends with 0, 5 where a measurement failed, 128 + n after a signal."""
    try:
        parsed = ProbeConfig.model_validate_json(config.read_text())
    except (OSError, ValidationError) as exc:
        raise InvalidInput(f"{config} is no netprobe-config/v1: {exc}") from exc
    pair = client_agent.Pair(parsed, told=lambda text: print(text, file=sys.stderr, flush=True))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _frame: pair.stop(n))
    raise typer.Exit(_ended(pair.run(), pair.stopped))


@app.command()
def stand(
    peers: str = typer.Argument(help="A name behind which all agents are, such as a headless Service."),
    most: int = typer.Option(8, min=1, max=64, help="How many peers each agent pings."),
    every: float = typer.Option(10, min=1, help="Seconds between two rounds."),
) -> None:
    """Answer and ping for as long as it runs; Prometheus series on port 5204."""
    from .standing import stand as standing

    raise typer.Exit(standing(peers, most=most, every_s=every))


def _ended(result: NetProbeResult, stopped: int) -> int:
    """The result into the log, a summary for the kubelet; returns the exit code."""
    for line in frame("result", gzip.compress(json.dumps(result.snake()).encode(), mtime=0)):
        print(line)
    sys.stdout.flush()
    failed = [m.error for m in result.measurements if m.error]
    said = f"stopped by signal {stopped}" if stopped else failed[0] if failed else ""
    outcome = "interrupted" if stopped else "failed" if failed else "completed"
    path = Path(os.environ.get("TOKENMARK_TERMINATION_LOG", "/dev/termination-log"))
    if path.exists():
        path.write_text(json.dumps({"outcome": outcome, "message": said})[:4000])
    return 128 + stopped if stopped else 5 if failed else 0


def main() -> None:
    signal.signal(signal.SIGTERM, _on_term)
    try:
        app()
    except TokenmarkError as exc:
        print(f"netprobe: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
    except OSError as exc:
        print(f"netprobe: {exc.strerror or exc}", file=sys.stderr)
        sys.exit(5)


def _on_term(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
