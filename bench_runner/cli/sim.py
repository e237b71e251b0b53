"""`tokenmark sim`: run the simulator in the foreground."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import typer

from tokenmark_schemas.errors import InvalidInput

from ..sim.scenario import Scenario
from ..sim.server import Simulator, announce, truth_file


def sim(
    listen: str = typer.Option("127.0.0.1:8000", help="HOST:PORT; port 0 picks a free one.", envvar="TOKENMARK_LISTEN"),
    model: str = typer.Option("sim", help="The model it answers for."),
    ttft_ms: float = typer.Option(20.0, min=0, help="From request read to first token."),
    itl_ms: float = typer.Option(5.0, min=0, help="Between tokens."),
    jitter_ms: float = typer.Option(0.0, min=0, help="Uniform, added to each token's time."),
    tokens: int = typer.Option(4096, min=1, help="Most tokens an answer has, whatever was asked for."),
    chunk_tokens: int = typer.Option(1, min=1, help="Tokens a chunk."),
    reasoning_tokens: int = typer.Option(0, min=0, help="Leading chunks sent as reasoning."),
    usage: bool = typer.Option(True, help="Send usage when asked for."),
    error_share: float = typer.Option(0.0, min=0, max=1, help="Share of requests answered by an error."),
    error_status: int = typer.Option(500, min=400, max=599),
    abort_share: float = typer.Option(0.0, min=0, max=1, help="Share of answers cut off in the middle."),
    stall_share: float = typer.Option(0.0, min=0, max=1, help="Share of answers that fall silent once."),
    stall_ms: float = typer.Option(1000.0, min=0),
    stall_at: int = typer.Option(8, min=0, help="The token before which a stall happens."),
    api_token: str | None = typer.Option(
        None, help="Refuse requests without this bearer token.", envvar="TOKENMARK_SIM_TOKEN"
    ),
    seed: int = typer.Option(1, min=0),
    truth: Path | None = typer.Option(None, help="Write what was really sent, and when, as JSON lines."),
) -> None:
    """Serve the bundled simulator: an OpenAI-style server whose true times are known."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidInput(f"--listen {listen}: expected HOST:PORT, such as 127.0.0.1:8000")
    scenario = Scenario(
        model=model, ttft_ms=ttft_ms, itl_ms=itl_ms, jitter_ms=jitter_ms, tokens=tokens, chunk_tokens=chunk_tokens,
        reasoning_tokens=reasoning_tokens, usage=usage, error_share=error_share, error_status=error_status,
        abort_share=abort_share, stall_share=stall_share, stall_ms=stall_ms, stall_at=stall_at, api_token=api_token,
        seed=seed,
    )  # fmt: skip
    simulator = Simulator(scenario, host.strip("[]"), int(port), truth_file(truth) if truth else None)
    signal.signal(signal.SIGTERM, lambda *_: simulator.stop())
    signal.signal(signal.SIGINT, lambda *_: simulator.stop())
    announce(simulator, host)
    simulator.serve()
    print(simulator.lateness(), file=sys.stderr)
