"""Rows of a matrix, and what its models answered -> what to choose for what, and what to be warned of (pure).

Speed alone would always choose the smallest model. So a use's choice is the fastest among those whose answers are no worse than the best model's by more than
chance; where nothing was tested it is the fastest, and says so. "balanced" is the largest geometric mean of speed and accuracy, each as a share of the
matrix's best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tokenmark_schemas.matrix import MatrixRow, Recommendation
from tokenmark_schemas.quality import StageQuality
from tokenmark_schemas.result import Verdict

from .matrix_cells import by_likelihood
from .quality import Against, against, against_many, quality_of, ranked
from .rating import in_a_matrix

Key = tuple[str, str]  # model, quantisation
REFERENCE = "Q8_0"
SLOWED, SILENT, NEARLY = 0.9, 0.2, 0.97
OF_PERCENTILES = "few_samples"  # a reason of verdicts
MEMORY_GB = (4, 8, 16, 24, 32, 48, 64, 96, 128)
GB, SYSTEM = 10**9, 10**9  # what the rest of a machine keeps
PER_USE = {  # profile kind of figure: (member, whether more is better, how it is said)
    "interactive": ("e2e_mean_s", False, "{:.1f} s an answer"),
    "long-context": ("ttft_mean_s", False, "{:.1f} s until it answers"),
    "batch": ("per_hour", True, "{:,.0f} documents an hour"),
    "stress": ("output_tokens_per_s", True, "{:.1f} tokens/s to the end"),
}
AMONG = "fastest of those whose answers are no worse than the best model's"
OTHER = ("e2e_mean_s", False, "{:.1f} s an answer")


def recommendations(rows: Sequence[MatrixRow], answers: Mapping[Key, StageQuality]) -> list[Recommendation]:
    """One a profile that was measured, then quality and balance where answers were judged."""
    done = [row for row in rows if row.state == "done"]
    good = _no_worse_than_best(answers)
    nothing = "no model answered anything right" if answers else "answers were not judged"
    uses = dict.fromkeys(row.profile for row in done if row.accuracy is None and row.code_score is None)
    found = [
        *(_fastest(name, done, _parts(rows, name), good, nothing) for name in uses), _truest(done, answers, good), _balanced(done, answers),
        *_within_memory(done, answers, good), *_settings(done),
    ]  # fmt: skip
    return [each for each in found if each is not None]


def _parts(rows: Sequence[MatrixRow], profile: str) -> list[str | None]:
    """From the lightest to the heaviest, as the cells of each model stand."""
    return list(dict.fromkeys(row.part for row in rows if row.profile == profile))


def warnings(
    rows: Sequence[MatrixRow], answers: Mapping[Key, StageQuality], *, without_template: Sequence[str] = ()
) -> list[str]:
    """Sentences: what a quantisation loses, what slowed down, what is not to be trusted."""
    return [*_degraded(answers), *_silent(answers), *_templates(without_template), *_machine(rows)]


def verdict_of_means(verdict: Verdict) -> tuple[str, str | None]:
    """Of the means of a handful of answers, with its first reason: that there are too few for percentiles is nothing against them."""
    reasons = [reason.message for reason in verdict.reasons if reason.code != OF_PERCENTILES]
    if verdict.state == "degraded" and not reasons:
        return "valid", None
    return verdict.state, reasons[0] if reasons else None


def reference_of(model: str, answers: Mapping[Key, StageQuality]) -> Key | None:
    """What its other quantisations are compared with: Q8_0, else the one of the most bits; None where there is only one."""
    own = [key for key in answers if key[0] == model]
    if len(own) < 2:
        return None
    return next((key for key in own if key[1] == REFERENCE), max(own, key=lambda key: by_likelihood(key[1])[1]))


def lost(answers: Mapping[Key, StageQuality]) -> list[Against]:
    """Every quantisation beside its model's reference; names are `MODEL QUANTISATION`. Corrected within each model."""
    found = []
    for model in dict.fromkeys(key[0] for key in answers):
        if (reference := reference_of(model, answers)) is not None:
            own = {_name(key): quality for key, quality in answers.items() if key[0] == model}
            found += against(_name(reference), own)
    return found


def _degraded(answers: Mapping[Key, StageQuality]) -> Iterator[str]:
    for each in lost(answers):
        if each.worse:
            yield f"avoid {each.name}: beside {each.reference} it lost {each.lost} tests and won {each.won} (p {each.p})"
    for kind, each in _lost_by_kind(answers):
        if each.worse:
            yield f"avoid {each.name} for {kind}: beside {each.reference} it lost {each.lost} of {each.tests} tests and won {each.won} (p {each.p})"


