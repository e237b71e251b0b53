"""Of two models that answered the same tests, which is better, and is that more than chance (pure).

A share of right answers has Wilson's interval. Two models are compared test by test: only tests that one of them answered right and the other wrong tell
them apart, and were they alike each of those would be a throw of a coin (Q. McNemar, Psychometrika 12, 1947, here by the exact binomial
distribution). Of many comparisons each is held to what Holm's correction leaves of 5 % (S. Holm, Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenmark_schemas.quality import AskedTest, KindShare, StageQuality

from .two_level import holm

Z95 = 1.959963984540054
CHANCE = 0.05


def wilson(right: int, asked: int) -> tuple[float, float] | None:
    """Between what a share lies with 95 %; None where nothing was asked."""
    if not asked:
        return None
    share, z2 = right / asked, Z95**2
    middle = (share + z2 / (2 * asked)) / (1 + z2 / asked)
    half = Z95 / (1 + z2 / asked) * math.sqrt(share * (1 - share) / asked + z2 / (4 * asked**2))
    return (0.0 if right == 0 else middle - half), (1.0 if right == asked else middle + half)


def quality_of(outcomes: Sequence[AskedTest], unanswered: int, most: int) -> StageQuality:
    """All tests, and by kind in the order in which they first stand. `most` outcomes are kept one by one."""
    answered = [each for each in outcomes if each.asked]
    whole = _kind("", answered)
    return StageQuality(
        asked=whole.asked, right=whole.right, accuracy=whole.accuracy, ci95=whole.ci95, unanswered=unanswered,
        unsteady=sum(0 < each.right < each.asked for each in answered),
        kinds=[_kind(kind, [each for each in answered if each.kind == kind]) for kind in dict.fromkeys(each.kind for each in answered)],
        outcomes=answered[:most],
    )  # fmt: skip


def _kind(name: str, outcomes: Sequence[AskedTest]) -> KindShare:
    asked, good = len(outcomes), sum(each.right == each.asked for each in outcomes)
    return KindShare(
        kind=name, asked=asked, right=good, accuracy=good / asked if asked else None, ci95=wilson(good, asked)
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """How often two models that are alike would differ so much or more: exact, two sides. 1 where no test tells them apart."""
    split, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(split, k) for k in range(fewer + 1))
    return min(1.0, 2.0 * tail / float(2**split))


@dataclass(frozen=True)
class Against:
    """A model beside a reference, on the tests that both answered. `lost` of them only the reference answered right, `won` only this one.
    `chance` is corrected for all comparisons made beside it."""

    name: str
    reference: str
    tests: int
    won: int
    lost: int
    chance: float

    @property
    def differs(self) -> bool:
        return self.chance <= CHANCE

    @property
    def p(self) -> str:
        """As people write it."""
        return f"= {self.chance:.3f}" if self.chance >= 0.001 else "< 0.001"

    @property
    def worse(self) -> bool:
        """By more than chance."""
        return self.differs and self.lost > self.won


def against(reference: str, models: Mapping[str, StageQuality]) -> list[Against]:
    """Every other model beside `reference`."""
    return _compared([(name, reference) for name in models if name != reference], models)


def against_many(pairs: Sequence[tuple[str, str, StageQuality, StageQuality]]) -> list[Against]:
    """Any (name, reference, what each answered), all corrected together."""
    counted = [_counted(mine, theirs) for _, _, mine, theirs in pairs]
    chances = holm([mcnemar(won, lost) for _, won, lost in counted])
    return [
        Against(name, reference, tests, won, lost, chance)
        for (name, reference, *_), (tests, won, lost), chance in zip(pairs, counted, chances, strict=True)
    ]


def ranked(models: Mapping[str, StageQuality]) -> list[tuple[int, str]]:
    """(place, name), the best first. Who leads is compared with all who follow; those that are not worse by more than chance share the place, and the best of the
    rest leads the next. Who answered less than half of the tests that another did leads nobody."""
    most = max((quality.asked for quality in models.values()), default=0)
    left = sorted(models, key=lambda name: (2 * models[name].asked >= most, models[name].accuracy or 0.0), reverse=True)
    places: list[tuple[int, str]] = []
    while left:
        leader, *rest = left
        worse = {each.name for each in _compared([(name, leader) for name in rest], models) if each.worse}
        place = len(places) + 1
        places += [(place, name) for name in left if name not in worse]
        left = [name for name in rest if name in worse]
    return places


def _compared(pairs: Sequence[tuple[str, str]], models: Mapping[str, StageQuality]) -> list[Against]:
    return against_many([(name, reference, models[name], models[reference]) for name, reference in pairs])


def _counted(mine: StageQuality, theirs: StageQuality) -> tuple[int, int, int]:
    """Tests that both have, those that only mine has right, those that only theirs has."""
    good = [{each.test: each.right == each.asked for each in side.outcomes} for side in (mine, theirs)]
    both = good[0].keys() & good[1].keys()
    won = sum(good[0][test] and not good[1][test] for test in both)
    lost = sum(good[1][test] and not good[0][test] for test in both)
    return len(both), won, lost
