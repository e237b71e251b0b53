"""Is the operator well, and what does it do? Its queue, its reconciliations, what it asks of the API server, what runs there are."""

from __future__ import annotations

from .board import Board
from .panels import BAD, FAIR, GOOD, bars, lines, number, steps

NONE = "no operator is scraped: serviceMonitor.enabled, or scrape port 8080"
QUIET = "nothing happened in this time"


def operator() -> Board:
    board = Board(
        "tokenmark-operator",
        "operator",
        "The operator itself: alive, quick, and with what to do.",
        "operator",
        since="now-3h",
        refresh="30s",
    )
    board.row("Now")
    board.add(
        number(
            "Oldest that waits",
            "max(tokenmark_operator_queue_oldest_seconds)",
            "s",
            "How long the most overdue object has waited for a worker.",
            NONE,
            steps((10, FAIR), (60, BAD)),
        ),
        6,
        4,
    )
    board.add(
        number(
            "Waiting", "sum(tokenmark_operator_queue_depth)", "short", "Objects that should be worked on now.", NONE
        ),
        6,
        4,
    )
    board.add(
        number(
            "Last event",
            "max(tokenmark_operator_last_event_timestamp_seconds) * 1000",
            "dateTimeFromNow",
            "Of the watches.",
            "no event yet: nothing has changed since it began",
        ),
        6,
        4,
    )
    board.add(
        number(
            "Results not stored",
            "count(tokenmark_run_results_stored == 0) or vector(0)",
            "short",
            "Runs whose result lies not where it should.",
            NONE,
            steps((1, BAD)),
        ),
        6,
        4,
    )
    board.row("Objects")
    board.add(
        bars(
            "Runs by state",
            "sum by (state) (tokenmark_runs)",
            "short",
            "By the reason that kubectl get shows.",
            "there are no runs",
            "{{state}}",
        ),
        8,
    )
    board.add(
        bars(
            "Probes by state",
            "sum by (state) (tokenmark_probes)",
            "short",
            "By the reason that kubectl get shows.",
            "there are no probes",
            "{{state}}",
        ),
        8,
    )
    board.add(
        lines(
            "Runs by state over time",
            [("sum by (state) (tokenmark_runs)", "{{state}}")],
            "short",
            "How many there were.",
            "there were no runs",
        ),
        8,
    )
    board.row("Work")
    board.add(
        lines(
            "Reconciliations",
            [
                (
                    "sum by (kind, result) (rate(tokenmark_operator_reconcile_total[$__rate_interval]))",
                    "{{kind}} {{result}}",
                )
            ],
            "ops",
            "Per second, by result.",
            QUIET,
        ),
        8,
    )
    took = [(_quantile(q, "reconcile"), f"p{int(q * 100)}") for q in (0.5, 0.99)]
    board.add(
        lines(
            "Time of a reconciliation",
            took,
            "s",
            "From a key taken to its status written.",
            QUIET,
            steps((1, FAIR), (10, BAD)),
        ),
        8,
    )
    waits = [(_quantile(q, "queue_wait"), f"p{int(q * 100)}") for q in (0.5, 0.99)]
    board.add(lines("Wait for a worker", waits, "s", "From due to taken.", QUIET, steps((1, FAIR), (10, BAD))), 8)
    board.row("API server")
    board.add(
        lines(
            "Requests",
            [
                (
                    "sum by (verb, code) (rate(tokenmark_operator_api_requests_total[$__rate_interval]))",
                    "{{verb}} {{code}}",
                )
            ],
            "reqps",
            "By verb and answer.",
            QUIET,
        ),
        16,
    )
    board.add(
        bars(
            "Version",
            "max by (version) (tokenmark_operator_build_info)",
            "short",
            "Of every operator that is scraped.",
            NONE,
            "{{version}}",
            steps(base=GOOD),
        ),
        8,
    )
    return board


def _quantile(q: float, name: str) -> str:
    return f"histogram_quantile({q}, sum by (le) (rate(tokenmark_operator_{name}_seconds_bucket[$__rate_interval])))"
