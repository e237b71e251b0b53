"""The flags of `tokenmark run`, each declared once: the command line, its environment twin and its help are made of these
rows. What a flag means for a spec stands in `overrides`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints


def flag(help: str, **limits: int) -> Any:
    """A flag that is None when it was not said. `limits`: min, max."""
    return field(default=None, metadata={"help": help, "limits": limits})


def words_of(said: str | None) -> list[str]:
    """Words with commas between."""
    return [word.strip() for word in said.split(",") if word.strip()] if said else []


@dataclass
class Flags:
    """What was said on the command line; None is not said."""

    engine: str | None = flag("The dialect the server speaks; openai if unsaid. One of {engines}.")
    target: str | None = flag(
        "http://host:port of the server, `sim` for the bundled simulator, MODEL.gguf for a llama-server (or with --engine ollama an Ollama) with that file, or `embedded` for a PostgreSQL of its own."
    )
    model: str | None = flag("The model, as the server knows it.")
    workload: str | None = flag("A built-in workload or a workload file; smoke if unsaid.")
    concurrency: str | None = flag("Closed loop: requests in flight, such as 1,8,64; the workload's stages if unsaid.")
    rate: str | None = flag("Open loop: requests per second, such as 5,10.")
    arrival: str | None = flag("How open-loop arrivals are spaced: constant if unsaid, poisson or gamma.")
    burstiness: str | None = flag("Shape of --arrival gamma: 1 is Poisson, below it arrivals come in bursts.")
    ramp_to: str | None = flag("Open loop: the rate at the end of the stage.")
    requests: int | None = flag("Requests a stage.", min=1)
    duration: int | None = flag("Seconds a stage; 30 if neither this nor --requests is said.", min=1)
    warmup_requests: int | None = flag("Requests before the measurement; 10 if unsaid, 0 for none.", min=0)
    input_tokens: int | None = flag(
        "Prompt length in tokens, synthetic text, answers of up to 256; the workload's if unsaid.", min=1
    )
    max_output_tokens: int | None = flag("The most tokens an answer may have; the workload's if unsaid.", min=1)
    repetitions: int | None = flag("How often the whole plan is run; 1 with flags alone, 3 with a manifest.", min=1)
    rerun_outliers: bool | None = flag("Measure a repetition that lies apart from the others once more.")
    workers: int | None = flag("Load processes.", min=1)
    detail: str | None = flag("summary, requests or chunks; requests if unsaid.")
    seed: int | None = flag("Seed of everything random.", min=0)
    objective: list[str] | None = flag(
        "A limit: ttft:p99<=800ms, errors:mean<=1%, output_tokens_per_s:mean>=1000/s; may stand several times."
    )
    find: str | None = flag("max-concurrency or max-rate: the highest load that meets every --objective.")
    max_steps: int | None = flag("Levels that --find may try; 12 if unsaid.", min=3, max=32)
    prompts: Path | None = flag("JSON lines with prompt, messages, or the turns of conversations.")
    trace: Path | None = flag(
        "JSON lines with timestamp (ms) and prompt, messages or input_length: replayed as recorded."
    )
    trace_speedup: str | None = flag("2 replays a trace in half its time.")
    turns: int | None = flag("Conversations of so many turns, each with all that was said before.", min=1, max=64)
    think_ms: int | None = flag("Milliseconds from an answer to the conversation's next turn.", min=1)
    provider: str | None = flag("Recorded in the result, compared in dashboards.")
    region: str | None = flag("Recorded in the result.")
    cluster_label: str | None = flag("Recorded in the result.")
    label: list[str] | None = flag("KEY=VALUE, recorded in the result.")
    cost: Path | None = flag("Prices (a cost/v1 file): the result says what a million tokens cost.")
    timeout: int | None = flag("Seconds a request may take; 600 if unsaid.", min=1)
    name: str | None = flag("Name of the run; its results lie in OUT/NAME. MODEL-ENGINE if unsaid.")
    token_env: str | None = flag("Environment variable that holds the API token.")
    ca_file: Path | None = flag("PEM file of certificate authorities, for https.")
    insecure: bool | None = flag("Take any certificate.")
    proxy: str | None = flag("HTTP proxy, such as http://host:3128.")
    gpu_metrics: str | None = flag("Page of a DCGM exporter that sees the target's GPUs, http://host:9400/metrics.")
    host_metrics: str | None = flag("Page of the node exporter on the target's machine, http://host:9100/metrics.")
    network: str | None = flag(
        "What the network explains of TTFT: a result of `tokenmark net`, or the host of its server, measured before the load."
    )
    store: list[str] | None = flag(
        "Also puts the results there: s3://bucket/prefix, gs://…, az://…, or a folder; may stand several times."
    )
    store_endpoint: str | None = flag("Address of a store that speaks S3, such as http://minio:9000.")
    store_region: str | None = flag("Region of the store.")
    store_ca_file: Path | None = flag("PEM file of the authorities that the store's certificate is from.")
    store_deadline: int | None = flag("Seconds that an upload is tried; 300 if unsaid.", min=10, max=3600)
    new_connections: bool | None = flag("A new connection for every request.")
    max_connections: int | None = flag("The most connections at a time.", min=1)
    honour_retry_after: bool | None = flag("After a 429 or 503, rest as long as the server asks, at most 60 s.")


def parameters() -> Iterator[inspect.Parameter]:
    """Every flag as a parameter that typer understands."""
    import typer

    from tokenmark_schemas.support import ENGINES

    hints = get_type_hints(Flags)
    for row in fields(Flags):
        option = typer.Option(
            None if hints[row.name] != bool | None else False,
            help=row.metadata["help"].format(engines=", ".join(ENGINES)),
            envvar=f"TOKENMARK_{row.name.upper()}",
            show_envvar=False,
            **row.metadata["limits"],
        )
        kind = bool if hints[row.name] == bool | None else hints[row.name]
        yield inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind)
