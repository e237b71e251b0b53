"""What flags change in a spec, and the flags that would change nothing: those are refused, each with its sentence."""

from __future__ import annotations

import re
from typing import Any

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.support import ENGINES as SUPPORTED

from ..analysis.objectives import parse_objective
from .flags import Flags

NAME = r"[a-z0-9]([-a-z0-9]{0,46}[a-z0-9])?"


def refuse_idle_flags(flags: Flags, spec: dict[str, Any]) -> None:
    """A flag that would change nothing is a mistake, and is said to be one."""
    if flags.engine is not None and flags.engine not in SUPPORTED:
        raise InvalidInput(f"--engine {flags.engine}: choose {', '.join(SUPPORTED)}")
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


def override(spec: dict[str, Any], flags: Flags) -> None:
    target = spec["target"]
    if flags.target:
        target.pop("serviceRef", None)
        scheme = "postgresql" if (flags.engine or target.get("engine")) == "postgres" else "http"
        target["endpoint"] = {"url": flags.target if "://" in flags.target else f"{scheme}://{flags.target}"}
    for key, value in (
        ("engine", flags.engine), ("model", flags.model), ("requestTimeoutSeconds", flags.timeout),
        ("insecureSkipTLSVerify", flags.insecure or None), ("proxyUrl", flags.proxy), ("gpuMetricsUrl", flags.gpu_metrics), ("hostMetricsUrl", flags.host_metrics),
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
        ("repetitions", flags.repetitions), ("rerunOutliers", flags.rerun_outliers or None), ("seed", flags.seed), ("maxOutputTokens", flags.max_output_tokens),
    ):  # fmt: skip
        if value is not None:
            spec[key] = value
    if flags.workload:
        spec.pop("workload", None)
        spec["workloadRef"] = {"name": "file"} if is_path(flags.workload) else {"name": flags.workload}
    _override_load(spec, flags)
    _override_data(spec, flags)
    _override_conversation(spec, flags)
    _override_environment(spec, flags)
    _override_rest(spec, flags)


def _override_rest(spec: dict[str, Any], flags: Flags) -> None:
    if flags.network:
        spec.pop("netProbeRef", None)
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
    from ..workload.datasets import read_json_lines

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


def is_path(name: str) -> bool:
    return "/" in name or name.endswith((".yaml", ".yml", ".json"))
