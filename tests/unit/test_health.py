"""What makes the operator ask for its own restart: a watch that tells nothing, a queue that stands, a task that died."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from tests.support.builders import a_run
from tokenmark_operator.core.cache import POD_MEMORY, Cache
from tokenmark_operator.core.queue import WorkQueue
from tokenmark_operator.serve import STUCK_S, unhealthy
from tokenmark_operator.shared.admission import is_settled

KEY = ("BenchmarkRun", "bench", "demo")


def versioned(version: str) -> dict[str, Any]:
    run = a_run()
    run["metadata"]["resourceVersion"] = version
    return run


def test_a_watch_that_misses_a_change_for_a_whole_resync_is_dead() -> None:
    cache = Cache()
    cache.see(KEY, versioned("1"), deleted=False)
    cache.resync("BenchmarkRun", [versioned("2")])
    assert cache.dead_watch is None
    cache.resync("BenchmarkRun", [versioned("2")])
    assert cache.dead_watch is not None
    assert "bench/demo" in cache.dead_watch


def test_a_watch_that_is_only_late_is_alive() -> None:
    cache = Cache()
    cache.see(KEY, versioned("1"), deleted=False)
    cache.resync("BenchmarkRun", [versioned("2")])
    cache.see(KEY, versioned("2"), deleted=False)
    cache.resync("BenchmarkRun", [versioned("2")])
    assert cache.dead_watch is None


def test_objects_that_a_list_no_longer_has_are_forgotten() -> None:
    cache = Cache()
    cache.see(KEY, versioned("1"), deleted=False)
    cache.resync("BenchmarkRun", [])
    assert cache.of_kind("BenchmarkRun") == []


def test_pods_are_remembered_after_they_are_gone_and_not_without_end() -> None:
    cache = Cache()
    for number in range(POD_MEMORY + 10):
        cache.see_pod({"metadata": {"uid": f"p{number}"}}, deleted=True)
    assert len(cache.pods) == POD_MEMORY
    assert cache.pods[f"p{POD_MEMORY}"]["gone"] is True


def controller(**changes: Any) -> Any:
    now = {"value": 0.0}
    queue: WorkQueue[str] = WorkQueue(lambda: now["value"])
    return SimpleNamespace(cache=Cache(), queue=queue, now=now, **changes)


def test_a_queue_that_does_not_move_is_unhealthy() -> None:
    subject = controller()
    subject.queue.add("a")
    assert unhealthy(subject, []) is None
    subject.now["value"] = STUCK_S + 1
    assert "waited" in (unhealthy(subject, []) or "")


def test_a_dead_watch_and_a_dead_task_are_unhealthy() -> None:
    subject = controller()
    subject.cache.dead_watch = "the watch on NetProbe has not told"
    assert unhealthy(subject, []) == "the watch on NetProbe has not told"

    async def story() -> str | None:
        task = asyncio.create_task(asyncio.sleep(0), name="resync")
        await task
        return unhealthy(controller(), [task])

    assert asyncio.run(story()) == "ended unexpectedly: resync"


def finished(number: int) -> dict[str, Any]:
    run = a_run(f"r{number}")
    at = f"2030-01-{1 + number // 1000:02d}T{number // 60 % 24:02d}:{number % 60:02d}:00Z"
    run["status"] = {"completionTime": at, "observedGeneration": 1, "summary": [{"stage": "c1"}],
                     "conditions": [{"type": "Finished", "status": "True", "reason": "Completed", "message": "x" * 99}]}  # fmt: skip
    return run


def test_of_thousands_of_finished_runs_only_the_newest_are_kept_whole() -> None:
    cache, runs = Cache(keep_whole=50), [finished(number) for number in range(1000)]
    for run in runs:
        cache.see(("BenchmarkRun", "bench", run["metadata"]["name"]), run, deleted=False)
    assert len(cache.of_kind("BenchmarkRun")) == 1000
    whole = {body["metadata"]["name"] for body in cache.of_kind("BenchmarkRun") if "summary" in body["status"]}
    assert {f"r{number}" for number in range(950, 1000)} <= whole
    assert len(whole) <= 100
    cache.resync("BenchmarkRun", [cache.kept("BenchmarkRun", run) for run in runs])
    again = {body["metadata"]["name"] for body in cache.of_kind("BenchmarkRun") if "summary" in body["status"]}
    assert {f"r{number}" for number in range(950, 1000)} <= again
    assert len(again) <= 100
    assert all(is_settled(body) for body in cache.of_kind("BenchmarkRun"))