def _lost_by_kind(answers: Mapping[Key, StageQuality]) -> list[tuple[str, Against]]:
    """The same by kind of test, corrected over all kinds and models together."""
    kinds = dict.fromkeys(share.kind for quality in answers.values() for share in quality.kinds)
    pairs = []
    for kind in kinds if len(kinds) > 1 else ():
        for key, quality in answers.items():
            if (reference := reference_of(key[0], answers)) is not None and key != reference:
                pairs.append(
                    (kind, (_name(key), _name(reference), _of_kind(quality, kind), _of_kind(answers[reference], kind)))
                )
    return list(zip([kind for kind, _ in pairs], against_many([pair for _, pair in pairs]), strict=True))


def _of_kind(quality: StageQuality, kind: str) -> StageQuality:
    outcomes = [each for each in quality.outcomes if each.kind == kind]
    return quality_of(outcomes, 0, len(outcomes))


def _silent(answers: Mapping[Key, StageQuality]) -> Iterator[str]:
    """A model that thinks may spend all its tokens on that."""
    for key, quality in answers.items():
        wrong = [each for each in quality.outcomes if each.right < each.asked]
        empty = sum(not each.answer.strip() for each in wrong)
        if wrong and empty >= SILENT * len(quality.outcomes):
            yield f"{_name(key)}: {empty} of its {len(wrong)} wrong answers hold no word; a model that thinks needs more than the profile's maxOutputTokens (--own-profiles)"


def _templates(without: Sequence[str]) -> Iterator[str]:
    if without:
        they = "has no chat template in its file" if len(without) == 1 else "have no chat template in their files"
        yield f"{', '.join(without)} {they}: the server falls back to one that the model may not know, and what it answers then says little of it"


def _machine(rows: Sequence[MatrixRow]) -> Iterator[str]:
    for row in rows:
        said = f"{row.model} {row.quantization}, {' '.join(filter(None, (row.profile, row.part, row.way)))}"
        if row.verdict not in (None, "valid"):
            yield f"{said}: the verdict is {row.verdict}{f': {row.doubt}' if row.doubt else ''}"
        if row.slowed and row.kept is not None and row.kept < SLOWED:
            yield f"{said}: at the end its answers came at {100 * row.kept:.0f} % of the speed of the beginning"
        if row.swapped_bytes:
            yield f"{said}: the machine swapped {row.swapped_bytes / 1e6:.0f} MB"
        if row.throttles:
            yield f"{said}: processors were slowed down by heat {row.throttles} times"


def _no_worse_than_best(answers: Mapping[Key, StageQuality]) -> set[Key] | None:
    """None where nothing was judged, or nothing was right."""
    if not any(quality.right for quality in answers.values()):
        return None
    names = {_name(key): key for key in answers}
    return {
        names[name] for place, name in ranked({_name(key): quality for key, quality in answers.items()}) if place == 1
    }


def _fastest(
    profile: str, done: Sequence[MatrixRow], parts: Sequence[str | None], good: set[Key] | None, nothing: str
) -> Recommendation | None:
    """By the heaviest part that any model did; rows that the instrument does not stand behind, or in which requests failed, only where there are no others."""
    member, more, said = PER_USE.get(profile, OTHER)
    own = [row for row in done if row.profile == profile and getattr(row, member) is not None]
    if not own:
        return None
    heaviest = max(own, key=lambda row: parts.index(row.part)).part
    tried = [row for row in own if row.part == heaviest]
    sound = [row for row in tried if not row.failed and row.verdict != "invalid"] or tried
    known = [row for row in sound if good is None or _key(row) in good] or sound
    best = (max if more else min)(known, key=lambda row: getattr(row, member))
    of = f" at {heaviest}" if heaviest and len(parts) > 1 else ""
    parts_said = [
        f"{said.format(getattr(best, member))}{of}",
        in_a_matrix(best.rating) if best.rating else None,
        best.way,
        f"{best.failed} requests failed" if best.failed else None,
    ]
    among = (
        f"fastest; {nothing}"
        if not good
        else AMONG
        if _key(best) in good
        else "fastest of those that were measured; others answer better, or it was not judged"
    )
    return Recommendation(
        use=profile,
        model=best.model,
        quantization=best.quantization,
        why=f"{', '.join(filter(None, parts_said))}; {among}",
    )


