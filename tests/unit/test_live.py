"""Progress as a person sees it: in 80 columns, with what the verdict would say by now."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench_runner.instrument.progress import Progress, Quantiles
from bench_runner.reports.live import LiveView, line, picture

BIG = Progress(
    "c10000", "c10000", 12, 20, 3599.0, duration_s=3600, count=1_000_000, in_flight=10_000, done=999_999, failed=12_345,
    ttft=Quantiles(123.456, 234.567, 345.678), tpot=Quantiles(0.0123, 0.0234, 0.0345), send_lag_p99_s=0.000456,
    read_lag_p99_s=0.000123, away_s=0.00789, cores=3.99, workers=4, tokens_per_s=1_234_567.0,
)  # fmt: skip


def drawn(progress: Progress) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=200, color_system=None).print(picture(progress))
    return out.getvalue().splitlines()


def test_the_picture_fits_80_columns_whatever_the_numbers() -> None:
    lines = drawn(BIG)
    assert len(lines) == 6
    assert max(map(len, lines)) <= 80
    assert lines[0] == "stage c10000  repetition 12 of 20 · 3599 of 3600 s · 1234567 tok/s"
    assert "10,000 in flight · 999,999 of 1,000,000 done · 12,345 failed" in lines[1]


def test_a_finished_phase_fits_one_line() -> None:
    assert len(line(BIG, over=True)) <= 100
    assert len(line(Progress("c8", "c8", 1, 2, 60.0, done=4000, ttft=Quantiles(0.021, 0.022, 0.023)), over=True)) <= 80


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "so far  valid"),
        ({"away_share": 0.03}, "so far  degraded  loop_lag 0.03, limit 0.002"),
        ({"away_share": 0.03, "send_lag_p99_s": 0.06}, "so far  invalid  send_lag 0.06 s, limit 0.05"),
        ({"cores": 0.9, "elapsed_s": 30.0}, "so far  degraded  client_cpu 0.9 cores, limit 0.85"),
        ({"failed": 60, "done": 40}, "so far  invalid  errors 0.6, limit 0.5"),
    ],
)
def test_what_the_verdict_would_mind_by_now_is_said(changes: dict[str, float], said: str) -> None:
    assert drawn(Progress("c1", "c1", 1, 1, **changes))[-1].rstrip() == said  # type: ignore[arg-type]


def test_without_a_terminal_there_is_a_line_a_phase(capsys: pytest.CaptureFixture[str]) -> None:
    view = LiveView(quiet=False)
    for phase in ("warmup", "warmup", "c1", "c1", "c2"):
        view.show(Progress(phase, phase, 1, 1))
    view.clear()
    said = capsys.readouterr().err.splitlines()
    assert [text.split()[0] for text in said] == ["warm-up", "warm-up", "c1", "c2"], (
        "one at the start, one for each when it is over"
    )
    assert not any("\x1b" in text for text in said)


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    LiveView(quiet=True).show(BIG)
    assert capsys.readouterr().err == ""
