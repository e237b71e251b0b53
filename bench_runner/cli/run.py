"""`tokenmark run`: a manifest, flags, or both."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import typer

from tokenmark_schemas.errors import InvalidInput

from ..manifest import Flags, load

INDEX_ENV = "JOB_COMPLETION_INDEX"  # which of its pods an indexed Job says that this is


def _option(default: Any, help: str, name: str, **more: Any) -> Any:
    return typer.Option(default, help=help, envvar=f"TOKENMARK_{name}", show_envvar=False, **more)


def run(
    manifest: Path | None = typer.Argument(
        None, help="A BenchmarkRun, the same file kubectl applies, or a stored config.json."
    ),
    engine: str | None = _option(
        None,
        "The dialect the server speaks: openai if unsaid, openai-completions, vllm, sglang, tgi, ollama, llamacpp.",
        "ENGINE",
    ),
    target: str | None = _option(None, "http://host:port of the server, or `sim` for the bundled simulator.", "TARGET"),
    model: str | None = _option(None, "The model, as the server knows it.", "MODEL"),
    workload: str | None = _option(None, "A built-in workload or a workload file; smoke if unsaid.", "WORKLOAD"),
    concurrency: str | None = _option(
        None, "Closed loop: requests in flight, such as 1,8,64; the workload's stages if unsaid.", "CONCURRENCY"
    ),
    rate: str | None = _option(None, "Open loop: requests per second, such as 5,10.", "RATE"),
    arrival: str | None = _option(
        None, "How open-loop arrivals are spaced: constant if unsaid, poisson or gamma.", "ARRIVAL"
    ),
    burstiness: str | None = _option(
        None, "Shape of --arrival gamma: 1 is Poisson, below it arrivals come in bursts.", "BURSTINESS"
    ),
    ramp_to: str | None = _option(None, "Open loop: the rate at the end of the stage.", "RAMP_TO"),
    requests: int | None = _option(None, "Requests a stage.", "REQUESTS", min=1),
    duration: int | None = _option(
        None, "Seconds a stage; 30 if neither this nor --requests is said.", "DURATION", min=1
    ),
    warmup_requests: int | None = _option(
        None, "Requests before the measurement; 10 if unsaid, 0 for none.", "WARMUP_REQUESTS", min=0
    ),
    input_tokens: int | None = _option(
        None,
        "Prompt length in tokens, synthetic text, answers of up to 256; the workload's if unsaid.",
        "INPUT_TOKENS",
        min=1,
    ),
    max_output_tokens: int | None = _option(
        None, "The most tokens an answer may have; the workload's if unsaid.", "MAX_OUTPUT_TOKENS", min=1
    ),
    repetitions: int | None = _option(
        None, "How often the whole plan is run; 1 with flags alone, 3 with a manifest.", "REPETITIONS", min=1
    ),
    workers: int | None = _option(None, "Load processes.", "WORKERS", min=1),
    detail: str | None = _option(None, "summary, requests or chunks; requests if unsaid.", "DETAIL"),
    seed: int | None = _option(None, "Seed of everything random.", "SEED", min=0),
    objective: list[str] | None = _option(
        None,
        "A limit: ttft:p99<=800ms, errors:mean<=1%, output_tokens_per_s:mean>=1000/s; may stand several times.",
        "OBJECTIVE",
    ),
    find: str | None = _option(
        None, "max-concurrency or max-rate: the highest load that meets every --objective.", "FIND"
    ),
    max_steps: int | None = _option(None, "Levels that --find may try; 12 if unsaid.", "MAX_STEPS", min=3, max=32),
    out: Path = _option(Path("results"), "Folder for results.", "OUT"),
    format: str = _option("table", "table or json.", "FORMAT"),
    quiet: bool = _option(False, "No progress.", "QUIET"),
    provider: str | None = _option(None, "Recorded in the result, compared in dashboards.", "PROVIDER"),
    region: str | None = _option(None, "Recorded in the result.", "REGION"),
    cluster_label: str | None = _option(None, "Recorded in the result.", "CLUSTER_LABEL"),
    label: list[str] | None = _option(None, "KEY=VALUE, recorded in the result.", "LABEL"),
    prompts: Path | None = _option(None, "JSON lines with prompt, messages, or the turns of conversations.", "PROMPTS"),
    trace: Path | None = _option(
        None, "JSON lines with timestamp (ms) and prompt, messages or input_length: replayed as recorded.", "TRACE"
    ),
    trace_speedup: str | None = _option(None, "2 replays a trace in half its time.", "TRACE_SPEEDUP"),
    turns: int | None = _option(
        None, "Conversations of so many turns, each with all that was said before.", "TURNS", min=1, max=64
    ),
    think_ms: int | None = _option(
        None, "Milliseconds from an answer to the conversation's next turn.", "THINK_MS", min=1
    ),
    timeout: int | None = _option(None, "Seconds a request may take; 600 if unsaid.", "TIMEOUT", min=1),
    name: str | None = _option(None, "Name of the run; its results lie in OUT/NAME. MODEL-ENGINE if unsaid.", "NAME"),
    token_env: str | None = _option(None, "Environment variable that holds the API token.", "TOKEN_ENV"),
    ca_file: Path | None = _option(None, "PEM file of certificate authorities, for https.", "CA_FILE"),
    insecure: bool = _option(False, "Take any certificate.", "INSECURE"),
    proxy: str | None = _option(None, "HTTP proxy, such as http://host:3128.", "PROXY"),
    gpu_metrics: str | None = _option(
        None, "Page of a DCGM exporter that sees the target's GPUs, http://host:9400/metrics.", "GPU_METRICS"
    ),
    new_connections: bool = _option(False, "A new connection for every request.", "NEW_CONNECTIONS"),
    max_connections: int | None = _option(None, "The most connections at a time.", "MAX_CONNECTIONS", min=1),
    honour_retry_after: bool = _option(
        False, "After a 429 or 503, rest as long as the server asks, at most 60 s.", "HONOUR_RETRY_AFTER"
    ),
    pod: bool = _option(False, "Write results as log frames, for the operator.", "POD", hidden=True),
) -> None:
    """Run a benchmark: `tokenmark run --target sim --model sim`.

    Every option is also an environment variable: --max-output-tokens is TOKENMARK_MAX_OUTPUT_TOKENS.
    """
    if format not in ("table", "json"):
        raise InvalidInput(f"--format {format}: choose table or json")
    flags = Flags(
        engine=engine, target=None if target == "sim" else target, model=model, workload=workload,
        concurrency=concurrency, rate=rate, arrival=arrival, burstiness=burstiness, ramp_to=ramp_to,
        requests=requests, duration=duration, ca_file=ca_file, insecure=insecure or None, proxy=proxy, gpu_metrics=gpu_metrics,
        new_connections=new_connections or None, max_connections=max_connections,
        honour_retry_after=honour_retry_after or None,
        warmup_requests=warmup_requests, input_tokens=input_tokens, max_output_tokens=max_output_tokens,
        repetitions=repetitions, workers=workers, detail=detail, seed=seed, objective=objective, find=find, max_steps=max_steps, timeout=timeout,
        prompts=prompts, trace=trace, trace_speedup=trace_speedup, provider=provider, region=region, cluster_label=cluster_label, label=label, name=name,
        token_env=token_env, turns=turns, think_ms=think_ms,
    )  # fmt: skip
    code = (
        _with_simulator(manifest, flags, out, format, quiet)
        if target == "sim"
        else _execute(manifest, flags, out, format, quiet, pod)
    )
    raise typer.Exit(code)


def _execute(manifest: Path | None, flags: Flags, out: Path, format: str, quiet: bool, pod: bool = False) -> int:
    config = load(manifest, flags, pod=pod)
    from ..session import Session, outcome_code

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
