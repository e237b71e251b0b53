"""What the engine says of itself: its counters before and after a stage, its queues while it runs, its version, its model.

Best effort, two seconds at most a question: an engine that keeps quiet is no failure. Names differ
by engine and by release, so each fact lists the names it has had; the first one present counts. Read from the engines'
own documentation: vLLM 0.6 to 0.33 (`vllm:`), SGLang 0.4 and later (`sglang:`), TGI 2 and 3 (`tgi_`), llama.cpp's server
started with --metrics (`llamacpp:`). Ollama has no such page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tokenmark_schemas.result import EngineFacts
from tokenmark_schemas.run import RunTarget

from .fetch import fetch
from .gauges import Gauges, pooled
from .reach import masked

STATES_EVERY_S = 5.0  # an engine makes its page in the process that also sends its tokens
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Fact:
    """One row: what it is called in results, the names it goes by, and whether it is a counter (its growth counts)."""

    id: str
    names: tuple[str, ...]
    counter: bool = False


def _counter(name: str, *names: str) -> Fact:
    return Fact(name, names, counter=True)


FACTS: dict[str, tuple[Fact, ...]] = {
    "vllm": (
        Fact("requests_running", ("vllm:num_requests_running",)),
        Fact("requests_waiting", ("vllm:num_requests_waiting",)),
        Fact("kv_cache_usage_ratio", ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")),
        _counter("prefix_cache_queries", "vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
        _counter("prefix_cache_hits", "vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
        _counter("preemptions", "vllm:num_preemptions_total"),
        _counter("prompt_tokens", "vllm:prompt_tokens_total"),
        _counter("output_tokens", "vllm:generation_tokens_total"),
    ),
    "sglang": (
        Fact("requests_running", ("sglang:num_running_reqs",)),
        Fact("requests_waiting", ("sglang:num_queue_reqs",)),
        Fact("kv_cache_usage_ratio", ("sglang:token_usage",)),
        Fact("prefix_cache_hit_ratio", ("sglang:cache_hit_rate",)),
        _counter("prompt_tokens", "sglang:prompt_tokens_total"),
        _counter("output_tokens", "sglang:generation_tokens_total"),
    ),
    "tgi": (
        Fact("requests_running", ("tgi_batch_current_size",)),
        Fact("requests_waiting", ("tgi_queue_size",)),
        _counter("requests", "tgi_request_count"),
    ),
    "llamacpp": (
        Fact("requests_running", ("llamacpp:requests_processing",)),
        Fact("requests_waiting", ("llamacpp:requests_deferred",)),
        Fact("kv_cache_usage_ratio", ("llamacpp:kv_cache_usage_ratio",)),
        _counter("prompt_tokens", "llamacpp:prompt_tokens_total"),
        _counter("output_tokens", "llamacpp:tokens_predicted_total"),
    ),
}

RATIOS = {name for facts in FACTS.values() for fact in facts if fact.id.endswith("_ratio") for name in fact.names}

Counters = dict[str, float]


def parse_metrics(text: str) -> Counters:
    """Prometheus text -> name -> sum over all label sets, of ratios the mean; what is not a number is left out."""
    found: Counters = {}
    series: Counter[str] = Counter()
    for name, value in _SAMPLE.findall(text):
        try:
            number = float(value)
        except ValueError:
            continue
        if number == number:
            found[name] = found.get(name, 0.0) + number
            series[name] += 1
    return {name: value / series[name] if name in RATIOS else value for name, value in found.items()}


def growth(engine: str, before: Counters | None, after: Counters | None) -> Counters:
    """How far each counter went; one that shrank was reset in between, so its growth is unknown and stays out."""
    found = {}
    for fact in FACTS.get(engine, ()):
        name = next((name for name in fact.names if name in (after or {})), None)
        if fact.counter and name is not None and before is not None and after is not None:
            value = after[name] - before.get(name, 0.0)
            if value >= 0:
                found[fact.id] = value
    return found


def states(engine: str, page: Counters | None) -> Counters:
    """What is no counter, as it is now."""
    found = {}
    for fact in FACTS.get(engine, ()):
        name = next((name for name in fact.names if name in (page or {})), None)
        if not fact.counter and page is not None and name is not None:
            found[fact.id] = page[name]
    return found


def facts_over(counters: list[Counters], gauges: list[Gauges]) -> dict[str, float] | None:
    """Repetitions of a stage as one: counters add up; the rest is a mean and a peak over all readings."""
    total: dict[str, float] = {}
    for part in counters:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    for name, gauge in pooled(gauges).items():
        total |= {name: gauge.mean, f"{name}_peak": gauge.peak}
    return total or None


class Asking:
    """Questions to the target's own address, beside the load."""

    def __init__(self, target: RunTarget, token: str | None) -> None:
        self._target, self._token = target, token

    def counters(self) -> Counters | None:
        """The /metrics page, for engines that have one."""
        if self._target.engine not in FACTS:
            return None
        text = self._get("/metrics")
        return parse_metrics(text.decode("utf-8", "replace")) if text else None

    def states(self) -> Counters:
        """What is no counter, as it is now."""
        return states(self._target.engine, self.counters())

    def identity(self) -> EngineFacts:
        """Version, context length and quantisation, as far as the engine tells."""
        told: dict[str, Any] = {}
        for path, read in IDENTITY.get(self._target.engine, IDENTITY["openai"]):
            answer = self._get(path)
            try:
                told |= {k: v for k, v in read(msgspec.json.decode(answer)).items() if v is not None} if answer else {}
            except (msgspec.DecodeError, KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError):
                continue  # not what the documentation shows: then it is not known
        return EngineFacts(name=self._target.engine, **told)

    def _get(self, path: str) -> bytes | None:
        """A page of the target's own address; none is asked for through a proxy."""
        target = self._target
        if target.proxy_url:
            return None
        url = urlsplit(target.url)
        body = fetch(
            f"{url.scheme}://{url.netloc}{path}", token=self._token, ca_file=target.ca_file,
            verify=not target.insecure_skip_tls_verify,
        )  # fmt: skip
        return body and masked(body, [self._token])


