"""A manifest, flags, or both -> RunConfig: how the command line arrives at what the operator writes into a ConfigMap."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tokenmark_schemas.benchmarkrun import BenchmarkRun, BenchmarkRunSpec
from tokenmark_schemas.documents import read_models, read_workload
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.problems import problems_of
from tokenmark_schemas.run import RunConfig, RunIdentity, resolve
from tokenmark_schemas.support import unsupported_run
from tokenmark_schemas.workload import Workload

from .objectives import parse_objective

NAME = r"[a-z0-9]([-a-z0-9]{0,46}[a-z0-9])?"
NO_TARGET = "--target is missing: give the server's address, such as --target http://host:8000, or --target sim"


@dataclass
class Flags:
    """What was said on the command line; None is not said."""

    engine: str | None = None
    target: str | None = None
    model: str | None = None
    workload: str | None = None
    concurrency: str | None = None
    rate: str | None = None
    arrival: str | None = None
    burstiness: str | None = None
    ramp_to: str | None = None
    requests: int | None = None
    duration: int | None = None
    warmup_requests: int | None = None
    input_tokens: int | None = None
    max_output_tokens: int | None = None
    repetitions: int | None = None
    workers: int | None = None
    detail: str | None = None
    seed: int | None = None
    objective: list[str] | None = None
    find: str | None = None
    max_steps: int | None = None
    timeout: int | None = None
    prompts: Path | None = None
    trace: Path | None = None
    trace_speedup: str | None = None
    provider: str | None = None
    region: str | None = None
    cluster_label: str | None = None
    label: list[str] | None = None
    name: str | None = None
    token_env: str | None = None
    turns: int | None = None
    think_ms: int | None = None
    ca_file: Path | None = None
    insecure: bool | None = None
    proxy: str | None = None
    gpu_metrics: str | None = None
    new_connections: bool | None = None
    max_connections: int | None = None
    honour_retry_after: bool | None = None


def load(manifest: Path | None, flags: Flags, *, pod: bool = False) -> RunConfig:
    """Raises InvalidInput with one sentence a problem. In a pod a stored configuration is taken as it is."""
    if manifest is None and not flags.target:
        raise InvalidInput(NO_TARGET)
    document = _read(manifest) if manifest else None
    if isinstance(document, RunConfig):
        return document if pod else _rerun(document, flags)
    spec = document.spec.camel() if document else {"target": {"engine": "openai", "model": ""}, "repetitions": 1}
    _refuse_idle_flags(flags, spec)
    _override(spec, flags)
    checked = _checked(spec)
    workload = _workload(checked, flags)
    _refuse_unsupported(checked, workload)
    name = flags.name or (document.metadata.name if document else _default_name(checked))
    try:
        return resolve(
            checked,
            RunIdentity(name=name, namespace=document.metadata.namespace if document else "local"),
            url=_url(checked, flags),
            workload=workload,
            token_env=flags.token_env,
            ca_file=str(flags.ca_file) if flags.ca_file else None,
        )
    except ValueError as exc:
        raise InvalidInput(str(exc)) from exc


def _refuse_idle_flags(flags: Flags, spec: dict[str, Any]) -> None:
    """A flag that would change nothing is a mistake, and is said to be one."""
    if flags.name is not None and not re.fullmatch(NAME, flags.name):
        raise InvalidInput(
            f"--name {flags.name}: use lower-case letters, digits and dashes, at most 48, as for a manifest"
        )
    pace = {"--arrival": flags.arrival, "--burstiness": flags.burstiness, "--ramp-to": flags.ramp_to}
    for flag, value in pace.items():
        if value and not flags.rate and not flags.concurrency:
            raise InvalidInput(f"{flag} describes --rate: give one")
    if flags.trace_speedup and not flags.trace:
        raise InvalidInput("--trace-speedup is for --trace")
    if flags.find == "max-rate" and flags.concurrency:
        raise InvalidInput("--find max-rate begins at a --rate, not at a --concurrency")
    if flags.find == "max-concurrency" and flags.rate:
        raise InvalidInput("--find max-concurrency begins at a --concurrency, not at a --rate")
    data = (
        "--input-tokens" if flags.input_tokens else "--prompts" if flags.prompts else "--trace" if flags.trace else ""
    )
    if flags.workload and data:
        raise InvalidInput(f"--workload brings its own prompts; leave out {data}, or the workload")
    said = flags.target or ((spec.get("target") or {}).get("endpoint") or {}).get("url", "")
    if (flags.ca_file or flags.insecure) and said.startswith("http://"):
        raise InvalidInput("--ca-file and --insecure are for https; the target is plain http")


def _refuse_unsupported(spec: BenchmarkRunSpec, workload: Workload | None) -> None:
    work = spec.workload or workload
    stages = spec.stages or (workload.stages if workload else [])
    missing = unsupported_run(spec, work, stages, in_cluster=False) if work else []
    if missing:
        raise InvalidInput("not supported by this version yet: " + "; ".join(missing))


def _read(path: Path) -> BenchmarkRun | RunConfig:
    models = [m for m in read_models(path) if isinstance(m, BenchmarkRun | RunConfig)]
    if len(models) != 1:
        kinds = ", ".join(type(m).__name__ for m in read_models(path))
        raise InvalidInput(
            f"{path}: expected one BenchmarkRun (or a stored config.json), found {kinds}; a workload goes into --workload"
        )
    return models[0]


def _rerun(config: RunConfig, flags: Flags) -> RunConfig:
    """A stored configuration runs as it is; only where it points may change."""
    changed = {n for n, v in vars(flags).items() if v not in (None, [])} - {"target", "name", "token_env"}
    if changed:
        names = ", ".join("--" + name.replace("_", "-") for name in sorted(changed))
        raise InvalidInput(
            f"a stored config.json is an exact rerun; {names} cannot change it (use the manifest instead)"
        )
    updates: dict[str, Any] = {}
    if config.team is not None:  # the pods of a cluster become processes of this machine
        updates |= {"team": None, "workers": config.team.pods}
    if flags.target:
        updates["target"] = config.target.model_copy(update={"url": flags.target.rstrip("/")})
    if flags.name:
        updates["run"] = config.run.model_copy(update={"name": flags.name})
    return config.model_copy(update=updates)


def _override(spec: dict[str, Any], flags: Flags) -> None:
    target = spec["target"]
    if flags.target:
        target.pop("serviceRef", None)
        target["endpoint"] = {"url": flags.target if "://" in flags.target else f"http://{flags.target}"}
    for key, value in (
        ("engine", flags.engine), ("model", flags.model), ("requestTimeoutSeconds", flags.timeout),
        ("insecureSkipTLSVerify", flags.insecure or None), ("proxyUrl", flags.proxy), ("gpuMetricsUrl", flags.gpu_metrics),
        ("retryAfter", "Honour" if flags.honour_retry_after else None),
    ):  # fmt: skip
        if value is not None:
            target[key] = value
    if flags.new_connections or flags.max_connections:
        kept = {"policy": "PerRequest"} if flags.new_connections else {}
        most = {"maxOpen": flags.max_connections} if flags.max_connections else {}
        target["connections"] = {**target.get("connections", {}), **kept, **most}
    if flags.timeout is not None:
        target["firstTokenTimeoutSeconds"] = min(flags.timeout, target.get("firstTokenTimeoutSeconds", 120))
    for key, value in (
        ("repetitions", flags.repetitions), ("seed", flags.seed), ("maxOutputTokens", flags.max_output_tokens),
    ):  # fmt: skip
        if value is not None:
            spec[key] = value
    if flags.workload:
        spec.pop("workload", None)
        spec["workloadRef"] = {"name": "file"} if _is_path(flags.workload) else {"name": flags.workload}
    _override_load(spec, flags)
    _override_data(spec, flags)
    _override_conversation(spec, flags)
    _override_environment(spec, flags)
    _override_rest(spec, flags)


def _override_rest(spec: dict[str, Any], flags: Flags) -> None:
    if flags.warmup_requests is not None:
        spec["warmup"] = {
            "requestCount": flags.warmup_requests,
            "durationSeconds": 0 if flags.warmup_requests == 0 else 5,
        }
    if flags.workers:
        spec.setdefault("execution", {})["workers"] = flags.workers
    if flags.detail:
        spec.setdefault("results", {})["detail"] = flags.detail.capitalize()
    if flags.find:
        kinds = {"max-concurrency": "MaxConcurrency", "max-rate": "MaxRate"}
        if flags.find not in kinds:
            raise InvalidInput(f"--find {flags.find}: choose {' or '.join(kinds)}")
        spec["search"] = {"find": kinds[flags.find], **({"maxSteps": flags.max_steps} if flags.max_steps else {})}
    if flags.objective:
        spec["objectives"] = [parse_objective(text) for text in flags.objective]


def _override_load(spec: dict[str, Any], flags: Flags) -> None:
    if flags.trace and (flags.concurrency or flags.rate):
        raise InvalidInput("--trace brings its own arrival times; leave out --concurrency and --rate")
    if flags.trace:
        speed = {"speedup": flags.trace_speedup} if flags.trace_speedup else {}
        ends = {"requestCount": flags.requests} if flags.requests else {}
        ends |= {"durationSeconds": flags.duration} if flags.duration else {}
        spec["stages"] = [{"name": "trace", "trace": speed, **ends}]
        return
    if flags.concurrency and flags.rate:
        raise InvalidInput("--concurrency and --rate exclude each other: a stage is a closed or an open loop")
    if not flags.concurrency and not flags.rate:
        if flags.requests or flags.duration:
            raise InvalidInput("--requests and --duration need --concurrency or --rate to say which load they end")
        return
    stop: dict[str, Any] = {}
    if flags.requests:
        stop["requestCount"] = flags.requests
    if flags.duration or not flags.requests:
        stop["durationSeconds"] = flags.duration or 30
    said = (("arrival", flags.arrival and flags.arrival.capitalize()), ("burstiness", flags.burstiness),
            ("rampTo", flags.ramp_to))  # fmt: skip
    pace = {key: value for key, value in said if value}
    if pace and flags.concurrency:
        raise InvalidInput("--arrival, --burstiness and --ramp-to describe --rate; a closed loop has no arrivals")
    if flags.concurrency:
        levels = _numbers(flags.concurrency, "--concurrency", r"\d+")
        spec["stages"] = [{"name": f"c{n}", "concurrency": int(n), **stop} for n in levels]
    else:
        levels = _numbers(flags.rate or "", "--rate", r"\d+(\.\d{1,3})?")
        spec["stages"] = [{"name": "r" + n.replace(".", "-"), "requestRate": n, **pace, **stop} for n in levels]


def _override_data(spec: dict[str, Any], flags: Flags) -> None:
    lines, flag = (flags.trace, "--trace") if flags.trace else (flags.prompts, "--prompts")
    if not lines and not flags.input_tokens:
        return
    if (lines and flags.input_tokens) or (flags.trace and flags.prompts):
        raise InvalidInput("--prompts, --trace and --input-tokens exclude each other: each says how long prompts are")
    if lines:
        import hashlib

        try:
            content = lines.read_bytes()
        except OSError as exc:
            raise InvalidInput(f"{flag} {lines}: {exc.strerror}") from exc
        source = {"uri": f"file://{lines.resolve()}", "sha256": hashlib.sha256(content).hexdigest()}
        dataset: dict[str, Any] = {"jsonl": source}
    else:
        dataset = {"synthetic": {"inputTokens": {"mean": flags.input_tokens}}}
    base = {"maxOutputTokens": flags.max_output_tokens or 256}
    if "stages" not in spec:
        spec["stages"] = [{"name": "c1", "concurrency": 1, "durationSeconds": 30}]
    spec.pop("workloadRef", None)
    spec["workload"] = {**base, "dataset": dataset}


def _has_turns(flags: Flags) -> bool:
    """Whether a data set's lines are conversations."""
    lines = flags.trace or flags.prompts
    if lines is None:
        return False
    from .prompts import read_json_lines

    return any(prompt.turns for prompt in read_json_lines(lines.read_text(errors="replace"), str(lines)))


