"""The front page: the same work on different providers, side by side. Only runs of one fingerprint whose verdict stands are
compared; what is left out, and why, stands below in plain sight."""

from __future__ import annotations

from .board import Board
from .panels import BAD, FAIR, GOOD, bars, lines, link_to, number, rows, scatter, steps
from .queries import (
    ALIKE,
    COMPARED,
    LOADS,
    LOADS_REGEX,
    PICKED,
    SAME_RUN,
    SAME_WORK,
    SAME_WORK_REGEX,
    labels_of,
    named,
    of_providers,
    quantile,
)

NO_RUN = "no run of this work at this load: pick another"
FEW = "too few samples for this percentile: longer stages or more repetitions"


def provider_comparison() -> Board:
    board = Board(
        "tokenmark-providers", "provider comparison",
        "The same work on different providers. Bars are the mean of each provider's runs; invalid runs and other work never count.",
        "llm",
    )  # fmt: skip
    board.pick("run_namespace", "Namespace", labels_of("run_namespace"))
    board.pick("model", "Model", labels_of("model", where='run_namespace=~"$run_namespace"'), many=False)
    board.pick(
        "fingerprint",
        "Same work",
        SAME_WORK,
        many=False,
        regex=SAME_WORK_REGEX,
        about="Workload, engine, fingerprint: equal where two runs compare.",
    )
    in_work = 'run_namespace=~"$run_namespace", model=~"$model"'
    board.pick("stage", "Load", LOADS, many=False, regex=LOADS_REGEX)
    board.pick("engine", "Engine", labels_of("engine", where=in_work))
    board.pick("vantage", "Vantage", labels_of("vantage", where=in_work))
    board.pick("provider", "Provider", labels_of("provider", where=in_work))
    _verdicts(board)
    _latency(board)
    _rates(board)
    _runs(board)
    return board


def _verdicts(board: Board) -> None:
    board.row("What is compared")
    board.add(
        number(
            "Providers",
            f"count(count by (provider) ({COMPARED}))",
            "short",
            "Providers with at least one run that counts.",
            NO_RUN,
        ),
        4,
        4,
    )
    board.add(
        number("Runs", f"count({COMPARED})", "short", "Verdict valid or degraded, of the picked work.", NO_RUN),
        4,
        4,
    )
    invalid = f'(count({ALIKE[:-1]}, verdict!~"valid|degraded"}}) or vector(0))'
    about = "Runs of this work that are left out: the instrument does not stand behind them, or they are not over."
    board.add(number("Left out", invalid, "short", about, NO_RUN, steps((1, FAIR))), 4, 4)
    met = f'sum(tokenmark_run_objective_met{{stage="$stage"}} and {SAME_RUN} {COMPARED}) / count(tokenmark_run_objective_met{{stage="$stage"}} and {SAME_RUN} {COMPARED})'
    board.add(
        number(
            "Objectives",
            met,
            "percentunit",
            "Of all objectives of these runs at this load.",
            "these runs set no objectives",
            steps((0.99, FAIR), (1, GOOD), base=BAD),
        ),
        4,
        4,
    )
    errors = f'max(tokenmark_run_errors_ratio{{stage="$stage"}} and {SAME_RUN} {COMPARED})'
    board.add(
        number(
            "Errors",
            errors,
            "percentunit",
            "Failed / sent, of the worst of these runs.",
            NO_RUN,
            steps((0.001, FAIR), (0.01, BAD)),
        ),
        4,
        4,
    )
    lag = f'max(tokenmark_run_client_lag_seconds{{stage="$stage"}} and {SAME_RUN} {COMPARED})'
    board.add(
        number(
            "Client delay",
            lag,
            "s",
            "Tail of the worst of these runs: what the client itself may have added.",
            NO_RUN,
            steps((0.001, FAIR), (0.01, BAD)),
        ),
        4,
        4,
    )


def _latency(board: Board) -> None:
    board.row("Latency at the picked load (shorter is better)")
    times = (
        ("TTFT p50", "ttft", "0.5", "Time to first token, median."),
        ("TTFT p95", "ttft", "0.95", "Time to first token, p95."),
        ("TPOT p50", "tpot", "0.5", "Time per output token after the first, median."),
        ("E2E p50", "e2e", "0.5", "From the request sent to its last token, median."),
    )
    for title, metric, q, about in times:
        board.add(bars(title, of_providers(f"tokenmark_run_{metric}_seconds", quantile(q)), "s", about, FEW), 6, 7)


