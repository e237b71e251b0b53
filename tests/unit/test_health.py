"""What makes the operator ask for its own restart: a watch that tells nothing, a queue that stands, a task that died."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from tests.support.builders import a_run
from tokenmark_operator.memory import POD_MEMORY, Memory
from tokenmark_operator.queue import WorkQueue
from tokenmark_operator.serve import STUCK_S, unhealthy

KEY = ("BenchmarkRun", "bench", "demo")


def versioned(version: str) -> dict[str, Any]:
    run = a_run()
    run["metadata"]["resourceVersion"] = version
    return run


def test_a_watch_that_misses_a_change_for_a_whole_resync_is_dead() -> None:
    memory = Memory()
    memory.see(KEY, versioned("1"), deleted=False)
    memory.resync("BenchmarkRun", [versioned("2")])
    assert memory.dead_watch is None
    memory.resync("BenchmarkRun", [versioned("2")])
    assert memory.dead_watch is not None
    assert "bench/demo" in memory.dead_watch


def test_a_watch_that_is_only_late_is_alive() -> None:
    memory = Memory()
    memory.see(KEY, versioned("1"), deleted=False)
    memory.resync("BenchmarkRun", [versioned("2")])
    memory.see(KEY, versioned("2"), deleted=False)
    memory.resync("BenchmarkRun", [versioned("2")])
    assert memory.dead_watch is None


def test_objects_that_a_list_no_longer_has_are_forgotten() -> None:
    memory = Memory()
    memory.see(KEY, versioned("1"), deleted=False)
    memory.resync("BenchmarkRun", [])
    assert memory.of_kind("BenchmarkRun") == []


def test_pods_are_remembered_after_they_are_gone_and_not_without_end() -> None:
    memory = Memory()
    for number in range(POD_MEMORY + 10):
        memory.see_pod({"metadata": {"uid": f"p{number}"}}, deleted=True)
    assert len(memory.pods) == POD_MEMORY
    assert memory.pods[f"p{POD_MEMORY}"]["gone"] is True


def controller(**changes: Any) -> Any:
    now = {"value": 0.0}
    queue: WorkQueue[str] = WorkQueue(lambda: now["value"])
    return SimpleNamespace(memory=Memory(), queue=queue, now=now, **changes)


def test_a_queue_that_does_not_move_is_unhealthy() -> None:
    subject = controller()
    subject.queue.add("a")
    assert unhealthy(subject, []) is None
    subject.now["value"] = STUCK_S + 1
    assert "waited" in (unhealthy(subject, []) or "")


def test_a_dead_watch_and_a_dead_task_are_unhealthy() -> None:
    subject = controller()
    subject.memory.dead_watch = "the watch on NetProbe has not told"
    assert unhealthy(subject, []) == "the watch on NetProbe has not told"

    async def story() -> str | None:
        task = asyncio.create_task(asyncio.sleep(0), name="resync")
        await task
        return unhealthy(controller(), [task])

    assert asyncio.run(story()) == "ended unexpectedly: resync"