def _override_conversation(spec: dict[str, Any], flags: Flags) -> None:
    has_turns = _has_turns(flags)
    if flags.turns is None and flags.think_ms is None and not has_turns:
        return
    if flags.turns and has_turns:
        raise InvalidInput(f"--turns {flags.turns}: {flags.prompts or flags.trace} brings its own turns")
    if "workload" not in spec:
        raise InvalidInput("--turns and --think-ms need --input-tokens or --prompts: say what is talked about")
    talk = spec["workload"].setdefault("conversation", {})
    if flags.turns:
        talk["turns"] = {"mean": flags.turns}
    if flags.think_ms:
        talk["thinkMilliseconds"] = {"mean": flags.think_ms}


def _override_environment(spec: dict[str, Any], flags: Flags) -> None:
    environment = spec.setdefault("environment", {})
    for key, value in (("provider", flags.provider), ("region", flags.region), ("clusterLabel", flags.cluster_label)):
        if value is not None:
            environment[key] = value
    for pair in flags.label or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidInput(f"--label {pair}: expected KEY=VALUE")
        environment.setdefault("labels", {})[key] = value


def _numbers(text: str, flag: str, pattern: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not re.fullmatch(pattern, part):
            example = "1,8,64" if flag == "--concurrency" else "5,10"
            raise InvalidInput(f"{flag} {text}: {part!r} is not a number above 0; write for example {flag} {example}")
    return parts


def _checked(spec: dict[str, Any]) -> BenchmarkRunSpec:
    try:
        return BenchmarkRunSpec.model_validate(spec)
    except ValidationError as exc:
        raise InvalidInput(
            "\n".join(_flagged(p.field, p.message) for p in problems_of(exc, BenchmarkRunSpec))
        ) from None


_FLAG_OF = {"target.model": "--model", "target": "--target", "target.engine": "--engine", "repetitions": "--repetitions",
            "maxOutputTokens": "--max-output-tokens", "results.detail": "--detail"}  # fmt: skip


def _flagged(field: str, message: str) -> str:
    flag = _FLAG_OF.get(field)
    if flag == "--model":
        return "--model is missing: name the model as the server knows it"
    if flag == "--target":
        return NO_TARGET
    return f"{flag or 'spec.' + field}: {message}"


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith((".yaml", ".yml", ".json"))


def _workload(spec: BenchmarkRunSpec, flags: Flags) -> Workload | None:
    if spec.workload is not None:
        return None
    if flags.workload and _is_path(flags.workload):
        return read_workload(flags.workload)
    if spec.workload_ref is not None and spec.workload_ref.config_map is not None:
        raise InvalidInput("spec.workloadRef.configMap lies in a cluster; on the command line give --workload FILE")
    return read_workload(spec.workload_ref.name if spec.workload_ref and spec.workload_ref.name else "smoke")


def _url(spec: BenchmarkRunSpec, flags: Flags) -> str:
    if spec.target.endpoint is None:
        ref = spec.target.service_ref
        raise InvalidInput(
            f"spec.target.serviceRef names the Service {ref.name if ref else ''}, which only a cluster can reach; "
            "add --target http://host:port (or --target sim)"
        )
    return spec.target.endpoint.url.rstrip("/")


def _default_name(spec: BenchmarkRunSpec) -> str:
    model = re.sub(r"[^a-z0-9]+", "-", spec.target.model.lower()).strip("-")[:32] or "model"
    return f"{model}-{spec.target.engine}"
