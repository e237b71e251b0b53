"""A runner's log is followed until its pod is over: broken streams are taken up again, and outages are no readings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tokenmark_operator.core import logs
from tokenmark_operator.core.kube import ApiError, ClusterUnavailable
from tokenmark_operator.core.logs import Capture, Followers
from tokenmark_schemas.frames import frame

LINES = [f"2030-01-01T00:00:{i:02d}.5Z {line}" for i, line in enumerate(frame("result", b"x" * 9000))]
KEY = ("BenchmarkRun", "bench", "demo")


class Kubelet:
    """Says what it is told to say, one script a reading: lines, an error, or both."""

    def __init__(self, *readings: list[str | Exception]) -> None:
        self._readings, self.asked = iter(readings), []  # type: ignore[var-annotated]

    async def follow_log(self, _ns: str, _pod: str, _container: str, since: str = "") -> AsyncIterator[tuple[str, str]]:
        self.asked.append(since)
        for said in next(self._readings, []):
            await asyncio.sleep(0)
            if isinstance(said, Exception):
                raise said
            at, _, text = said.partition(" ")
            yield at, text


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "PAUSES_S", (0.01,))


def followed(
    kubelet: Any, *, over_after: float | None, gone: bool = False, wait_s: float = 0.5
) -> tuple[Capture, list[Any]]:
    """What a follower has after a while; its pod ends after so many seconds."""
    told: list[Any] = []

    async def scene() -> Capture:
        followers = Followers(kubelet, told.append)
        capture = followers.ensure("u", "bench", "p", "runner", KEY)
        if over_after is not None:
            await asyncio.sleep(over_after)
            followers.ended("u", gone=gone)
        await asyncio.wait({capture.task}, timeout=wait_s)  # type: ignore[arg-type]
        await followers.close()
        return capture

    return asyncio.run(scene()), told


def test_a_stream_that_breaks_is_taken_up_where_it_broke() -> None:
    middle = len(LINES) // 2
    kubelet = Kubelet([*LINES[:middle], ClusterUnavailable("broken off")], LINES[middle - 1 :])
    capture, told = followed(kubelet, over_after=0.1)
    assert capture.blocks["result"] == b"x" * 9000
    assert kubelet.asked[1] == LINES[middle - 1].split()[0]
    assert KEY in told


def test_an_outage_of_the_kubelet_is_no_reading_while_the_pod_lives() -> None:
    """Ten refusals and two clean ends of a stream while the pod runs; then it can be had."""
    kubelet = Kubelet([], [], *[[ClusterUnavailable("connection refused")]] * 10, LINES)
    capture, _ = followed(kubelet, over_after=0.3)
    assert capture.blocks["result"] == b"x" * 9000
    assert capture.read


def test_nothing_is_given_up_before_the_pod_is_over() -> None:
    capture, _ = followed(Kubelet(*[[ClusterUnavailable("away")]] * 500), over_after=None, wait_s=0.3)
    assert not capture.read


def test_a_log_that_is_gone_with_its_pod_is_given_up_at_once() -> None:
    kubelet = Kubelet(*[[ApiError(404, "NotFound", "pods p not found")]] * 500)
    capture, told = followed(kubelet, over_after=0.05, gone=True)
    assert capture.read
    assert told == [KEY]


def test_patience_with_a_log_that_cannot_be_had_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "PATIENCE_S", 0.1)
    capture, _ = followed(Kubelet(*[[ClusterUnavailable("HTTP 500")]] * 500), over_after=0.05)
    assert capture.read
    assert capture.problem == "HTTP 500"


def test_streams_that_end_at_once_while_the_pod_lives_are_asked_for_ever_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "PAUSES_S", (0.01, 0.02, 0.04, 0.1))
    kubelet = Kubelet()  # every stream is empty and over
    followed(kubelet, over_after=None, wait_s=0.6)
    assert 4 <= len(kubelet.asked) <= 10, "0.6 s at the shortest pause would be sixty"