def _text(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _models(answer: Any) -> dict[str, Any]:
    first = answer["data"][0]
    return {"served_model": _text(first.get("id")), "max_model_len": _whole(first.get("max_model_len"))}


def _props(answer: Any) -> dict[str, Any]:
    settings = answer.get("default_generation_settings") or {}
    return {"version": _text(answer.get("build_info")), "served_model": _text(answer.get("model_path")),
            "max_model_len": _whole(settings.get("n_ctx"))}  # fmt: skip


def _info(answer: Any) -> dict[str, Any]:
    return {"version": _text(answer.get("version")), "served_model": _text(answer.get("model_id")),
            "max_model_len": _whole(answer.get("max_total_tokens")), "dtype": _text(answer.get("model_dtype"))}  # fmt: skip


def _server_info(answer: Any) -> dict[str, Any]:
    return {"version": _text(answer.get("version")), "quantization": _text(answer.get("quantization")),
            "dtype": _text(answer.get("dtype"))}  # fmt: skip


def _running(answer: Any) -> dict[str, Any]:
    first = answer["models"][0]
    return {"served_model": _text(first.get("name")), "max_model_len": _whole(first.get("context_length")),
            "quantization": _text((first.get("details") or {}).get("quantization_level"))}  # fmt: skip


def _version(answer: Any) -> dict[str, Any]:
    return {"version": _text(answer.get("version"))}


IDENTITY: dict[str, tuple[tuple[str, Callable[[Any], dict[str, Any]]], ...]] = {
    "openai": (("/v1/models", _models),),
    "vllm": (("/version", _version), ("/v1/models", _models)),
    "sglang": (("/get_server_info", _server_info), ("/v1/models", _models)),
    "tgi": (("/info", _info),),
    "ollama": (("/api/version", _version), ("/api/ps", _running)),
    "llamacpp": (("/props", _props),),
}
