"""What a run cost, as people read it (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from rich.table import Table
from rich.text import Text

from tokenmark_decisions.ranking import Place
from tokenmark_schemas.cost import RunCost, StageCost

SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}
COLUMNS = (
    ("out", "per_million_output_tokens"), ("all", "per_million_total_tokens"), ("good out", "per_million_good_output_tokens"),
    ("1,000 req", "per_thousand_requests"), ("egress", "egress_per_million_output_tokens"),
    ("power", "electricity_per_million_output_tokens"),
)  # fmt: skip


def money(value: Decimal | None, currency: str) -> str:
    """Three significant digits at least, cents where there are any; a dash where there is no value."""
    if value is None:
        return "–"
    sign = SIGNS.get(currency, f"{currency} ")
    if value == 0 or value >= 1:
        return f"{sign}{value:,.2f}"
    return f"{sign}{value:.3g}" if value >= Decimal("0.001") else f"{sign}{value:.6f}"


def price_line(cost: RunCost) -> str:
    price = cost.price
    where = " ".join(filter(None, (price.provider, price.instance_type)))
    each = f"{price.instances} × " if price.instances > 1 else ""
    extra = f" + {price.overhead_percent.normalize():f} %" if price.overhead_percent else ""
    return f"{money(price.per_hour, cost.currency)} an hour ({each}{where or 'instance'}, {price.purchase}{extra}; {price.source}, {price.dated})"


def cost_lines(cost: RunCost | None) -> Iterator[Text]:
    """Under a run's table: the cheapest stage, what it is made of, what to know of it."""
    if cost is None:
        return
    best = cost.cheapest
    of_requests = [stage for stage in cost.stages if stage.per_thousand_requests is not None]
    if best is None and of_requests:  # a database's answers are no tokens
        least = min(of_requests, key=lambda stage: stage.per_thousand_requests or 0)
        said = f"{money(least.per_thousand_requests, cost.currency)} a thousand requests at {least.stage}"
        yield Text.assemble(("cost      ", "bold"), f"{said}; {price_line(cost)}")
        return
    said = (
        f"{_with_interval(best, cost.currency)} a million output tokens at {best.stage}"
        if best
        else "no stage had a steady window"
    )
    yield Text.assemble(("cost      ", "bold"), f"{said}; {price_line(cost)}")
    for note in cost.notes:
        yield Text(f"  · {note}")


def _with_interval(stage: StageCost, currency: str) -> str:
    text = money(stage.per_million_output_tokens, currency)
    return text if stage.low is None else f"{text} ({money(stage.low, currency)} … {money(stage.high, currency)})"


def cost_table(cost: RunCost) -> Table:
    """A row a stage; columns that nothing has a value for are left out."""
    shown = [(head, name) for head, name in COLUMNS if any(getattr(stage, name) is not None for stage in cost.stages)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("stage", no_wrap=True)
    for head, _ in shown:
        table.add_column(f"{head}", justify="right", no_wrap=True)
    table.add_column("95 % of out", justify="right", no_wrap=True)
    for stage in cost.stages:
        between = (
            "–" if stage.low is None else f"{money(stage.low, cost.currency)} … {money(stage.high, cost.currency)}"
        )
        table.add_row(stage.stage, *(money(getattr(stage, name), cost.currency) for _, name in shown), between)
    return table


def further_lines(cost: RunCost) -> Iterator[str]:
    """A day of the buyer's load, and an API in its place."""
    day, api = cost.day, cost.break_even
    if day is not None:
        yield (
            f"a day of your load: {money(day.per_day, cost.currency)}, {money(day.per_million_output_tokens, cost.currency)} a million output tokens; "
            f"{day.busiest_instances} instances in the busiest hour, {day.instance_hours.normalize():f} instance hours, "
            f"{100 * day.utilisation:.0f} % of them used ({day.stage}: {day.requests_per_instance_s:.3g} requests/s each)"
        )
    if api is not None:
        level = f"{100 * api.utilisation:.0f} % of {api.stage}'s throughput all day ({api.output_tokens_per_day:,} output tokens)"
        never = "the API is cheaper at any use" if api.utilisation > 1 else f"cheaper than the API above {level}"
        yield f"{api.api}: {money(api.api_per_million_output_tokens, cost.currency)} a million output tokens with their prompts; {never}"


def ranking_lines(places: list[Place]) -> Iterator[str]:
    """Cheapest first; who shares a place is a tie: their repetitions do not tell them apart."""
    rank = 0
    for number, place in enumerate(places, start=1):
        rank = rank if place.tied else number
        more = "tie" if place.tied else "cheapest" if number == 1 else f"+{100 * place.share_above_first:.1f} %"
        yield f"{rank}. {place.source}: {money(place.price, place.currency)} a million output tokens at {place.stage} ({more})"
