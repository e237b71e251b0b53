"""vLLM by its own metrics: the names that it exports now, and where one was renamed the old name as well."""

from __future__ import annotations

from .board import Board
from .panels import BAD, FAIR, lines, number, steps

NONE = "no vLLM server of this name is scraped"
OLD = "neither the name that vLLM exports now nor the one before is there"
MODEL = 'model_name=~"$model_name"'


def vllm() -> Board:
    board = Board(
        "tokenmark-vllm",
        "vLLM",
        "An engine from the inside: queue, cache, latency, tokens. Read it beside a run of the same time.",
        "engine",
        since="now-1h",
        refresh="10s",
    )
    board.pick("model_name", "Model", "label_values(vllm:num_requests_running, model_name)")
    board.row("Now")
    board.add(
        number("Running", f"sum(vllm:num_requests_running{{{MODEL}}})", "short", "Requests in the batch.", NONE), 6, 4
    )
    board.add(
        number(
            "Waiting",
            f"sum(vllm:num_requests_waiting{{{MODEL}}})",
            "short",
            "Requests in the queue: above zero the engine is full.",
            NONE,
            steps((1, FAIR), (50, BAD)),
        ),
        6,
        4,
    )
    board.add(
        number(
            "KV cache in use",
            f"max({_cache()})",
            "percentunit",
            "Near 100 % requests are preempted.",
            OLD,
            steps((0.8, FAIR), (0.95, BAD)),
        ),
        6,
        4,
    )
    board.add(
        number(
            "Output tokens per second",
            f"sum({_rate('generation_tokens_total')})",
            "short",
            "All requests together.",
            NONE,
        ),
        6,
        4,
    )
    board.row("Load")
    queue = [
        (f"sum(vllm:num_requests_running{{{MODEL}}})", "running"),
        (f"sum(vllm:num_requests_waiting{{{MODEL}}})", "waiting"),
    ]
    board.add(lines("Requests", queue, "short", "In the batch and in the queue.", NONE), 8)
    board.add(
        lines(
            "KV cache in use",
            [(f"max by (model_name) ({_cache()})", "{{model_name}}")],
            "percentunit",
            "vllm:kv_cache_usage_perc; before, vllm:gpu_cache_usage_perc.",
            OLD,
        ),
        8,
    )
    tokens = [
        (f"sum({_rate('prompt_tokens_total')})", "prompt"),
        (f"sum({_rate('generation_tokens_total')})", "output"),
    ]
    board.add(lines("Tokens per second", tokens, "short", "Read and written.", NONE), 8)
    board.row("Latency, as the engine sees it (without the network)")
    for title, names, about in (
        ("TTFT", ("time_to_first_token_seconds",), "From the request's arrival at the engine."),
        (
            "Inter-token latency",
            ("inter_token_latency_seconds", "time_per_output_token_seconds"),
            "Between tokens of a request.",
        ),
        ("E2E", ("e2e_request_latency_seconds",), "Whole requests."),
        ("Time in the queue", ("request_queue_time_seconds", "time_in_queue_requests"), "Before the first step."),
    ):
        board.add(
            lines(title, [(_quantile(q, names), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)], "s", about, OLD), 6
        )
    board.row("Ends, preemptions, prefix cache")
    board.add(
        lines(
            "Requests ended",
            [
                (
                    f"sum by (finished_reason) (rate(vllm:request_success_total{{{MODEL}}}[$__rate_interval]))",
                    "{{finished_reason}}",
                )
            ],
            "reqps",
            "By reason.",
            NONE,
        ),
        8,
    )
    board.add(
        lines(
            "Preemptions",
            [(f"sum({_rate('num_preemptions_total')})", "preemptions")],
            "ops",
            "Requests pushed out of the batch for want of cache.",
            NONE,
        ),
        8,
    )
    hits = f"sum({_rate('prefix_cache_hits_total')}) / sum({_rate('prefix_cache_queries_total')}) or sum({_rate('gpu_prefix_cache_hits_total')}) / sum({_rate('gpu_prefix_cache_queries_total')})"
    board.add(
        lines(
            "Prefix cache hits",
            [(hits, "hits")],
            "percentunit",
            "Prompt tokens taken from the cache: near zero in a benchmark with unique prompts.",
            OLD,
        ),
        8,
    )
    return board


def _cache() -> str:
    return f"vllm:kv_cache_usage_perc{{{MODEL}}} or vllm:gpu_cache_usage_perc{{{MODEL}}}"


def _rate(name: str) -> str:
    return f"rate(vllm:{name}{{{MODEL}}}[$__rate_interval])"


def _quantile(q: float, names: tuple[str, ...]) -> str:
    return " or ".join(f"histogram_quantile({q}, sum by (le) ({_rate(name + '_bucket')}))" for name in names)
