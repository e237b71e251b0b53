"""From this version to the one before and back, with both charts, while runs run: an operator that comes finds what the other
left, and loses or doubles nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import previous, release
from tests.conftest import SETTINGS
from tests.support.lab import Lab, condition, long_stage, run_object


@pytest.fixture
def other_version(lab: Lab) -> Iterator[dict[str, str]]:
    """Images of the version before; this one is installed again afterwards."""
    if not previous.is_known():
        pytest.skip("this clone has no history, and with it no version before this one")
    yield previous.build_and_load(lab.cluster)
    release.install(lab.cluster, lab.images, *SETTINGS)


def once_and_whole(lab: Lab, name: str) -> None:
    run = lab.finished(name, timeout_s=150)
    assert condition(run, "Succeeded")["reason"] == "Completed", lab.explain()
    assert len(run["status"]["attempts"]) == 1
    assert len(lab.runner_pods(name)) == 1
    assert lab.result(f"{name}-result")["stages"][0]["requests"]["succeeded"] > 10


def test_a_rollback_and_an_upgrade_in_the_middle_of_runs_lose_and_double_nothing(
    lab: Lab, other_version: dict[str, str]
) -> None:
    lab.simulator()
    lab.apply(run_object("before"))
    lab.finished("before")
    lab.apply(run_object("rolled-back", stages=long_stage(40)), run_object("queued-then", stages=long_stage(4)))
    lab.running_pod("rolled-back")
    release.install(lab.cluster, other_version, *SETTINGS, chart=previous.chart())
    once_and_whole(lab, "rolled-back")
    once_and_whole(lab, "queued-then")
    lab.apply(run_object("upgraded", stages=long_stage(40)), run_object("queued-now", stages=long_stage(4)))
    lab.running_pod("upgraded")
    release.install(lab.cluster, lab.images, *SETTINGS)
    once_and_whole(lab, "upgraded")
    once_and_whole(lab, "queued-now")
    for name in ("before", "rolled-back", "queued-then"):
        assert condition(lab.get("brun", name) or {}, "Succeeded")["reason"] == "Completed", lab.explain()
        assert len(lab.runner_pods(name)) <= 1
