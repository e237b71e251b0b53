"""A RAG backend under load, by the metrics that it exports itself."""

from __future__ import annotations

from .board import Board
from .panels import BAD, FAIR, bars, lines, number, steps

NONE = "no RAG backend is scraped: it has to export rag_* (see the docs)"


def rag_overview() -> Board:
    board = Board(
        "tokenmark-rag",
        "RAG overview",
        "What a RAG backend tells of itself: requests, latency by step, tokens, passages.",
        "rag",
        since="now-1h",
        refresh="10s",
    )
    board.pick("job", "Job", "label_values(rag_requests_total, job)")
    board.row("Now")
    errors = 'sum(rate(rag_requests_total{job=~"$job", status!="success"}[$__rate_interval])) / sum(rate(rag_requests_total{job=~"$job"}[$__rate_interval]))'
    board.add(
        number(
            "Requests per second",
            'sum(rate(rag_requests_total{job=~"$job"}[$__rate_interval]))',
            "reqps",
            "All answers.",
            NONE,
        ),
        6,
        4,
    )
    board.add(
        number("Errors", errors, "percentunit", "Of all requests.", NONE, steps((0.001, FAIR), (0.01, BAD))), 6, 4
    )
    board.add(
        number("Tokens per second", 'sum(rag_tokens_per_second{job=~"$job"})', "short", "Of the newest answers.", NONE),
        6,
        4,
    )
    board.add(
        number(
            "Passages a question",
            'avg(rag_k_retrieved{job=~"$job"})',
            "short",
            "What was retrieved and put into the prompt.",
            NONE,
        ),
        6,
        4,
    )
    board.row("Latency")
    for title, metric, about in (
        ("TTFT", "rag_ttft_seconds", "From the question to the first token: retrieval is part of it."),
        ("TPOT", "rag_tpot_seconds", "Per output token after the first."),
    ):
        board.add(
            lines(title, [(_quantile(q, metric), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)], "s", about, NONE),
            12,
        )
    step = 'sum by (stage) (rate(rag_latency_seconds_sum{job=~"$job"}[$__rate_interval])) / sum by (stage) (rate(rag_latency_seconds_count{job=~"$job"}[$__rate_interval]))'
    board.add(bars("Mean of each step", step, "s", "Where the time of a question goes.", NONE, "{{stage}}"), 12)
    of_steps = (
        'histogram_quantile(0.95, sum by (le, stage) (rate(rag_latency_seconds_bucket{job=~"$job"}[$__rate_interval])))'
    )
    board.add(lines("p95 of each step", [(of_steps, "{{stage}}")], "s", "Over time.", NONE), 12)
    board.row("Requests")
    board.add(
        lines(
            "Requests",
            [('sum by (status) (rate(rag_requests_total{job=~"$job"}[$__rate_interval]))', "{{status}}")],
            "reqps",
            "By outcome.",
            NONE,
        ),
        24,
    )
    return board


def _quantile(q: float, metric: str) -> str:
    return f'histogram_quantile({q}, sum by (le) (rate({metric}_bucket{{job=~"$job"}}[$__rate_interval])))'