def _rates(board: Board) -> None:
    board.row("Throughput, price, quality, way")
    board.add(
        bars(
            "Output tokens per second",
            of_providers("tokenmark_run_output_tokens_per_second"),
            "short",
            "Over the steady window; longer is better.",
            NO_RUN,
        ),
        6,
        7,
    )
    board.add(
        bars(
            "Cost of a million output tokens",
            of_providers("tokenmark_run_cost_dollars_per_million_output_tokens"),
            "currencyUSD",
            "Price of an hour / output tokens of one hour at this load; shorter is better. What it is made of: status.cost.",
            "these runs were given no prices in dollars: spec.cost",
        ),
        6,
        7,
    )
    good = steps((0.95, FAIR), (0.99, GOOD), base=BAD)
    board.add(
        bars(
            "Goodput",
            of_providers("tokenmark_run_goodput_ratio"),
            "percentunit",
            "Requests that met every objective / requests due.",
            "these runs set no objectives",
            levels=good,
        ),
        6,
        7,
    )
    share = of_providers("tokenmark_run_network_share_ratio", ', metric="ttft"')
    board.add(
        bars(
            "Network's share of TTFT",
            share,
            "percentunit",
            "What a probe of the way explains of the mean TTFT.",
            "no probe was joined: spec.network.measure or netProbeRef",
        ),
        6,
        7,
    )
    each = {"by": "provider, stage", "load": 'stage=~".+"'}
    a_user = f"1 / ({of_providers('tokenmark_run_tpot_seconds', quantile('0.5'), **each)})"
    rate = f'tokenmark_run_output_tokens_per_second{{stage=~".+"}} and {SAME_RUN} {COMPARED}'
    per = f"({rate}) / {SAME_RUN} group_left () max by (run, run_namespace) (tokenmark_run_gpus) or ({rate})"
    a_gpu = named(f"avg by (provider, stage) ({per})")
    about = "Each point is a load. Up and right is better: more tokens a second from a GPU (from the whole target where no GPU is known) at more tokens a second for each user (1 / TPOT p50)."
    board.add(
        scatter(
            "Speed for a user against yield of a GPU",
            (a_user, "tokens/s a user"),
            (a_gpu, "tokens/s a GPU"),
            about,
            NO_RUN,
            "provider",
        ),
        12,
        9,
    )
    history = of_providers("tokenmark_run_ttft_seconds", quantile("0.5"))
    board.add(
        lines(
            "TTFT p50 over time", [(history, "{{provider}}")], "s", "The bars' mean, as it was at each moment.", NO_RUN
        ),
        12,
        9,
    )


def _runs(board: Board) -> None:
    board.row("Runs")
    columns = (
        ("provider", "Provider"), ("region", "Region"), ("cluster", "Cluster"), ("instance_type", "Instance"), ("gpu_model", "GPU"),
        ("run", "Run"), ("verdict", "Verdict"), ("Value #B", "Ended"),
    )  # fmt: skip
    hide = (
        "Value #A",
        "run_namespace",
        "vantage",
        "engine",
        "model",
        "gpu_count",
        "workload",
        "workload_hash",
        "fingerprint",
        "stage",
    )
    ended = f"max by (run, run_namespace) (tokenmark_run_completion_timestamp_seconds and {SAME_RUN} {COMPARED}) * 1000"
    found = rows(
        "Compared",
        [COMPARED, ended],
        "The runs behind the bars; a name opens the run.",
        NO_RUN,
        columns=columns,
        hide=hide,
        units=[("Ended", "dateTimeFromNow")],
    )
    board.add(
        found.override_by_name("Run", [link_to("tokenmark-run", "Open the run", "var-run=${__value.text}")]), 24, 7
    )
    apart = f'tokenmark_run_info{{{PICKED}, fingerprint!~"$fingerprint"}} or {ALIKE[:-1]}, verdict!~"valid|degraded"}}'
    other = (
        ("provider", "Provider"), ("run", "Run"), ("verdict", "Verdict"), ("engine", "Engine"), ("model", "Model"), ("vantage", "Vantage"),
        ("workload", "Workload"), ("workload_hash", "Workload's hash"), ("fingerprint", "Fingerprint"),
    )  # fmt: skip
    gone = ("Value", "run_namespace", "region", "cluster", "instance_type", "gpu_model", "gpu_count")
    about = "Other work, or a verdict that does not stand. Where all columns agree and the fingerprint does not, the stages, the warm-up or the seed differ."
    board.add(
        rows(
            "Not compared, and what differs",
            [apart],
            about,
            "nothing: all runs of this model are alike",
            columns=other,
            hide=gone,
        ),
        24,
        7,
    )
