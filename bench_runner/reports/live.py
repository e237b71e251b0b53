"""Progress while a run goes on: a small picture on a terminal, a plain line now and then elsewhere.

The picture is of the last few hundred answers; a phase that is over leaves one line behind. Nothing here draws by itself:
a thread would be forked with the next phase's workers.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from ..analysis.verdict import so_far
from ..instrument.progress import Progress, Quantiles
from .units import rate, seconds

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

PLAIN_EVERY_S = 10.0
SHOWN_LATE_S, SHOWN_AWAY_S = 0.002, 0.020  # where the verdict begins to mind


class LiveView:
    """Writes to stderr. `show` may be called as often as one likes."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._last = 0.0
        self._before: Progress | None = None
        self._live: Live | None = None

    def show(self, progress: Progress) -> None:
        if self._quiet:
            return
        before, self._before = self._before, progress
        if self._terminal:
            self._draw(progress, before if before is not None and before.key != progress.key else None)
        elif before is not None and before.key != progress.key:
            if before.phase not in BEFORE:
                self._say(line(before, over=True))
        elif before is None or time.monotonic() - self._last >= PLAIN_EVERY_S:
            self._say(line(progress))

    def clear(self) -> None:
        """Takes the picture away: the result comes next."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._before is not None and not self._quiet:
            self._say(line(self._before, over=True))
        self._before = None

    def _say(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
        self._last = time.monotonic()

    def _draw(self, progress: Progress, over: Progress | None) -> None:
        if self._live is None:
            from rich.console import Console  # here, because it takes longer than the first request
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        if over is not None:
            self._live.console.print(line(over, over=True), highlight=False, overflow="ellipsis", no_wrap=True)
        self._live.update(picture(progress), refresh=True)


BEFORE = {"calibration": "this client against the simulator", "network": "the way to {}, about a minute",
          "filling": "{}: the run's own database, and what is nearest to what"}  # fmt: skip


def line(p: Progress, *, over: bool = False) -> str:
    """Everything worth knowing in one line, shorter when the phase is over."""
    if p.phase in BEFORE:
        return f"{p.phase:<14} {BEFORE[p.phase].format(p.stage)}"
    where = "warm-up" if p.phase == "warmup" else f"{p.phase} {p.repetition}/{p.repetitions}"
    failed = f" · {p.failed} failed" if p.failed else ""
    own = f" · sent {seconds(p.send_lag_p99_s)} late" if (p.send_lag_p99_s or 0) > SHOWN_LATE_S else ""
    away = f" · client away {seconds(p.away_s)}" if p.away_s > SHOWN_AWAY_S else ""
    flying = "" if over else f" · {p.in_flight} in flight"
    title, times = ("call", p.calls) if p.calls else ("TTFT", p.ttft)
    return (
        f"{where:<12} {p.elapsed_s:4.0f} s{flying} · {p.done} done{failed}"
        f" · {title} {seconds(times.p50)} p99 {seconds(times.p99)} · {_pace(p)}{own}{away}"
    )


def _pace(p: Progress) -> str:
    if p.calls:
        return f"{rate(p.done / p.elapsed_s if p.elapsed_s > 0 else None)} calls/s"
    return f"{rate(p.tokens_per_s)} tok/s"


def picture(p: Progress) -> Text:
    """Six lines of at most 80 columns."""
    from rich.text import Text

    if p.phase in BEFORE:
        return Text(line(p))
    where = "warm-up" if p.phase == "warmup" else f"stage {p.phase}"
    turn = f"repetition {p.repetition} of {p.repetitions} · " if p.phase != "warmup" and p.repetitions > 1 else ""
    end = f" of {p.duration_s:.0f} s" if p.duration_s else ""
    count = f" of {p.count:,}" if p.count else ""
    state, style, why = _so_far(p)
    failed = (f"{p.failed:,}", "bold red" if p.failed else "dim")
    return Text.assemble(
        (where, "bold"), f"  {turn}{p.elapsed_s:.0f}{end or ' s'} · {_pace(p)}\n",
        ("load    ", "dim"), f"{p.in_flight:,} in flight · {p.done:,}{count} done · ", failed, " failed\n",
        *_times(p),
        ("client  ", "dim"), f"sent {seconds(p.send_lag_p99_s)} late · read {seconds(p.read_lag_p99_s)} late · "
        f"away {seconds(p.away_s)} · {p.cores:.2f} cores\n",
        ("so far  ", "dim"), (state, style), f"  {why}" if why else "",
    )  # fmt: skip


def _times(p: Progress) -> list[str | tuple[str, str]]:
    if p.calls:
        return [("calls   ", "dim"), _quantiles(p.calls), "\n"]
    return [("TTFT    ", "dim"), _quantiles(p.ttft), "\n", ("TPOT    ", "dim"), _quantiles(p.tpot), "\n"]


def _quantiles(q: Quantiles) -> str:
    return f"p50 {seconds(q.p50):<9} p90 {seconds(q.p90):<9} p99 {seconds(q.p99)}"


def _so_far(p: Progress) -> tuple[str, str, str]:
    """What the verdict would mind by now: state, style, reason."""
    ended = p.done + p.failed
    found = so_far(
        {
            "send_lag": p.send_lag_p99_s,
            "read_lag": p.read_lag_p99_s,
            "loop_lag": p.away_share,
            "client_cpu": p.cores / max(1, p.workers) if p.elapsed_s >= 1 else None,
            "errors": p.failed / ended if ended else None,
        }
    )
    styles = {"valid": "bold green", "degraded": "bold yellow", "invalid": "bold red"}
    return found[0], styles[found[0]], found[1]
