"""One run, whole: its verdict, every stage's percentiles, what its client cost, what the network explains; and while it runs, how
far it is."""

from __future__ import annotations

from .board import Board
from .panels import BAD, FAIR, GOOD, bars, lines, number, rows, steps, yes_no
from .queries import RUNS, RUNS_REGEX, labels_of, of_run, quantile

RUN = 'run_namespace=~"$run_namespace", run="$run"'
NOT_OVER = "the run is not over yet, or was never measured"
LIVE = "nothing under way: the run is over, or has not begun"


def run() -> Board:
    board = Board(
        "tokenmark-run",
        "run",
        "One run: its verdict, its stages, its client, its network.",
        "llm",
        since="now-1h",
        refresh="10s",
    )
    board.pick("run_namespace", "Namespace", labels_of("run_namespace"))
    board.pick("run", "Run", RUNS, many=False, regex=RUNS_REGEX)
    _verdict(board)
    _live(board)
    _latency(board)
    _rates(board)
    return board


def _verdict(board: Board) -> None:
    board.row("Verdict")
    for title, metric, yes, no, about in (
        ("Verdict", "tokenmark_run_valid", "stands", "invalid", "Whether the instrument stands behind the numbers; condition Valid says why."),
        ("Outcome", "tokenmark_run_succeeded", "succeeded", "failed", "Condition Succeeded says why."),
        ("Result", "tokenmark_run_results_stored", "stored", "not stored", "Whether the result lies where the sinks say."),
    ):  # fmt: skip
        expr = f"max({metric}{{{RUN}}})"
        board.add(
            number(title, expr, "short", about, NOT_OVER, steps((1, GOOD), base=BAD), mappings=yes_no(yes, no)), 4, 4
        )
    met = f"min(tokenmark_run_objective_met{{{RUN}}})"
    board.add(
        number(
            "Objectives",
            met,
            "short",
            "Whether all were met.",
            "the run sets no objectives",
            steps((1, GOOD), base=BAD),
            mappings=yes_no("all met", "missed"),
        ),
        4,
        4,
    )
    board.add(
        number(
            "Time in the queue",
            f"max(tokenmark_run_queued_seconds{{{RUN}}})",
            "s",
            "From its making to its first attempt.",
            "it has not begun yet",
            steps((60, FAIR)),
        ),
        4,
        4,
    )
    ended = f"max(tokenmark_run_completion_timestamp_seconds{{{RUN}}}) * 1000"
    board.add(number("Ended", ended, "dateTimeFromNow", "When.", "it is not over yet"), 4, 4)
    columns = [
        (name, name.replace("_", " "))
        for name in (
            "provider",
            "region",
            "instance_type",
            "gpu_model",
            "vantage",
            "engine",
            "model",
            "workload",
            "fingerprint",
            "verdict",
        )
    ]
    board.add(
        rows(
            "What it was",
            [f"tokenmark_run_info{{{RUN}}}"],
            "Where it ran, on what, and what must be equal to compare it.",
            NOT_OVER,
            columns=columns,
            hide=("Value", "run", "run_namespace", "workload_hash", "cluster", "gpu_count"),
        ),
        24,
        4,
    )


def _latency(board: Board) -> None:
    board.row("Latency by stage")
    columns = [("stage", "Stage"), ("Value #A", "p50"), ("Value #B", "p90"), ("Value #C", "p95"), ("Value #D", "p99")]
    for title, metric, about in (
        ("TTFT", "ttft", "Time to first token, from the request sent."),
        (
            "TTFT from the intended arrival",
            "ttft_scheduled",
            "What a user waits for in open loop: from when the schedule wanted the request.",
        ),
        ("TPOT", "tpot", "Time per output token after the first."),
        ("E2E", "e2e", "From the request sent to its last token."),
    ):
        targets = [of_run(f"tokenmark_run_{metric}_seconds", quantile(q)) for q in ("0.5", "0.9", "0.95", "0.99")]
        units = [(name, "s") for _, name in columns[1:]]
        board.add(
            rows(
                title,
                targets,
                f"{about} A gap is a percentile with too few samples above it.",
                NOT_OVER,
                columns=columns,
                units=units,
            ),
            12,
            6,
        )


