"""`tokenmark sim`: run the simulator in the foreground."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import typer

from tokenmark_schemas.errors import InvalidInput

from ..sim.scenario import Scenario, read_scenario
from ..sim.server import Simulator, announce, truth_file


def sim(
    listen: str = typer.Option("127.0.0.1:8000", help="HOST:PORT; port 0 picks a free one.", envvar="TOKENMARK_LISTEN"),
    scenario: Path | None = typer.Option(None, help="A YAML file of the fields below and more; flags win over it."),
    model: str | None = typer.Option(None, help="The model it answers for; sim if unsaid."),
    ttft_ms: float | None = typer.Option(None, min=0, help="From request read to first token; 20 if unsaid."),
    itl_ms: float | None = typer.Option(None, min=0, help="Between tokens; 5 if unsaid."),
    jitter_ms: float | None = typer.Option(None, min=0, help="Uniform, added to each token's time."),
    tokens: int | None = typer.Option(None, min=1, help="Most tokens an answer has, whatever was asked for."),
    chunk_tokens: int | None = typer.Option(None, min=1, help="Tokens a chunk; 1 if unsaid."),
    reasoning_tokens: int | None = typer.Option(None, min=0, help="Leading chunks sent as reasoning."),
    usage: bool | None = typer.Option(None, help="Send usage when asked for."),
    error_share: float | None = typer.Option(None, min=0, max=1, help="Share of requests answered by an error."),
    error_status: int | None = typer.Option(None, min=400, max=599),
    abort_share: float | None = typer.Option(None, min=0, max=1, help="Share of answers cut off in the middle."),
    stall_share: float | None = typer.Option(None, min=0, max=1, help="Share of answers that fall silent once."),
    stall_ms: float | None = typer.Option(None, min=0),
    stall_at: int | None = typer.Option(None, min=0, help="The token before which a stall happens."),
    slots: int | None = typer.Option(None, min=1, help="Answers at a time; more wait in turn. Without end if unsaid."),
    api_token: str | None = typer.Option(
        None, help="Refuse requests without this bearer token.", envvar="TOKENMARK_SIM_TOKEN"
    ),
    seed: int | None = typer.Option(None, min=0),
    truth: Path | None = typer.Option(None, help="Write what was really sent, and when, as JSON lines."),
) -> None:
    """Serve the bundled simulator: it speaks every engine's dialect, and its true times are known."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidInput(f"--listen {listen}: expected HOST:PORT, such as 127.0.0.1:8000")
    said = {
        "model": model, "ttft_ms": ttft_ms, "itl_ms": itl_ms, "jitter_ms": jitter_ms, "tokens": tokens,
        "chunk_tokens": chunk_tokens, "reasoning_tokens": reasoning_tokens, "usage": usage, "error_share": error_share,
        "error_status": error_status, "abort_share": abort_share, "stall_share": stall_share, "stall_ms": stall_ms,
        "stall_at": stall_at, "slots": slots, "api_token": api_token, "seed": seed,
    }  # fmt: skip
    fields = read_scenario(scenario) if scenario else {}
    played = Scenario.model_validate({**fields, **{name: value for name, value in said.items() if value is not None}})
    simulator = Simulator(played, host.strip("[]"), int(port), truth_file(truth) if truth else None)
    signal.signal(signal.SIGTERM, lambda *_: simulator.stop())
    signal.signal(signal.SIGINT, lambda *_: simulator.stop())
    announce(simulator, host)
    simulator.serve()
    print(simulator.lateness(), file=sys.stderr)
