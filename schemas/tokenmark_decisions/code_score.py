"""What compilers and tests say of a component -> a score from 0 to 10 (pure).

Ten times the share of what was asked of its structure, times how well it works: the weighed mean of parsing, building, types (a fifth less for every error) and
the share of its tests that pass. A product, for a component that is given back as it came works perfectly and does nothing of what was asked. A part that a
fixture does not have is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, stdev

from tokenmark_schemas.quality import CodeAnswer, CodeFinding, FixtureScore

WEIGHTS = {"parses": 1.0, "compiles": 2.0, "types": 2.0, "tests": 2.0}  # of how well it works
ERRORS = 5  # after which nothing of the types' part is left


def parts_of(found: CodeFinding) -> dict[str, float]:
    parts = {"parses": float(found.parses), "compiles": float(found.compiles)}
    if found.structure:
        parts["structure"] = fmean(each.good for each in found.structure)
    parts["types"] = max(0.0, 1 - len(found.type_errors) / ERRORS) if found.compiles else 0.0
    if found.tests is not None:
        parts["tests"] = found.tests.passed / found.tests.total if found.tests.total else 0.0
    return parts


def score_of(found: CodeFinding | None) -> float | None:
    """None where nothing was found out."""
    if found is None:
        return None
    if not found.parses:
        return 0.0
    parts = parts_of(found)
    works = {name: value for name, value in parts.items() if name in WEIGHTS}
    share = sum(WEIGHTS[name] * value for name, value in works.items()) / sum(WEIGHTS[name] for name in works)
    return 10 * parts.get("structure", 1.0) * share


def by_fixture(answers: Sequence[CodeAnswer], texts: Sequence[str]) -> list[FixtureScore]:
    """`texts` are the components of `answers`, in the same order. A fixture without a score is left out."""
    out = []
    for fixture in dict.fromkeys(each.fixture for each in answers):
        own = [
            (each.score, text)
            for each, text in zip(answers, texts, strict=True)
            if each.fixture == fixture and each.score is not None
        ]
        if not own:
            continue
        scores = [score for score, _ in own]
        most = Counter(text for _, text in own).most_common(1)[0][1]
        spread = stdev(scores) if len(scores) > 1 else None
        out.append(
            FixtureScore(fixture=fixture, runs=len(own), mean=fmean(scores), stddev=spread, same=most / len(own))
        )
    return out