def _rates(board: Board) -> None:
    board.row("Throughput, client, network by stage")
    panels = (
        ("Output tokens per second", of_run("tokenmark_run_output_tokens_per_second"), "short", "Over the steady window.", NOT_OVER, None),
        ("Requests per second", of_run("tokenmark_run_requests_per_second"), "reqps", "Over the steady window.", NOT_OVER, None),
        ("Errors", of_run("tokenmark_run_errors_ratio"), "percentunit", "Failed / sent.", NOT_OVER, steps((0.001, FAIR), (0.01, BAD))),
        ("Goodput", of_run("tokenmark_run_goodput_ratio"), "percentunit", "Requests that met every objective / requests due.", "the run sets no objectives", steps((0.95, FAIR), (0.99, GOOD), base=BAD)),
    )  # fmt: skip
    for title, expr, unit, about, empty, levels in panels:
        board.add(bars(title, expr, unit, about, empty, "{{stage}}", levels), 6, 6)
    lag = f"max by (stage, kind) (tokenmark_run_client_lag_seconds{{{RUN}}})"
    board.add(
        bars(
            "Client's own delay",
            lag,
            "s",
            "Tail of the delay with which the client read and sent: the most that it may have added.",
            NOT_OVER,
            "{{stage}} {{kind}}",
            steps((0.001, FAIR), (0.01, BAD)),
        ),
        8,
        7,
    )
    board.add(
        bars(
            "Client's processors",
            of_run("tokenmark_run_client_cores"),
            "short",
            "Cores that the client used.",
            NOT_OVER,
            "{{stage}}",
        ),
        8,
        7,
    )
    share = f"max by (stage, metric) (tokenmark_run_network_share_ratio{{{RUN}}})"
    board.add(
        bars(
            "Network's share",
            share,
            "percentunit",
            "Of the mean, what a probe of the way explains.",
            "no probe was joined: spec.network.measure or netProbeRef",
            "{{stage}} {{metric}}",
        ),
        8,
        7,
    )
    used = f"max by (stage, resource) (tokenmark_run_utilization_ratio{{{RUN}}})"
    board.add(
        bars(
            "The target's machine",
            used,
            "percentunit",
            "Busy share of its processors and of the GPUs behind it, average.",
            "nobody told: name its exporters, target.hostMetricsUrl and gpuMetricsUrl",
            "{{stage}} {{resource}}",
        ),
        12,
        6,
    )
    step = f'max by (stage, step) (tokenmark_run_step_seconds{{{RUN}, quantile="0.5"}})'
    board.add(
        bars(
            "Steps before the first token",
            step,
            "s",
            "Median of each step that a RAG service tells; other is what of TTFT none of them explains.",
            "no pipeline: engine rag has steps",
            "{{stage}} {{step}}",
        ),
        12,
        6,
    )


def _live(board: Board) -> None:
    board.row("While it runs")
    board.add(
        lines(
            "Requests in flight",
            [(f"max by (stage) (tokenmark_run_live_in_flight{{{RUN}}})", "{{stage}}")],
            "short",
            "As the runner said last.",
            LIVE,
        ),
        6,
        7,
    )
    board.add(
        lines(
            "Output tokens per second so far",
            [(f"max by (stage) (tokenmark_run_live_output_tokens_per_second{{{RUN}}})", "{{stage}}")],
            "short",
            "Since the phase began.",
            LIVE,
        ),
        6,
        7,
    )
    board.add(
        lines(
            "Answers so far",
            [(f"max by (stage, result) (tokenmark_run_live_requests{{{RUN}}})", "{{stage}} {{result}}")],
            "short",
            "Of the phase.",
            LIVE,
        ),
        6,
        7,
    )
    board.add(
        lines(
            "Time left",
            [(f"max(tokenmark_run_live_eta_seconds{{{RUN}}})", "left")],
            "s",
            "Until the load is over, where the plan says how long it takes.",
            LIVE,
        ),
        6,
        7,
    )
