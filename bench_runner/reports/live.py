"""Progress while a run goes on: a redrawn line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time

from ..control import Progress
from .units import rate, seconds

PLAIN_EVERY_S = 10.0
SHOWN_LATE_S, SHOWN_AWAY_S = 0.002, 0.020  # where the verdict begins to mind


class LiveLine:
    """Writes to stderr; one line, redrawn, where that is a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._last = 0.0
        self._key = ""

    def show(self, progress: Progress) -> None:
        if self._quiet:
            return
        now, key = time.monotonic(), f"{progress.phase}/{progress.repetition}"
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1  # a line that wraps cannot be redrawn
            sys.stderr.write("\r\033[K" + self._text(progress)[:width])
        elif key != self._key or now - self._last >= PLAIN_EVERY_S:
            sys.stderr.write(self._text(progress) + "\n")
            self._last, self._key = now, key
        sys.stderr.flush()

    def clear(self) -> None:
        if self._terminal and not self._quiet:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    @staticmethod
    def _text(p: Progress) -> str:
        if p.phase == "calibration":
            return "calibration    this client against the simulator"
        where = "warm-up" if p.phase == "warmup" else f"{p.phase} {p.repetition}/{p.repetitions}"
        failed = f" · {p.failed} failed" if p.failed else ""
        own = f" · sent {seconds(p.send_lag_p99_s)} late" if (p.send_lag_p99_s or 0) > SHOWN_LATE_S else ""
        away = f" · client away {seconds(p.away_s)}" if p.away_s > SHOWN_AWAY_S else ""
        return (
            f"{where:<12} {p.elapsed_s:4.0f} s · {p.in_flight} in flight · {p.done} done{failed}"
            f" · TTFT {seconds(p.ttft_p50_s)} p99 {seconds(p.ttft_p99_s)} · {rate(p.tokens_per_s)} tok/s{own}{away}"
        )
