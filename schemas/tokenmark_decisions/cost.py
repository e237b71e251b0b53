"""A result and prices -> what it cost (pure). Formulas and their sources: docs/cost-model.md.

Money is Decimal. Throughput comes as a float from the result; it becomes a Decimal by its shortest text, once, at the door.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from tokenmark_schemas.cost import BreakEven, CostFile, DayCost, LoadCurve, PaidPrice, Price, RunCost, StageCost
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult, StageResult

from .two_level import Contrast, Side

MILLION, HOUR = Decimal(10) ** 6, Decimal(3600)
DIGITS = Decimal("0.000001")


def cost_of(result: RunResult, file: CostFile) -> RunCost:
    """Raises InvalidInput where the file has no price for where the run was."""
    price = paid(file, result.provenance.environment)
    stages = [_stage(stage, price, file) for stage in result.stages]
    best = _capacity(result.stages)
    return RunCost(
        currency=file.currency, price=price, run_total=_run_total(price, result), stages=stages,
        day=_day(best, price, file.load_curve) if best and file.load_curve else None,
        break_even=_break_even(best, price, file) if best and file.api else None, notes=_notes(result, price, file),
    )  # fmt: skip


def paid(file: CostFile, environment: Mapping[str, str]) -> PaidPrice:
    """The most particular price that fits the run's place."""
    place = {
        "provider": environment.get("provider"),
        "instance_type": environment.get("node_instance_type"),
        "region": environment.get("region"),
    }
    fitting = [price for price in file.prices if _fits(price, place)]
    if not fitting:
        said = ", ".join(f"{name} {value or 'not known'}" for name, value in place.items())
        has = "; ".join(_named(price) for price in file.prices[:6])
        raise InvalidInput(f"cost file {file.name} has no price for where the run was ({said}); it has: {has}")
    best = max(
        fitting,
        key=lambda price: (price.instance_type is not None, price.region is not None, price.provider is not None),
    )
    hourly = best.of(file.purchase)
    if hourly is None:
        raise InvalidInput(f"cost file {file.name}: {_named(best)} has no {file.purchase} price")
    instance = hourly * (1 + file.overhead_percent / 100)
    return PaidPrice(
        per_hour=_money(instance * file.instances), per_instance_hour=_money(instance), instances=file.instances, purchase=file.purchase,
        overhead_percent=file.overhead_percent, provider=best.provider, instance_type=best.instance_type, source=best.source,
        dated=best.dated, example=best.example,
    )  # fmt: skip


def _named(price: Price) -> str:
    return " ".join(filter(None, (price.provider, price.instance_type, price.region))) or "any"


def _fits(price: Price, place: Mapping[str, str | None]) -> bool:
    said = (price.provider, price.instance_type, price.region)
    return all(mine in (None, its) for mine, its in zip(said, place.values(), strict=True))


def _stage(stage: StageResult, price: PaidPrice, file: CostFile) -> StageCost:
    out, total, requests = (
        _decimal(value)
        for value in (
            stage.throughput.output_tokens_per_s,
            stage.throughput.total_tokens_per_s,
            stage.throughput.requests_per_s,
        )
    )
    low, high = _interval(stage, price.per_hour)
    prompts = total - out if total is not None and out is not None else None
    blended = (prompts + file.output_to_input_price * out) if prompts is not None and out is not None else None
    per_input = _per(price.per_hour, blended, MILLION)
    watts = _decimal(stage.resources.gpu.power_w) if stage.resources and stage.resources.gpu else None
    joules = watts / out if watts is not None and out else None
    return StageCost(
        stage=stage.name, output_tokens_per_s=out,
        per_million_output_tokens=_per(price.per_hour, out, MILLION), low=low, high=high,
        per_million_total_tokens=_per(price.per_hour, total, MILLION),
        per_million_input_tokens_blended=per_input,
        per_million_output_tokens_blended=_money(per_input * file.output_to_input_price) if per_input is not None else None,
        per_thousand_requests=_per(price.per_hour, requests, Decimal(1000)),
        per_million_good_output_tokens=_per(price.per_hour, _decimal(stage.throughput.good_output_tokens_per_s), MILLION),
        egress_per_million_output_tokens=_egress(stage, file),
        joules_per_output_token=_money(joules) if joules is not None else None,
        electricity_per_million_output_tokens=_electricity(joules, file),
    )  # fmt: skip


def _per(per_hour: Decimal, per_s: Decimal | None, units: Decimal) -> Decimal | None:
    """price / (rate x 3600) x units."""
    return _money(per_hour / (per_s * HOUR) * units) if per_s else None


