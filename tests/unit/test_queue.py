"""The work queue: nobody is worked on twice at a time, nobody is forgotten, failures wait longer each time."""

from __future__ import annotations

import asyncio

from tokenmark_operator.core.queue import BACKOFF_S, WorkQueue


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_waits_once_however_often_it_is_added() -> None:
    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue(Clock())
        for _ in range(5):
            queue.add("a")
        assert queue.depth == 1
        assert await queue.take() == "a"
        assert queue.depth == 0

    asyncio.run(story())


def test_a_key_that_is_worked_on_is_visited_again_afterwards_and_not_beside() -> None:
    async def story() -> None:
        queue: WorkQueue[str] = WorkQueue(Clock())
        queue.add("a")
        await queue.take()
        queue.add("a")
        queue.add("b")
        assert await queue.take() == "b"
        queue.done("a")
        assert await asyncio.wait_for(queue.take(), 1) == "a"

    asyncio.run(story())


def test_the_earlier_of_two_visits_stands() -> None:
    async def story() -> None:
        clock = Clock()
        queue: WorkQueue[str] = WorkQueue(clock)
        queue.add("a", 50)
        queue.add("a", 10)
        queue.add("a", 90)
        clock.now = 11
        assert queue.depth == 1
        assert await queue.take() == "a"
        clock.now = 100
        assert queue.depth == 0

    asyncio.run(story())


def test_failures_back_off_and_a_success_forgets_them() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    delays = [queue.failed("a") for _ in range(len(BACKOFF_S) + 2)]
    assert delays == [*BACKOFF_S, BACKOFF_S[-1], BACKOFF_S[-1]]
    queue.succeeded("a")
    assert queue.failed("a") == BACKOFF_S[0]


def test_the_longest_wait_is_known() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a", 5)
    assert queue.oldest_s == 0
    clock.now = 65
    assert queue.oldest_s == 60