def _settings(done: Sequence[MatrixRow]) -> Iterator[Recommendation]:
    """Where several ways to start a server were compared: of each file the fastest, by tokens/s of an answer over all uses that every way was measured at; of
    those that are nearly as fast the one with the longest context."""
    for key in dict.fromkeys(map(_key, done)):
        paces: dict[str, dict[str, float]] = {}
        for row in done:
            if _key(row) == key and row.accuracy is None and row.tokens_per_s:
                paces.setdefault(row.way, {})[f"{row.profile} {row.part}"] = row.tokens_per_s
        common = set.intersection(*map(set, paces.values())) if len(paces) > 1 else set[str]()
        if not common:
            continue
        mean = {way: math.prod(found[use] for use in common) ** (1 / len(common)) for way, found in paces.items()}
        kept = {row.way: row.context or 0 for row in done if _key(row) == key and row.way in mean}
        fastest, worst = max(mean, key=lambda way: mean[way]), min(mean, key=lambda way: mean[way])
        near = [way for way in mean if mean[way] >= NEARLY * mean[fastest]]
        best = max(near, key=lambda way: (kept[way], mean[way]))
        longer = f", and more context than {fastest}, which is as fast" if kept[best] > kept[fastest] else ""
        why = f"{best}: {mean[best]:.1f} tokens/s, {mean[best] / mean[worst]:.2f} times as fast as {worst}{longer}"
        yield Recommendation(use="settings", model=key[0], quantization=key[1], why=why)


def _truest(
    done: Sequence[MatrixRow], answers: Mapping[Key, StageQuality], good: set[Key] | None
) -> Recommendation | None:
    """Of those that share the first place the smallest; what the best of them had stands beside it, for a tie is no proof that they are alike."""
    if not good:
        return None
    sizes = {_key(row): row.file_bytes for row in done if row.file_bytes}
    best, leader = (
        min(good, key=lambda key: sizes.get(key, math.inf)),
        max(good, key=lambda key: answers[key].accuracy or 0.0),
    )
    quality, most = answers[best], answers[leader]
    larger = ", and is larger" if leader in sizes else ""
    beside = (
        "" if best == leader else f"; {_name(leader)} has {most.right} of {most.asked}, which may be chance{larger}"
    )
    return Recommendation(
        use="quality", model=best[0], quantization=best[1], why=f"{quality.right} of {quality.asked} right{beside}"
    )


def _balanced(done: Sequence[MatrixRow], answers: Mapping[Key, StageQuality]) -> Recommendation | None:
    """Speeds of one use, that which most files were measured at, and of the best way to start each."""
    paces = [row for row in done if row.tokens_per_s and row.accuracy is None and _key(row) in answers]
    uses = Counter(use for use, _ in {((row.profile, row.part), _key(row)) for row in paces})
    if not uses:
        return None
    use = max(uses, key=lambda each: (uses[each], each[0] == "interactive"))
    both: dict[Key, tuple[float, float]] = {}
    for row in paces:
        if (row.profile, row.part) == use:
            pace = max(row.tokens_per_s or 0.0, both.get(_key(row), (0.0, 0.0))[0])
            both[_key(row)] = pace, answers[_key(row)].accuracy or 0.0
    fastest, truest = (max(pair[at] for pair in both.values()) for at in (0, 1))
    if not fastest or not truest:
        return None
    score = {key: math.sqrt(speed / fastest * accuracy / truest) for key, (speed, accuracy) in both.items()}
    best = max(score, key=lambda key: score[key])
    speed, accuracy = both[best]
    why = f"{speed:.1f} tokens/s and {100 * accuracy:.0f} % right: {score[best]:.2f} of the best of both"
    return Recommendation(use="balanced", model=best[0], quantization=best[1], why=why)


def _within_memory(
    done: Sequence[MatrixRow], answers: Mapping[Key, StageQuality], good: set[Key] | None
) -> Iterator[Recommendation]:
    """For machines of so much memory: of what fits, the most right answers (those no worse than the matrix's best first, then the share), then the fastest. Only
    where a size changes the choice."""
    held: dict[Key, int] = {}
    for row in done:
        if not row.gpu_layers:  # what lies on a GPU is not in it
            held[_key(row)] = max(held.get(_key(row), 0), row.held_bytes or 0)
    paces = {_key(row): row.tokens_per_s for row in done if row.accuracy is None and row.tokens_per_s}
    before: Key | None = None
    for size in MEMORY_GB:
        fit = [
            key
            for key, most in held.items()
            if key in answers and answers[key].right and 0 < most <= size * GB - SYSTEM
        ]
        if not fit:
            continue
        best = max(
            fit, key=lambda key: (bool(good) and key in (good or ()), answers[key].accuracy or 0.0, paces.get(key, 0.0))
        )
        if best != before:
            why = f"{answers[best].right} of {answers[best].asked} right in {held[best] / GB:.1f} GB"
            yield Recommendation(use=f"{size} GB", model=best[0], quantization=best[1], why=why)
        before = best


def _name(key: Key) -> str:
    return " ".join(key)


def _key(row: MatrixRow) -> Key:
    return row.model, row.quantization
