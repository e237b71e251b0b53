"""`tokenmark explain`: what a word of a result means, from the tables that compute it."""

from __future__ import annotations

import difflib
import textwrap

import typer

from tokenmark_schemas.errors import InvalidInput

from ..analysis.verdict import BY_CODE, RULES
from ..samples.metrics import BY_ID, METRICS

LEGEND = """
due: when the schedule wanted it; sent: its bytes left; t1 … tk: arrival of each
chunk with text; end: the stream closed; N: output tokens.
"""
INDENT = "  "
OTHER = {
    "few_samples": "degraded: fewer than 100 answers, so that p95 cannot be given",
    "no_samples": "invalid: no request succeeded",
    "unsteady_warmup": "degraded: the warm-up's last answers took 1.25 times the first stage's p90 or more",
    "no_warmup": "degraded: the first requests paid for cold caches",
    "disrupted_attempt": "degraded: an earlier attempt loaded the target and was lost",
    "user_stamps": "degraded: no kernel arrival stamps here; read lag counts as latency",
    "interrupted": "invalid: the plan was not carried out",
    "network": "mean TTFT = round trip + getting the request there + losses + the engine; what stands before the engine is the network's, as a probe of the way and the run's own connections have it",
    "goodput": "requests that met every objective / requests due; a failed one met none",
}


def explain(word: str | None = typer.Argument(None, help="A metric or a rule, such as ttft; none lists all.")) -> None:
    """Say what a metric or a rule of the verdict means and how it is computed."""
    if word is None:
        _list()
        return
    name = word.lower()
    if name in BY_ID:
        row = BY_ID[name]
        print(
            f"{row.id} [{row.unit}], {row.better} is better\n\n  {row.id} = {row.formula}\n\n{row.help}\n{LEGEND}".rstrip()
        )
    elif name in BY_CODE:
        rule = BY_CODE[name]
        limits = f"degraded above {rule.degraded:g} {rule.unit}".rstrip()
        if rule.invalid is not None:
            limits += f", invalid above {rule.invalid:g} {rule.unit}"
        print(f"{rule.code}, a rule of the verdict\n\n  {rule.what}: {limits.rstrip()}\n\n{rule.remedy}")
    elif name in OTHER:
        print(f"{name}\n\n{textwrap.fill(OTHER[name], 80, initial_indent=INDENT, subsequent_indent=INDENT)}")
    else:
        near = difflib.get_close_matches(name, [*BY_ID, *BY_CODE, *OTHER], n=1)
        hint = f"did you mean {near[0]}?" if near else "see: tokenmark explain"
        raise InvalidInput(f"there is no metric and no rule {word!r}; {hint}")


def _list() -> None:
    for row in METRICS:
        print(f"{row.id:<22} {row.formula}")
    print(LEGEND)
    for name, meaning in [*((rule.code, rule.what) for rule in RULES), *OTHER.items()]:
        print(textwrap.fill(f"{name:<22} {meaning}", 80, subsequent_indent=" " * 23))
