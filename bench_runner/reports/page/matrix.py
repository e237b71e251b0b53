"""A matrix as one HTML page: what to choose first, then model by quantisation at a glance, then every cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tokenmark_decisions.rating import in_a_matrix
from tokenmark_decisions.recommend import Key, lost
from tokenmark_schemas.matrix import MatrixResult, MatrixRow
from tokenmark_schemas.quality import StageQuality

from ..cost import money
from ..matrix import called
from .figures import FORMATS, Cell, Figure, Section, Table
from .html import page

PLACES = (
    "client_cpu_model",
    "accelerator",
    "instance_type",
    "cluster_label",
    "provider",
)  # what the machine is called by
HEAT = (
    ("Tokens/s of one answer", "tokens_per_s", "rate", True), ("Time to first token", "ttft_mean_s", "seconds", False),
    ("Documents an hour", "per_hour", "count", True), ("Right answers", "accuracy", "share", True), ("Code, of 10", "code_score", "rate", True),
)  # fmt: skip


def matrix_page(result: MatrixResult, answers: dict[Key, StageQuality]) -> str:
    known = [result.machine[name] for name in PLACES if name in result.machine]
    title = f"Models on {known[0] if known else 'this machine'}"
    states = [row.state for row in result.rows]
    verdict = "interrupted" if result.interrupted else "complete" if set(states) <= {"done"} else "with gaps"
    subtitle = f"{states.count('done')} of {len(states)} cells measured · {result.depth} · {_minute(result.started_at)} to {_minute(result.ended_at)}"
    sections = [
        _choice(result),
        *_heat(result.rows, result.uses),
        _cells(result.rows),
        _quality(answers),
        _gaps(result.rows),
        _machine(result),
    ]
    return page(title, verdict, subtitle, [section for section in sections if section is not None], [])


def _choice(result: MatrixResult) -> Section:
    rows: list[Sequence[Cell]] = [
        (each.use, each.model, each.quantization, each.why) for each in result.recommendations
    ]
    table = [Table(("For", "Model", "Quantisation", "Because"), rows)] if rows else []
    return Section("choice", "What to choose", [*([] if rows else ["Nothing was measured."]), *result.warnings], table)


def _heat(rows: Sequence[MatrixRow], about: Mapping[str, str]) -> list[Section]:
    """A figure of each use, models downwards, quantisations across: the best of all is darkest. Of tests how fast they were answered says little."""
    found = []
    for use, own in _by_use(rows).items():
        judged = any(row.accuracy is not None for row in own)
        told = [figure for figure in HEAT if any(getattr(row, figure[1]) is not None for row in own)]
        tables = [_heat_table(own, *figure) for figure in told if (figure[1] == "accuracy") == judged]
        if tables:
            means = [about[own[0].profile]] if own[0].profile in about else []
            found.append(Section(f"use-{use.replace(' ', '-')}", use.capitalize(), means, tables))
    return found


def _by_use(rows: Sequence[MatrixRow]) -> dict[str, list[MatrixRow]]:
    """Ways to start a server stand side by side, as quantisations do."""
    found: dict[str, list[MatrixRow]] = {}
    for row in rows:
        found.setdefault(" ".join(filter(None, (row.profile, row.part))), []).append(row)
    return found


def _heat_table(rows: Sequence[MatrixRow], title: str, member: str, kind: str, more: bool) -> Table:
    values = {(row.model, f"{row.quantization} {row.way}".strip()): getattr(row, member) for row in rows}
    known = [value for value in values.values() if value is not None]
    models, quants = (list(dict.fromkeys(key[at] for key in values)) for at in (0, 1))
    share = _share(known, more=more)

    def cell(model: str, quantization: str) -> Cell:
        value = values.get((model, quantization))
        return Figure(FORMATS[kind](value), kind=kind, sort=value, heat=None if value is None else share(value))

    return Table((title, *quants), [(model, *(cell(model, quant) for quant in quants)) for model in models])


def _share(known: Sequence[float], *, more: bool) -> Callable[[float], float]:
    """Of the table's best: what is nearly as good is nearly as dark."""
    best = max(known) if more else min(known)
    if more:
        return lambda value: value / best if best else 0.0
    return lambda value: best / value if value else 1.0


