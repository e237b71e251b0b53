"""BenchmarkSchedule: when it is due, what becomes of the run before, what stays of the history."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.runs import SETTINGS, conditions
from tokenmark_operator.kinds.schedule import decide_schedule
from tokenmark_operator.observe.cron import last_due, next_due, problem
from tokenmark_operator.shared.facts import Decision, Refusal, ScheduleFacts
from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.crd import KINDS, crd
from tokenmark_schemas.schedule import BenchmarkSchedule

NOW = datetime(2026, 3, 4, 3, 0, 20, tzinfo=UTC)
RUN = {"target": {"model": "m", "endpoint": {"url": "http://e:8000"}}, "workloadRef": {"name": "smoke"}}
FIRST = f"nightly-{int(datetime(2026, 3, 4, 3, tzinfo=UTC).timestamp()) // 60}"


def a_schedule(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "tokenmark.dev/v1alpha1", "kind": "BenchmarkSchedule",
        "metadata": {"name": "nightly", "namespace": "n", "uid": "s-1", "generation": 1, "creationTimestamp": "2026-03-03T12:00:00Z"},
        "spec": {"schedule": "0 3 * * *", "template": {"spec": RUN}, **spec}, "status": status or {},
    }  # fmt: skip


def a_made_run(name: str, ended: str | None = None, *, good: bool = True) -> dict[str, Any]:
    said = [
        {"type": "Succeeded", "status": "True" if good else "False", "reason": "r"},
        {"type": "Finished", "status": "True", "reason": "r"},
    ]
    status = {"completionTime": ended, "conditions": said} if ended else {}
    return {
        "metadata": {"name": name, "namespace": "n", "creationTimestamp": ended or "2026-03-04T02:00:00Z"},
        "spec": {},
        "status": status,
    }


def step(cr: dict[str, Any], now: datetime = NOW, **known: Any) -> Decision:
    return decide_schedule(ScheduleFacts(cr=cr, now=now, settings=SETTINGS, **known))


def made(decision: Decision) -> list[str]:
    return [manifest["metadata"]["name"] for manifest in decision.create_first]


def test_what_is_due_is_made_once_under_a_name_of_its_time() -> None:
    decision = step(a_schedule(campaign="spring", template={"spec": RUN, "metadata": {"labels": {"team": "x"}}}))
    (run,) = decision.create_first
    assert run["metadata"]["name"] == FIRST
    assert run["metadata"]["labels"] | {"team": "x", "tokenmark.dev/schedule": "nightly"} == run["metadata"]["labels"]
    assert run["metadata"]["ownerReferences"][0]["uid"] == "s-1"
    assert run["spec"]["environment"]["labels"] == {"campaign": "spring"}
    assert BenchmarkRun.model_validate({**run, "metadata": {**run["metadata"], "namespace": "n"}})
    assert decision.status["lastScheduleTime"] == "2026-03-04T03:00:00Z"
    assert decision.status["nextScheduleTime"] == "2026-03-05T03:00:00Z"
    assert conditions(decision) == {"Accepted": ("True", "Accepted"), "Scheduled": ("True", "Scheduled")}
    assert decision.requeue_s == 60
    again = step(a_schedule(decision.status), now=NOW + timedelta(seconds=40))
    assert made(again) == []


def test_an_operator_that_was_killed_before_it_wrote_the_status_makes_the_same_run() -> None:
    assert made(step(a_schedule(), now=NOW + timedelta(minutes=5))) == made(step(a_schedule())) == [FIRST]


def test_of_many_missed_times_the_last_is_made_up_for() -> None:
    decision = step(a_schedule(schedule="*/10 * * * *"), now=datetime(2026, 3, 4, 3, 29, tzinfo=UTC))
    assert len(made(decision)) == 1
    assert decision.status["lastScheduleTime"] == "2026-03-04T03:20:00Z"


def test_nothing_is_due_before_its_time() -> None:
    decision = step(a_schedule(), now=datetime(2026, 3, 3, 13, tzinfo=UTC))
    assert made(decision) == []
    assert conditions(decision)["Scheduled"] == ("True", "Waiting")
    soon = step(a_schedule(), now=datetime(2026, 3, 4, 2, 59, 50, tzinfo=UTC))
    assert soon.requeue_s == 10


def test_what_was_missed_by_more_than_its_deadline_is_left_out_and_said() -> None:
    decision = step(a_schedule(startingDeadlineSeconds=600), now=NOW + timedelta(minutes=20))
    assert made(decision) == []
    assert conditions(decision)["Scheduled"] == ("False", "Missed")
    assert "missed by 1220 s" in decision.events[0].message
    assert decision.status["lastScheduleTime"] == "2026-03-04T03:00:00Z"


@pytest.mark.parametrize(
    ("policy", "is_made", "deleted"), [("Forbid", False, []), ("Allow", True, []), ("Replace", True, ["before"])]
)
def test_what_becomes_of_the_run_before(policy: str, is_made: bool, deleted: list[str]) -> None:
    decision = step(a_schedule(concurrencyPolicy=policy), runs=[a_made_run("before")])
    assert bool(made(decision)) is is_made
    assert decision.delete_runs == deleted
    assert decision.status["active"] == ["before"]
    if policy == "Forbid":
        assert conditions(decision)["Scheduled"] == ("False", "StillRunning")
        assert "before goes on" in decision.events[0].message


def test_a_run_of_that_very_time_is_not_replaced_by_itself() -> None:
    decision = step(a_schedule(concurrencyPolicy="Replace"), runs=[a_made_run(FIRST)])
    assert decision.delete_runs == []


def test_suspended_nothing_is_made_and_no_time_is_promised() -> None:
    decision = step(a_schedule(suspend=True))
    assert made(decision) == []
    assert conditions(decision)["Scheduled"] == ("False", "Suspended")
    assert "nextScheduleTime" not in decision.status
    resumed = step(a_schedule(decision.status), now=NOW + timedelta(hours=1))
    assert made(resumed) == [FIRST], "a missed one is made up for, as a CronJob does"


def test_of_the_finished_the_newest_stay() -> None:
    runs = [a_made_run(f"good-{day}", f"2026-02-{day:02}T04:00:00Z") for day in range(10, 15)]
    runs += [a_made_run(f"bad-{day}", f"2026-02-{day:02}T05:00:00Z", good=False) for day in range(10, 13)]
    decision = step(a_schedule(successfulRunsHistoryLimit=2, failedRunsHistoryLimit=1), runs=runs)
    assert sorted(decision.delete_runs) == ["bad-10", "bad-11", "good-10", "good-11", "good-12"]
    assert decision.status["lastSuccessfulTime"] == "2026-02-14T04:00:00Z"


def test_what_the_api_server_refuses_is_said_and_the_next_time_is_waited_for() -> None:
    refused = Refusal(
        "BenchmarkRun", "nightly-1", "CreateRefused", "the API server refuses BenchmarkRun nightly-1: quota"
    )
    decision = step(a_schedule(), refused=refused)
    assert made(decision) == []
    assert conditions(decision)["Scheduled"] == ("False", "CreateRefused")
    assert decision.status["lastScheduleTime"] == "2026-03-04T03:00:00Z"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"schedule": "61 3 * * *"}, r"schedule '61 3 \* \* \*' is none"),
        ({"schedule": "0 0 30 2 *"}, "never due|is none"),
        ({"timeZone": "Mars/Olympus"}, "timeZone Mars/Olympus is not known"),
        ({"template": {"spec": {"target": {"model": "m"}}}}, "set exactly one of endpoint, serviceRef"),
    ],
)
def test_a_schedule_that_is_none_is_refused_in_a_sentence(spec: dict[str, Any], said: str) -> None:
    decision = step(a_schedule(**spec))
    accepted = next(c for c in decision.status["conditions"] if c["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
    assert re.search(said, accepted["message"])
    assert made(decision) == []


def test_what_a_newer_operator_knows_is_left_to_it() -> None:
    decision = step(a_schedule(jitterSeconds=5))
    assert conditions(decision)["Accepted"] == ("False", "NewerSpec")
    assert made(decision) == []


def test_by_the_clock_of_its_own_zone_through_spring_and_autumn() -> None:
    """In 2026 Berlin's clocks go forward on 29 March at two and back on 25 October at three."""

    def days(month: int, first: int) -> list[str]:
        at, found = datetime(2026, month, first, tzinfo=UTC), []
        for _ in range(3):
            at = next_due("30 2 * * *", "Europe/Berlin", at)
            found.append(at.strftime("%d %H:%M"))
        return found

    spring, autumn = days(3, 28), days(10, 24)
    assert spring[0] == "28 01:30"
    assert spring[1].startswith("29 01:"), "half past two is skipped, and the run is not"
    assert spring[2] == "30 00:30"
    assert [day[:2] for day in autumn] == ["24", "25", "26"], "once on the night with two of them"
    assert last_due("0 3 * * *", "UTC", NOW, NOW - timedelta(hours=1)) == datetime(2026, 3, 4, 3, tzinfo=UTC)
    assert last_due("0 3 * * *", "UTC", datetime(2026, 3, 4, 3, tzinfo=UTC), NOW - timedelta(hours=1)) == datetime(
        2026, 3, 4, 3, tzinfo=UTC
    )
    assert last_due("0 3 * * *", "UTC", NOW, NOW) is None
    assert problem("@daily", "UTC") is not None, "names are put into five fields before"


