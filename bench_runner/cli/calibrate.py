"""`tokenmark calibrate`: what this machine's client adds, at a few levels of load, before any target is asked."""

from __future__ import annotations

import json
from typing import Any

import typer

from tokenmark_schemas.errors import InvalidInput, RunFailed

from ..config.flags import Flags
from ..config.manifest import load


def calibrate(
    concurrency: str = typer.Option("1,16,64,256", help="Streams in flight, such as 1,64,1000."),
    format: str = typer.Option("table", help="table or json."),
) -> None:
    """Measure this client against the bundled simulator, whose true times are known: two seconds a level."""
    if format not in ("table", "json"):
        raise InvalidInput(f"--format {format}: choose table or json")
    config = load(None, Flags(target="http://127.0.0.1:1", model="calibration", concurrency=concurrency, requests=1))
    from ..instrument.calibrate import calibrate as measure

    found = []
    for stage in config.stages:
        level = measure(config, stage.concurrency or 1)
        if level is None:
            raise RunFailed("the simulator gave no whole answer in two seconds; is this machine busy?")
        found.append(level)
        if format == "table":
            _show(level, heading=len(found) == 1)
    if format == "json":
        print(json.dumps(found, indent=2))


def _show(level: dict[str, Any], *, heading: bool) -> None:
    from ..reports.units import seconds

    if heading:
        print(f"{'streams':>8}{'answers':>9}{'TTFT error p50':>16}{'p99':>10}{'gap error p99':>15}{'CPU/token':>11}")
    print(
        f"{level['streams']:>8.0f}{level['answers']:>9.0f}{seconds(level['ttft_error_p50_s']):>16}"
        f"{seconds(level['ttft_error_p99_s']):>10}{seconds(level.get('gap_error_p99_s')):>15}"
        f"{level['cpu_us_per_token']:>8.1f} µs"
    )
