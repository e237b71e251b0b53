"""Money: `cost/v1`, the prices that people write down, and what a run then cost. Decimals as strings everywhere, never floats."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Contract, Text63, Text253, Text1024

Money = Annotated[Decimal, Field(ge=0, le=Decimal(10) ** 9, max_digits=18, decimal_places=9)]
Share = Annotated[Decimal, Field(ge=0, le=1000, max_digits=9, decimal_places=4)]
Purchase = Literal["OnDemand", "Spot", "Reserved"]


class Price(Contract):
    """One instance type's price an hour, as its source said on that date. `example`: made up, to show the file's shape."""

    provider: Text63 | None = Field(
        default=None, description="Any where it is not said, as of the instance type and the region."
    )
    instance_type: Text253 | None = None
    region: Text63 | None = None
    gpu_count: Annotated[int, Field(ge=0, le=1024)] | None = None
    on_demand_per_hour: Money | None = None
    spot_per_hour: Money | None = None
    reserved_per_hour: Money | None = None
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    dated: date
    example: bool = False

    def of(self, purchase: Purchase) -> Decimal | None:
        return {"OnDemand": self.on_demand_per_hour, "Spot": self.spot_per_hour, "Reserved": self.reserved_per_hour}[
            purchase
        ]


class ApiPrice(Contract):
    """A hosted API to break even with, per million tokens."""

    name: Text63
    input_per_million: Money
    output_per_million: Money
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    dated: date
    example: bool = False


class LoadCurve(Contract):
    """What the buyer's users ask for through a day. Fixed: as many instances all day as its busiest hour needs; Hourly: as many as each hour
    needs, and every one that is added is paid for `warmupMinutes` before it serves."""

    requests_per_second_by_hour: Annotated[list[Share], Field(min_length=24, max_length=24)]
    scaling: Literal["Fixed", "Hourly"] = "Fixed"
    minimum_instances: Annotated[int, Field(ge=0, le=10_000)] = 1
    warmup_minutes: Annotated[int, Field(ge=0, le=600)] = 10


class CostFile(Contract):
    """Prices and how they are bought. `overheadPercent` is what an instance costs beside its price (control plane, disks, balancers)."""

    schema_version: Literal["cost/v1"] = "cost/v1"
    name: Text63
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    prices: Annotated[list[Price], Field(min_length=1, max_length=512)]
    purchase: Purchase = "OnDemand"
    instances: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1, description="Behind the target that was measured."
    )
    overhead_percent: Share = Decimal(0)
    egress_per_gigabyte: Money | None = Field(default=None, description="Per 10⁹ bytes that leave for users.")
    electricity_per_kilowatt_hour: Money | None = Field(
        default=None, description="Where power is paid for by itself, as on own machines."
    )
    output_to_input_price: Share = Field(
        default=Decimal(4), description="How much dearer an output token is sold than an input token."
    )
    api: ApiPrice | None = None
    load_curve: LoadCurve | None = None

    @model_validator(mode="after")
    def _once_each(self) -> CostFile:
        keys = [(price.provider, price.instance_type, price.region) for price in self.prices]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ValueError(f"{' '.join(filter(None, twice))} has two prices; keep one, or tell them apart by region")
        return self


class PaidPrice(Contract):
    """What an hour of all instances cost, overhead included."""

    per_hour: Decimal
    per_instance_hour: Decimal
    instances: int
    purchase: Purchase
    overhead_percent: Decimal
    provider: str | None
    instance_type: str | None
    source: str
    dated: date
    example: bool


class StageCost(Contract):
    """`per_*` are of the steady window's throughput; `low` and `high` the 95 % interval of `per_million_output_tokens` over the
    repetitions. Null where there is nothing to divide by: no steady window, no objective, no price of power."""

    stage: str
    output_tokens_per_s: Decimal | None
    per_million_output_tokens: Decimal | None
    low: Decimal | None = None
    high: Decimal | None = None
    per_million_total_tokens: Decimal | None = None
    per_million_input_tokens_blended: Decimal | None = None
    per_million_output_tokens_blended: Decimal | None = None
    per_thousand_requests: Decimal | None = None
    per_million_good_output_tokens: Decimal | None = None
    egress_per_million_output_tokens: Decimal | None = None
    joules_per_output_token: Decimal | None = None
    electricity_per_million_output_tokens: Decimal | None = None


class DayCost(Contract):
    """The buyer's load curve served from one stage's capacity, idle hours and warm-up paid for."""

    stage: str
    requests_per_instance_s: Decimal = Field(description="That met every objective, where there are objectives.")
    busiest_instances: int
    instance_hours: Decimal
    per_day: Decimal
    per_million_output_tokens: Decimal
    utilisation: Decimal = Field(description="Of the capacity that was paid for.")


class BreakEven(Contract):
    """Against an API: at how much use of the instances, all day, both cost the same; above 1 the API is always cheaper."""

    api: str
    stage: str
    api_per_million_output_tokens: Decimal = Field(description="With the prompt tokens that came with them.")
    utilisation: Decimal
    output_tokens_per_day: Decimal


class RunCost(Contract):
    """`cost` of a result: what the run's own machines cost per unit of what they did."""

    currency: str
    price: PaidPrice
    run_total: Decimal | None = Field(
        description="The hours of the run itself, from its begin to its end; null where these are not known."
    )
    stages: list[StageCost]
    day: DayCost | None = None
    break_even: BreakEven | None = None
    notes: list[Text1024] = []

    @property
    def cheapest(self) -> StageCost | None:
        """The stage whose output tokens cost least; None where none has a price."""
        known = [(stage.per_million_output_tokens, k) for k, stage in enumerate(self.stages)]
        priced = [(price, k) for price, k in known if price is not None]
        return self.stages[min(priced)[1]] if priced else None
