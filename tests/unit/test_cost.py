"""Money: by hand-made figures whose answers fit on a napkin, Decimals to the last place; and what a cost file may not say."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import yaml

from tests.cluster.layout import TREE
from tests.support.comparable import a_comparable, a_repetition
from tokenmark_decisions.cost import cost_of, paid
from tokenmark_decisions.ranking import ranked
from tokenmark_schemas.cost import CostFile
from tokenmark_schemas.documents import parse_costs
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import GpuUse, RunResult, StageResources, StageThroughput

EXAMPLE = TREE / "deploy" / "cost" / "cost-config.example.yaml"


def a_file(**changes: Any) -> CostFile:
    price = {"onDemandPerHour": "36", "source": "a list", "dated": "2030-01-01", **changes.pop("price", {})}
    return CostFile.model_validate({"name": "t", "prices": [price], **changes})


def a_run(*rates: float, name: str = "run", **throughput: Any) -> RunResult:
    """1,000 output tokens a second by default, as many prompt tokens again, 10 requests a second."""
    rates = rates or (1000.0, 1000.0, 1000.0)
    mean = sum(rates) / len(rates)
    reps = [a_repetition(k, {"ttft": [0.1]}, rate=rate / 10) for k, rate in enumerate(rates)]
    found = a_comparable(name, *reps)
    said = {
        "requests_per_s": mean / 100,
        "output_tokens_per_s": mean,
        "total_tokens_per_s": 2 * mean,
        "requests_per_s_whole": 1,
        "output_tokens_per_s_whole": 1,
    }
    stage = found.stages[0].model_copy(update={"throughput": StageThroughput(**{**said, **throughput})})
    return found.model_copy(update={"stages": [stage]})


def test_36_dollars_an_hour_at_1000_tokens_a_second_are_10_dollars_a_million() -> None:
    stage = cost_of(a_run(), a_file()).stages[0]
    assert stage.per_million_output_tokens == Decimal("10.000000")
    assert stage.per_million_total_tokens == Decimal("5.000000")
    assert stage.per_thousand_requests == Decimal("1.000000")
    assert stage.low is not None
    assert stage.high is not None
    assert Decimal("9.999") < stage.low < 10 < stage.high < Decimal("10.001"), "equal repetitions leave a clock's steps"


def test_an_input_price_and_an_output_price_add_up_to_what_was_paid() -> None:
    stage = cost_of(a_run(), a_file(outputToInputPrice="3")).stages[0]
    assert stage.per_million_input_tokens_blended == Decimal("2.500000")
    assert stage.per_million_output_tokens_blended == Decimal("7.500000")


def test_instances_and_overhead_multiply_the_hour() -> None:
    found = cost_of(a_run(), a_file(instances=2, overheadPercent="25"))
    assert (found.price.per_hour, found.price.per_instance_hour) == (Decimal("90.000000"), Decimal("45.000000"))
    assert found.run_total == Decimal("1.500000"), "one minute of it"


def test_tokens_of_requests_within_the_objectives_are_dearer_and_absent_without_objectives() -> None:
    assert cost_of(a_run(), a_file()).stages[0].per_million_good_output_tokens is None
    stage = cost_of(a_run(good_output_tokens_per_s=800.0), a_file()).stages[0]
    assert stage.per_million_good_output_tokens == Decimal("12.500000")


def test_a_stage_without_a_steady_window_has_no_price() -> None:
    stage = cost_of(a_run(output_tokens_per_s=None, total_tokens_per_s=None, requests_per_s=None), a_file()).stages[0]
    assert stage.per_million_output_tokens is None


def test_power_is_told_per_token_where_it_is_known() -> None:
    run = a_run()
    gpu = GpuUse(source="dcgm", power_w=500.0, samples=10, interval_s=5.0)
    run = run.model_copy(update={"stages": [run.stages[0].model_copy(update={"resources": StageResources(gpu=gpu)})]})
    stage = cost_of(run, a_file(electricityPerKilowattHour="0.36")).stages[0]
    assert stage.joules_per_output_token == Decimal("0.500000")
    assert stage.electricity_per_million_output_tokens == Decimal("0.050000"), "0.139 kWh"


def test_a_day_pays_for_idle_hours_and_for_what_warms_up() -> None:
    """10 requests/s an instance; one hour asks for 25, the others for 5: three instances then, one else, two added for ten minutes."""
    curve = {"requestsPerSecondByHour": ["25", *["5"] * 23], "scaling": "Hourly", "warmupMinutes": 10}
    day = cost_of(a_run(), a_file(loadCurve=curve)).day
    assert day is not None
    assert day.busiest_instances == 3
    assert day.instance_hours == Decimal("26.333333"), "23 + 3 + 2/6"
    assert day.per_day == Decimal("948.000000")
    served = Decimal(25 + 5 * 23) * 3600 * 100
    assert day.per_million_output_tokens == (Decimal(948) / served * 10**6).quantize(Decimal("0.000001"))
    fixed = cost_of(a_run(), a_file(loadCurve={**curve, "scaling": "Fixed"})).day
    assert fixed is not None
    assert fixed.instance_hours == Decimal("72.000000")


def test_an_api_is_cheaper_below_a_use_that_is_told() -> None:
    api = {"name": "api", "inputPerMillion": "5", "outputPerMillion": "15", "source": "a list", "dated": "2030-01-01"}
    found = cost_of(a_run(), a_file(api=api)).break_even
    assert found is not None
    assert found.api_per_million_output_tokens == Decimal("20.000000"), "a million prompt tokens come with them"
    assert found.utilisation == Decimal("0.500000")
    assert found.output_tokens_per_day == Decimal("43200000")


def test_the_most_particular_price_that_fits_is_taken() -> None:
    def price(**more: str) -> dict[str, str]:
        return {"onDemandPerHour": str(len(more)), "source": "s", "dated": "2030-01-01", **more}

    file = CostFile.model_validate(
        {"name": "t", "prices": [price(), price(provider="a"), price(provider="a", instanceType="x")]}
    )
    assert paid(file, {"provider": "a", "node_instance_type": "x"}).per_hour == 2
    assert paid(file, {"provider": "a", "node_instance_type": "y"}).per_hour == 1
    assert paid(file, {}).per_hour == 0


def test_no_price_for_the_place_is_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidInput, match=r"no price for where the run was \(provider b, .*it has: a"):
        paid(a_file(price={"provider": "a"}), {"provider": "b"})
    with pytest.raises(InvalidInput, match="any has no Spot price"):
        paid(a_file(purchase="Spot"), {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prices": []}, "prices"),
        ({"currency": "dollars"}, "currency"),
        ({"overheadPercent": "-1"}, "overheadPercent"),
        ({"price": {"source": ""}}, "source"),
        ({"loadCurve": {"requestsPerSecondByHour": ["1"]}}, "requestsPerSecondByHour"),
    ],
)
def test_a_cost_file_that_says_nonsense_is_refused_by_its_field(changes: dict[str, Any], said: str) -> None:
    price = {"onDemandPerHour": "36", "source": "a list", "dated": "2030-01-01", **changes.pop("price", {})}
    text = yaml.safe_dump({"schemaVersion": "cost/v1", "name": "t", "prices": [price], **changes})
    with pytest.raises(InvalidInput, match=said):
        parse_costs(text, "prices.yaml")


def test_the_example_is_a_cost_file_whose_every_price_says_that_it_is_one() -> None:
    found = parse_costs(EXAMPLE.read_text(), EXAMPLE.name)
    assert all(price.example for price in found.prices)
    assert found.api is not None
    assert found.api.example
    run = cost_of(
        a_run(),
        found.model_copy(
            update={
                "prices": [found.prices[0].model_copy(update={"provider": None, "instance_type": None, "region": None})]
            }
        ),
    )
    assert any("nobody's offer" in note for note in run.notes)


def test_runs_are_ranked_by_price_and_those_that_cannot_be_told_apart_are_a_tie() -> None:
    near, far = (1000.0, 1010.0, 990.0), (700.0, 710.0, 690.0)
    runs = [
        (name, run, cost_of(run, a_file()))
        for name, run in (("far", a_run(*far)), ("a", a_run(*near)), ("b", a_run(*(r * 1.002 for r in near))))
    ]
    places = ranked(runs)
    assert [(place.source, place.tied) for place in places] == [("b", False), ("a", True), ("far", False)]
