"""To the version after this one and back, with both charts, while runs run: an operator that comes finds what the other left,
and loses or doubles nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import next_version, release
from tests.support.lab import Lab, condition, long_stage, run_object

pytestmark = pytest.mark.trial


@pytest.fixture
def newer(lab: Lab) -> Iterator[dict[str, str]]:
    """Images of the version after this one; this one is installed again afterwards."""
    yield next_version.build_and_load(lab.cluster)
    release.install(lab.cluster, lab.images, *release.settings(lab.cluster))


def once_and_whole(lab: Lab, name: str) -> None:
    run = lab.finished(name, timeout_s=150)
    assert condition(run, "Succeeded")["reason"] == "Completed", lab.explain()
    assert len(run["status"]["attempts"]) == 1
    assert len(lab.runner_pods(name)) == 1
    assert lab.result(f"{name}-result")["stages"][0]["requests"]["succeeded"] > 10


def test_an_upgrade_and_a_rollback_in_the_middle_of_runs_lose_and_double_nothing(
    lab: Lab, newer: dict[str, str]
) -> None:
    lab.simulator()
    lab.apply(run_object("before"))
    once_and_whole(lab, "before")
    lab.apply(run_object("upgraded", stages=long_stage(25)))
    lab.running_pod("upgraded")
    lab.apply(run_object("queued-then", stages=long_stage(4)))
    release.install(lab.cluster, newer, *release.settings(lab.cluster), chart=next_version.chart())
    once_and_whole(lab, "upgraded")
    once_and_whole(lab, "queued-then")
    lab.apply(run_object("rolled-back", stages=long_stage(25)))
    lab.running_pod("rolled-back")
    told = lab.get("brun", "rolled-back") or {}
    assert told["spec"]["execution"]["nextField"] == told["status"]["nextStatus"] == 7, "it is the newer one's object"
    lab.apply(run_object("queued-now", stages=long_stage(4)))
    release.install(lab.cluster, lab.images, *release.settings(lab.cluster))
    once_and_whole(lab, "rolled-back")
    once_and_whole(lab, "queued-now")
    for name in ("before", "upgraded", "queued-then"):
        assert condition(lab.get("brun", name) or {}, "Succeeded")["reason"] == "Completed", lab.explain()
        assert len(lab.runner_pods(name)) == 1


def test_what_only_the_newer_one_knows_is_left_to_it(lab: Lab, newer: dict[str, str]) -> None:
    """The CRD is a version ahead of the operator, as in the seconds of an upgrade."""
    crd = next_version.chart().parents[2] / "deploy" / "crds" / "benchmarkruns.yaml"
    lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(crd))
    lab.simulator()
    lab.apply(run_object("ahead"))
    waiting = lab.reason("ahead", "NewerSpec", timeout_s=30)
    assert "spec.execution.nextField" in condition(waiting, "Succeeded")["message"]
    release.install(lab.cluster, newer, *release.settings(lab.cluster), chart=next_version.chart())
    once_and_whole(lab, "ahead")
