"""epoll where there is one, `selectors` elsewhere, behind four calls."""

from __future__ import annotations

import select
import selectors
from typing import Protocol

from .stamps import portable

READ, WRITE = 1, 4  # EPOLLIN, EPOLLOUT


class Poller(Protocol):
    def add(self, fd: int, mask: int) -> None: ...
    def modify(self, fd: int, mask: int) -> None: ...
    def remove(self, fd: int) -> None: ...
    def poll(self, timeout_s: float) -> list[tuple[int, int]]: ...


MOST_EVENTS = 1023  # that Python asks epoll for at a time


class EpollPoller:
    """Linux. Other bits than WRITE (data, hang-ups, errors) all mean: read, and see."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.add, self.modify = self._epoll.register, self._epoll.modify
        self.remove, self.poll = self._epoll.unregister, self._epoll.poll


class SelectorsPoller:
    """Everywhere else."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, fd: int, mask: int) -> None:
        self._selector.register(fd, self._events(mask))

    def modify(self, fd: int, mask: int) -> None:
        self._selector.modify(fd, self._events(mask))

    def remove(self, fd: int) -> None:
        self._selector.unregister(fd)

    def poll(self, timeout_s: float) -> list[tuple[int, int]]:
        ready = self._selector.select(timeout_s)
        return [
            (key.fd, (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0))
            for key, events in ready
        ]

    @staticmethod
    def _events(mask: int) -> int:
        return (selectors.EVENT_READ if mask & READ else 0) | (selectors.EVENT_WRITE if mask & WRITE else 0)


def new_poller() -> Poller:
    """The best poller of this system."""
    return SelectorsPoller() if portable() else EpollPoller()
