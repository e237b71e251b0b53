"""Follows runner logs from their start and keeps the verified frames.

A log is gone half a second after an eviction, so it is read while it is written, not when it is needed. What is kept is
bounded: frames only, a few megabytes a pod, dropped when the run has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from tokenmark_schemas.frames import FrameReader

from .kube import ApiError, ClusterUnavailable, Kube


@dataclass
class Capture:
    """What one pod's log has told so far. `passes` counts complete readings from start to end."""

    reader: FrameReader = field(default_factory=FrameReader)
    passes: int = 0
    problem: str = ""
    task: asyncio.Task[None] | None = None

    @property
    def blocks(self) -> dict[str, bytes]:
        return self.reader.blocks


class Followers:
    """One task a pod. `changed(key)` is called when a block closes, progress moves or the log ends."""

    def __init__(self, kube: Kube, changed: Callable[[tuple[str, str, str]], None]) -> None:
        self._kube, self._changed = kube, changed
        self.captures: dict[str, Capture] = {}

    def ensure(self, uid: str, namespace: str, pod: str, container: str, key: tuple[str, str, str]) -> Capture:
        """Starts following, once; a reading that ended without what was wanted can be asked for again by `again`."""
        capture = self.captures.setdefault(uid, Capture())
        if capture.task is None:
            capture.task = asyncio.create_task(self._follow(capture, namespace, pod, container, key))
        return capture

    def again(self, uid: str) -> None:
        """Allows another reading of a log that ended."""
        capture = self.captures.get(uid)
        if capture is not None and capture.task is not None and capture.task.done():
            capture.task = None

    def forget(self, uid: str) -> None:
        capture = self.captures.pop(uid, None)
        if capture is not None and capture.task is not None:
            capture.task.cancel()

    async def close(self) -> None:
        for uid in list(self.captures):
            self.forget(uid)

    async def _follow(
        self, capture: Capture, namespace: str, pod: str, container: str, key: tuple[str, str, str]
    ) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            for delay in (0.3, 0.3, 0.5, 0.5, 1.0, 2.0, 3.0, 5.0):
                try:
                    await self._read(capture, namespace, pod, container, key)
                except (ApiError, ClusterUnavailable, OSError, ValueError) as exc:
                    capture.problem = str(exc)
                    await asyncio.sleep(delay)
                else:
                    break
            capture.passes += 1
            self._changed(key)

    async def _read(
        self, capture: Capture, namespace: str, pod: str, container: str, key: tuple[str, str, str]
    ) -> None:
        reader = capture.reader
        async for line in self._kube.follow_log(namespace, pod, container):
            blocks, progress = len(reader.blocks), reader.progress
            reader.feed(line)
            if len(reader.blocks) != blocks or reader.progress is not progress:
                self._changed(key)
