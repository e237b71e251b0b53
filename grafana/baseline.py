"""One run against another: the operator's verdict where the run names a baseline, then every figure of every stage, before and after.
The changes below are a picture: noise is in the verdict alone."""

from __future__ import annotations

from .board import Board
from .panels import BAD, FAIR, GOOD, bars, number, rows, steps, yes_no
from .queries import RUNS_NEWEST_FIRST, RUNS_OLDEST_FIRST, RUNS_REGEX, labels_of, quantile

NONE = "pick a run and a baseline that share a stage"
SLOWER = steps((-0.02, "text"), (0.05, FAIR), (0.10, BAD), base=GOOD)
FEWER = steps((-0.10, FAIR), (-0.05, "text"), (0.02, GOOD), base=BAD)
TIMES = (
    ("TTFT p50", "ttft", "0.5"),
    ("TTFT p95", "ttft", "0.95"),
    ("TPOT p50", "tpot", "0.5"),
    ("E2E p50", "e2e", "0.5"),
)


def _verdict(board: Board) -> None:
    """What the operator found, where the run names a baseline: the one place on this board that knows of noise."""
    run = 'run_namespace=~"$run_namespace", run="$run"'
    none = (
        "the run names no baseline (spec.baselineRef), or cannot be compared with it: condition NotRegressed says why"
    )
    board.row("Verdict of the run against the baseline that it names")
    board.add(
        number(
            "Not regressed",
            f"max(tokenmark_run_not_regressed{{{run}}})",
            "short",
            "Whether any gate is worse by its minimum effect, beyond what chance does.",
            none,
            steps((1, GOOD), base=BAD),
            mappings=yes_no("not regressed", "REGRESSED"),
        ),
        4,
        7,
    )
    columns = [("stage", "Stage"), ("metric", "Metric"), ("gate", "Gate"), ("outcome", "Outcome"), ("Value", "Change")]
    gone = ("run", "run_namespace", "provider", "region", "cluster", "model", "engine")
    about = "Change of each line with its outcome; intervals stand in the run's status and in its comparison.json."
    board.add(
        rows(
            "Lines",
            [f"tokenmark_run_regression_ratio{{{run}}} - 1"],
            about,
            none,
            columns=columns,
            hide=gone,
            units=[("Change", "percentunit")],
        ),
        20,
        7,
    )


def run_against_baseline() -> Board:
    board = Board(
        "tokenmark-baseline",
        "run against baseline",
        "The same stages of two runs, and what changed. Two runs of another fingerprint did other work.",
        "llm",
    )
    board.pick("run_namespace", "Namespace", labels_of("run_namespace"))
    board.pick("baseline", "Baseline", RUNS_OLDEST_FIRST, many=False, regex=RUNS_REGEX)
    board.pick("run", "Run", RUNS_NEWEST_FIRST, many=False, regex=RUNS_REGEX)
    _verdict(board)
    board.row("May they be compared?")
    same = f"count(count by (fingerprint) ({_info('run')} or {_info('baseline')}))"
    board.add(
        number(
            "Fingerprints",
            same,
            "short",
            "1: the same work. 2: engine, model, workload, stages, vantage, warm-up or seed differ, see below.",
            NONE,
            steps((2, BAD)),
        ),
        4,
        5,
    )
    columns = [
        ("run", "Run"),
        ("verdict", "Verdict"),
        ("fingerprint", "Fingerprint"),
        ("engine", "Engine"),
        ("model", "Model"),
        ("workload_hash", "Workload's hash"),
        ("vantage", "Vantage"),
        ("provider", "Provider"),
        ("instance_type", "Instance"),
        ("gpu_model", "GPU"),
    ]
    gone = ("Value", "run_namespace", "region", "cluster", "gpu_count", "workload")
    board.add(
        rows("Both", [f"{_info('baseline')} or {_info('run')}"], "What they were.", NONE, columns=columns, hide=gone),
        20,
        5,
    )
    board.row("Change of times (above zero is slower)")
    for title, metric, q in TIMES:
        board.add(
            bars(
                title,
                _change(f"tokenmark_run_{metric}_seconds", quantile(q)),
                "percentunit",
                "(run - baseline) / baseline.",
                NONE,
                "{{stage}}",
                SLOWER,
            )
            .min(-0.5)
            .max(0.5),
            6,
        )
    board.row("Change of rates (below zero is less)")
    for title, metric in (
        ("Output tokens per second", "output_tokens_per_second"),
        ("Requests per second", "requests_per_second"),
        ("Goodput", "goodput_ratio"),
    ):
        board.add(
            bars(
                title,
                _change(f"tokenmark_run_{metric}"),
                "percentunit",
                "(run - baseline) / baseline.",
                NONE,
                "{{stage}}",
                FEWER,
            )
            .min(-0.5)
            .max(0.5),
            8,
        )
    board.row("Both, in figures")
    for title, metric, q in TIMES[:3:2]:
        targets = [_value(f"tokenmark_run_{metric}_seconds", quantile(q), run) for run in ("baseline", "run")]
        board.add(_table(title, [*targets, _change(f"tokenmark_run_{metric}_seconds", quantile(q))], "s"), 12, 7)
    return board


def _table(title: str, targets: list[str], unit: str) -> object:
    columns = [("stage", "Stage"), ("Value #A", "Baseline"), ("Value #B", "Run"), ("Value #C", "Change")]
    return rows(
        title,
        targets,
        "Both figures and the change.",
        NONE,
        columns=columns,
        units=[("Baseline", unit), ("Run", unit), ("Change", "percentunit")],
    )


def _info(run: str) -> str:
    return f'tokenmark_run_info{{run_namespace=~"$run_namespace", run="${run}"}}'


def _value(metric: str, more: str, run: str) -> str:
    return f'max by (stage) ({metric}{{run_namespace=~"$run_namespace", run="${run}"{more}}})'


def _change(metric: str, more: str = "") -> str:
    return f"{_value(metric, more, 'run')} / {_value(metric, more, 'baseline')} - 1"