@pytest.mark.parametrize(
    ("cron", "hours"), [("*/30 * * * *", 6), ("30 2 * * *", 6), ("0 * * * *", 6), ("15 1-3 * * *", 6)]
)
@pytest.mark.parametrize(
    "change", [datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 10, 24, 23, tzinfo=UTC)], ids=["spring", "autumn"]
)
def test_no_clock_change_makes_a_run_early_or_twice_or_the_operator_hot(
    change: datetime, cron: str, hours: int
) -> None:
    """Minute after minute through the night: what is due has come, and what is next is ahead."""
    since, made = change, []
    for minute in range(60 * hours):
        now = change + timedelta(minutes=minute, seconds=20)
        assert next_due(cron, "Europe/Berlin", now) > now
        if (due := last_due(cron, "Europe/Berlin", now, since)) is not None:
            assert since < due <= now
            assert now - due < timedelta(minutes=1), "made in its minute"
            since, made = due, [*made, due]
    assert made
    assert len(set(made)) == len(made)


def test_a_schedule_that_was_mended_waits_for_its_time() -> None:
    broken = step(a_schedule(schedule="61 3 * * *"), now=datetime(2026, 3, 3, 13, tzinfo=UTC))
    mended = step(a_schedule(broken.status), now=datetime(2026, 3, 3, 13, 1, tzinfo=UTC))
    assert conditions(mended) == {"Accepted": ("True", "Accepted"), "Scheduled": ("True", "Waiting")}


def test_names_and_macros() -> None:
    schedule = BenchmarkSchedule.model_validate(
        {k: v for k, v in a_schedule(schedule="@daily").items() if k != "status"}
    )
    assert schedule.spec.cron == "0 0 * * *"
    with pytest.raises(ValidationError, match="37 characters"):
        BenchmarkSchedule.model_validate({**a_schedule(), "metadata": {"name": "x" * 38}, "status": None})


def test_a_template_may_be_changed_though_a_run_may_not() -> None:
    by_name = {kind.kind: str(crd(kind)) for kind in KINDS}
    assert "oldSelf" in by_name["BenchmarkRun"]
    assert "oldSelf" not in by_name["BenchmarkSchedule"]
    assert "search needs objectives" in by_name["BenchmarkSchedule"], "the other rules hold there too"