def _cells(rows: Sequence[MatrixRow]) -> Section:
    heads = (
        "Model",
        "Quantisation",
        "Use",
        "TTFT",
        "TPOT",
        "Prefill tokens/s",
        "Tokens/s",
        "An hour",
        "Kept",
        "Right",
        "95 % from",
        "to",
        "Memory",
        "Worked out",
        "Load",
        "Joules a token",
        "A million tokens",
        "Rating",
        "Verdict",
    )
    table = [
        (
            row.model, row.quantization, called(row), _figure(row.ttft_mean_s, "seconds"), _figure(row.tpot_mean_s, "seconds"),
            _figure(row.prefill_tokens_per_s, "rate"), _figure(row.tokens_per_s, "rate"), _figure(row.per_hour, "count"), _figure(row.kept, "share"),
            _figure(row.accuracy, "share"), *(_figure(end, "share") for end in row.accuracy_ci95 or (None, None)), _figure(row.held_bytes, "bytes"),
            _figure(row.needed_bytes, "bytes"), _figure(row.load_s, "seconds"), _figure(row.joules_per_token, "rate"),
            money(row.per_million_output_tokens, row.currency or ""), in_a_matrix(row.rating) if row.rating else "–", row.verdict or row.state,
        )
        for row in rows
    ]  # fmt: skip
    note = "TTFT, TPOT: means. Kept: speed of the last third of the requests beside that of the first. Memory: held by the server, and what was worked out before."
    return Section("cells", "Every cell", [], [Table(heads, table, note)])


def _quality(answers: dict[Key, StageQuality]) -> Section | None:
    if not answers:
        return None
    kinds = list(dict.fromkeys(share.kind for quality in answers.values() for share in quality.kinds))
    by_kind: list[Sequence[Cell]] = [
        (
            *key,
            f"{quality.right} of {quality.asked}",
            *({s.kind: f"{s.right} of {s.asked}" for s in quality.kinds}.get(kind, "–") for kind in kinds),
        )
        for key, quality in answers.items()
    ]
    tables = [Table(("Model", "Quantisation", "Right", *kinds), by_kind)]
    if compared := lost(answers):
        rows: list[Sequence[Cell]] = [
            (
                each.name,
                each.reference,
                str(each.tests),
                str(each.won),
                str(each.lost),
                each.p.removeprefix("= "),
                "worse" if each.worse else "different" if each.differs else "a tie",
            )
            for each in compared
        ]
        note = "Tests that only one of the two answered right; p by McNemar's exact test, corrected for several (Holm). Above 0.05 it is a tie."
        tables.append(Table(("Quantisation", "Beside", "Tests", "Won", "Lost", "p", "So it is"), rows, note))
    return Section("answers", "Quality", [], tables)


def _gaps(rows: Sequence[MatrixRow]) -> Section | None:
    gaps: list[Sequence[Cell]] = [(row.cell, row.state, row.reason or "–") for row in rows if row.state != "done"]
    return Section("gaps", "Not measured", [], [Table(("Cell", "State", "Why"), gaps)]) if gaps else None


def _machine(result: MatrixResult) -> Section:
    rows: list[Sequence[Cell]] = [
        *result.machine.items(),
        *result.settings.items(),
        ("fingerprint", result.fingerprint),
    ]
    limits: list[Sequence[Cell]] = [
        (name.replace("_", " "), str(value)) for name, value in result.limits.snake().items()
    ]
    return Section(
        "machine",
        "Machine and settings",
        ["Matrices of the same fingerprint can be compared."],
        [Table(("", ""), rows), Table(("Limit", "Value"), limits)],
    )


def _figure(value: float | None, kind: str) -> Cell:
    return Figure(FORMATS[kind](value), kind=kind, sort=value)


def _minute(moment: str) -> str:
    return f"{moment[:10]} {moment[11:16]} UTC"
