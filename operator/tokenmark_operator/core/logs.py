"""Follows runner logs from their start and keeps the verified frames.

A log is gone half a second after an eviction, so it is read while it is written, not when it is needed. A stream that breaks
off is taken up again where it broke, for as long as the pod may live: a kubelet that is away for a minute is no pod that has
nothing to say. What is kept is bounded: frames only, a few megabytes a pod, dropped when the run has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tokenmark_schemas.frames import FrameReader

from .kube import ApiError, ClusterUnavailable, Kube

Key = tuple[str, str, str]
PAUSES_S = (0.3, 0.5, 1.0, 2.0, 3.0, 5.0)
LAST_READINGS = 3  # of a log whose pod has ended: what the kubelet still writes out may come late
BRIEF_S = 10.0  # a stream that ends sooner, while its pod lives, is asked for again later and later
PATIENCE_S = 120.0  # with a log that cannot be had, once its pod has ended


@dataclass
class Capture:
    """What one pod's log has told so far. `over`: the pod is known to have ended, or to be gone; `read`: nothing more will
    come of its log."""

    reader: FrameReader = field(default_factory=FrameReader)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False
    read: bool = False
    since: str = ""
    problem: str = ""
    task: asyncio.Task[None] | None = None

    @property
    def blocks(self) -> dict[str, bytes]:
        return self.reader.blocks


class Followers:
    """One task a pod. `changed(key)` is called when a block closes, a stage begins or the log ends: how many answers there are
    by now is worth no visit."""

    def __init__(self, kube: Kube, changed: Callable[[Key], None]) -> None:
        self._kube, self._changed = kube, changed
        self.captures: dict[str, Capture] = {}

    def ensure(self, uid: str, namespace: str, pod: str, container: str, key: Key) -> Capture:
        """Starts following, once."""
        capture = self.captures.setdefault(uid, Capture())
        if capture.task is None:
            capture.task = asyncio.create_task(self._follow(capture, namespace, pod, container, key))
        return capture

    def ended(self, uid: str, *, gone: bool) -> None:
        """The pod has ended; or is gone, and its log with it."""
        capture = self.captures.get(uid)
        if capture is not None:
            capture.gone = capture.gone or gone
            capture.over.set()

    def progress_of(self, uid: str) -> dict[str, Any] | None:
        """What the runner in a pod last said of itself; None where its log is not followed."""
        capture = self.captures.get(uid)
        return capture.reader.progress if capture is not None else None

    def forget(self, uid: str) -> None:
        capture = self.captures.pop(uid, None)
        if capture is not None and capture.task is not None:
            capture.task.cancel()

    async def close(self) -> None:
        for uid in list(self.captures):
            self.forget(uid)

    async def _follow(self, capture: Capture, namespace: str, pod: str, container: str, key: Key) -> None:
        """Until the pod is over and its log was read to the end as often as is worth it, or cannot be had any more."""
        with contextlib.suppress(asyncio.CancelledError):
            readings, failures, ended_at, missing_at = 0, 0, 0.0, 0.0
            while readings < LAST_READINGS:
                over = capture.over.is_set()
                began = time.monotonic()
                ended_at = ended_at or (began if over else 0.0)
                try:
                    await self._read(capture, namespace, pod, container, key)
                    readings += over
                    failures = failures + 1 if not over and time.monotonic() - began < BRIEF_S else 0
                except (ApiError, ClusterUnavailable, OSError, ValueError) as exc:
                    capture.problem, failures = str(exc), failures + 1
                    absent = isinstance(exc, ApiError) and exc.status == 404
                    missing_at = (missing_at or time.monotonic()) if absent else 0.0
                    if over and (capture.gone or absent or time.monotonic() - ended_at > PATIENCE_S):
                        break
                    if absent and time.monotonic() - missing_at > PATIENCE_S:  # nobody told, but there is no such pod
                        break
                if over and "result" in capture.blocks:
                    readings += 1
                await self._pause(capture, PAUSES_S[min(failures, len(PAUSES_S) - 1)], over)
            capture.read = True
            self._changed(key)

    @staticmethod
    async def _pause(capture: Capture, seconds: float, over: bool) -> None:
        """A moment; the news that the pod has ended cuts it short."""
        if over:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(capture.over.wait(), seconds)

    async def _read(self, capture: Capture, namespace: str, pod: str, container: str, key: Key) -> None:
        reader = capture.reader
        async for at, line in self._kube.follow_log(namespace, pod, container, capture.since):
            capture.since = at or capture.since
            blocks, progress = len(reader.blocks), reader.progress
            reader.feed(line)
            if len(reader.blocks) != blocks or _place(reader.progress) != _place(progress):
                self._changed(key)


def _place(progress: dict[str, Any] | None) -> tuple[Any, ...]:
    """Where in its plan a runner is."""
    return tuple((progress or {}).get(part) for part in ("phase", "stage", "repetition", "dropped"))