def _interval(stage: StageResult, per_hour: Decimal) -> tuple[Decimal | None, Decimal | None]:
    """Of the price per million, over the repetitions: Student's t of the logarithms of their throughput."""
    rates = [rep.output_tokens_per_s for rep in stage.repetitions]
    known = [rate for rate in rates if rate]
    if len(known) < 2 or len(known) < len(rates) or not stage.throughput.output_tokens_per_s:
        return None, None
    spread = Contrast((Side([math.log(rate) for rate in known], [0.0] * len(known)),), (1.0,))
    low, high = spread.interval()
    half = (high - low) / 2
    middle = stage.throughput.output_tokens_per_s
    return tuple(_per(per_hour, _decimal(middle * math.exp(sign * half)), MILLION) for sign in (1, -1))  # type: ignore[return-value]


def _egress(stage: StageResult, file: CostFile) -> Decimal | None:
    if file.egress_per_gigabyte is None or stage.traffic is None or not stage.tokens.output:
        return None
    return _money(
        file.egress_per_gigabyte * stage.traffic.received_bytes / Decimal(10) ** 9 / stage.tokens.output * MILLION
    )


def _electricity(joules: Decimal | None, file: CostFile) -> Decimal | None:
    if joules is None or file.electricity_per_kilowatt_hour is None:
        return None
    return _money(joules * MILLION / Decimal(3_600_000) * file.electricity_per_kilowatt_hour)


# --- a day, an API --------------------------------------------------------------------------------------------------


def _capacity(stages: Sequence[StageResult]) -> StageResult | None:
    """The stage that served most requests within the objectives, of those with a steady window; without objectives, most at all."""
    known = [stage for stage in stages if stage.throughput.requests_per_s and stage.throughput.output_tokens_per_s]
    return max(known, key=_good_requests, default=None)


def _good_requests(stage: StageResult) -> float:
    return (stage.throughput.requests_per_s or 0.0) * (1.0 if stage.goodput is None else stage.goodput)


def _day(stage: StageResult, price: PaidPrice, curve: LoadCurve) -> DayCost | None:
    capacity = _decimal(_good_requests(stage) / price.instances)
    tokens = _decimal((stage.throughput.output_tokens_per_s or 0.0) / (stage.throughput.requests_per_s or 1.0))
    asked = sum(curve.requests_per_second_by_hour, Decimal(0))
    if not capacity or not asked or not tokens:
        return None
    needed = [max(curve.minimum_instances, math.ceil(rate / capacity)) for rate in curve.requests_per_second_by_hour]
    busiest = max(needed)
    if curve.scaling == "Fixed":
        hours = Decimal(24 * busiest)
    else:
        added = sum(max(0, b - a) for a, b in zip([needed[-1], *needed], needed, strict=False))
        hours = Decimal(sum(needed)) + Decimal(added * curve.warmup_minutes) / 60
    per_day = price.per_instance_hour * hours
    return DayCost(
        stage=stage.name, requests_per_instance_s=_money(capacity), busiest_instances=busiest, instance_hours=_money(hours),
        per_day=_money(per_day), per_million_output_tokens=_money(per_day / (asked * HOUR * tokens) * MILLION),
        utilisation=_money(asked / (capacity * hours)),
    )  # fmt: skip


def _break_even(stage: StageResult, price: PaidPrice, file: CostFile) -> BreakEven | None:
    """The API's price of a million output tokens with the prompts that came with them, against the instances' price of an hour."""
    out, total = _decimal(stage.throughput.output_tokens_per_s), _decimal(stage.throughput.total_tokens_per_s)
    if file.api is None or not out or total is None:
        return None
    api = file.api.output_per_million + file.api.input_per_million * (total - out) / out
    if not api:
        return None
    own = price.per_hour / (out * HOUR) * MILLION
    use = own / api
    return BreakEven(
        api=file.api.name, stage=stage.name, api_per_million_output_tokens=_money(api), utilisation=_money(use),
        output_tokens_per_day=(price.per_hour * 24 / api * MILLION).quantize(Decimal(1)),
    )  # fmt: skip


# --- small things ---------------------------------------------------------------------------------------------------


def _notes(result: RunResult, price: PaidPrice, file: CostFile) -> list[str]:
    found = []
    if price.example:
        found.append(f"the price is an example and nobody's offer: {price.source}")
    if file.api and file.api.example:
        found.append(f"the price of {file.api.name} is an example")
    if result.imported is not None:
        found.append(f"{result.imported.tool} measured it: its own error is not known, and so not that of this")
    if result.verdict.state == "invalid":
        found.append("the run's verdict is invalid: its throughput is not to be trusted, and so this is not")
    return found


def _run_total(price: PaidPrice, result: RunResult) -> Decimal | None:
    if result.run.started_at is None or result.run.ended_at is None:
        return None
    began, ended = (
        datetime.fromisoformat(at.replace("Z", "+00:00")) for at in (result.run.started_at, result.run.ended_at)
    )
    return _money(price.per_hour * Decimal(str((ended - began).total_seconds())) / HOUR)


def _decimal(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(repr(value))


def _money(value: Decimal) -> Decimal:
    """Six places: a millionth of the currency."""
    return value.quantize(DIGITS, rounding=ROUND_HALF_EVEN)
