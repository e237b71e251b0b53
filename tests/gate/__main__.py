"""`python -m tests.gate [--pairs N] [--money N] [--series N] [--real N] [--write]`: how often gate and prices are right, into their docs with --write."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tokenmark_decisions.comparison import Gate, Rules, compare

from . import money
from .peers import BOOTSTRAP, bootstrap_alarms
from .real import real_pairs
from .replay import HABITS, a_pair, recorded
from .series import series_table

DOCS = Path(__file__).parents[2] / "docs"
GATE, COST = DOCS / "gate.md", DOCS / "cost-model.md"
BEGIN, END = "<!-- {name} -->\n", "<!-- /{name} -->"
PLAN = {"requests": 600, "repetitions": 3}
FOUR = [Gate(metric, statistic) for metric in ("ttft", "tpot") for statistic in ("p50", "p99")]
ANY = Rules(gates=[Gate(gate.metric, gate.statistic, None, 0.0) for gate in FOUR])
DEFAULT = Rules(gates=FOUR)
SHIFTS = (
    ("ttft", "p50", 1.03, 0.015),
    ("tpot", "p50", 1.03, 0.015),
    ("ttft", "p99", 1.10, 0.05),
    ("tpot", "p99", 1.10, 0.05),
)


def alarms(cell: tuple[str, int, int, int]) -> tuple[int, int, int]:
    """(with the default effect, with none at all, what a plain bootstrap would say) of pairs of one and the same server."""
    shape, habit, pairs, seed = cell
    counts = [0, 0, 0]
    for number in range(pairs):
        rng = random.Random(f"alarm {shape} {habit} {seed} {number}")
        old, new = a_pair(shape, HABITS[habit], rng, **PLAN)
        counts[0] += compare(old, new, DEFAULT).result == "regressed"
        counts[1] += compare(old, new, ANY).result == "regressed"
        counts[2] += bootstrap_alarms(old, new)
    return counts[0], counts[1], counts[2]


def detections(cell: tuple[str, int, int, int, int]) -> int:
    """Pairs of which the named line came out REGRESSED as the only gate."""
    shape, habit, which, pairs, seed = cell
    metric, statistic, shift, effect = SHIFTS[which]
    rules, found = Rules(gates=[Gate(metric, statistic, None, effect)]), 0
    for number in range(pairs):
        rng = random.Random(f"shift {shape} {habit} {which} {seed} {number}")
        old, new = a_pair(shape, HABITS[habit], rng, **PLAN, shift=shift, metrics=(metric,))
        found += compare(old, new, rules).result == "regressed"
    return found


def alarm_table(pool: ProcessPoolExecutor, pairs: int) -> Iterator[str]:
    shapes = list(recorded())
    cells = [(shape, habit, pairs, 1) for habit in range(len(HABITS)) for shape in shapes]
    found = dict(zip(cells, pool.map(alarms, cells), strict=True))
    yield "| the server's habit | default effects | any effect | " + BOOTSTRAP + " |"
    yield "|---|---:|---:|---:|"
    totals = [0, 0, 0]
    for number, habit in enumerate(HABITS):
        sums = [sum(found[shape, number, pairs, 1][k] for shape in shapes) for k in range(3)]
        totals = [a + b for a, b in zip(totals, sums, strict=True)]
        of = pairs * len(shapes)
        yield f"| {habit.name} | " + " | ".join(f"{count} of {of} ({100 * count / of:.1f} %)" for count in sums) + " |"
    of = pairs * len(cells)
    yield "| **all** | " + " | ".join(f"{count} of {of} (**{100 * count / of:.2f} %**)" for count in totals) + " |"


def shift_table(pool: ProcessPoolExecutor, pairs: int) -> Iterator[str]:
    habits = (0, 1, 2)
    yield "| distribution, habit | " + " | ".join(f"{m} {s} +{100 * (by - 1):.0f} %" for m, s, by, _ in SHIFTS) + " |"
    yield "|---|" + "---:|" * len(SHIFTS)
    cells = [
        (shape, habit, which, pairs, 1) for shape in recorded() for habit in habits for which in range(len(SHIFTS))
    ]
    found = dict(zip(cells, pool.map(detections, cells), strict=True))
    for shape in recorded():
        for habit in habits:
            row = [found[shape, habit, which, pairs, 1] for which in range(len(SHIFTS))]
            yield (
                f"| {shape}, {HABITS[habit].name} | "
                + " | ".join(f"{100 * count / pairs:.0f} %" for count in row)
                + " |"
            )


def put(name: str, lines: Sequence[str], *, write: bool, page: Path = GATE) -> None:
    text = "\n".join(lines) + "\n"
    print(f"\n{text}", flush=True)
    if write:
        said, begin, end = page.read_text(), BEGIN.format(name=name), END.format(name=name)
        page.write_text(said[: said.index(begin) + len(begin)] + text + said[said.index(end) :])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100, help="of each habit and distribution")
    parser.add_argument("--money", type=int, default=2000, help="replays of prices, of each spread")
    parser.add_argument("--series", type=int, default=400, help="series of runs, of each length and shift")
    parser.add_argument("--real", type=int, default=0, help="pairs of real runs against the simulator, of each kind")
    parser.add_argument("--write", action="store_true", help="into docs/gate.md and docs/cost-model.md")
    said = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        if said.pairs:
            put("alarms", list(alarm_table(pool, said.pairs)), write=said.write)
            put("shifts", list(shift_table(pool, said.pairs)), write=said.write)
    if said.series:
        put("series", list(series_table(said.series)), write=said.write)
    if said.money:
        put("money", list(money.replayed(said.money)), write=said.write, page=COST)
    if said.real:
        put("real", list(real_pairs(said.real)), write=said.write)
        put("money-real", list(money.real(said.real)), write=said.write, page=COST)
    return 0


if __name__ == "__main__":
    sys.exit(main())
