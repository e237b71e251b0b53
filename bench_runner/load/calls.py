"""Calls that a library makes over sockets of its own, as a database's client does: what the worker has to know of them."""

from __future__ import annotations

from typing import Protocol

FAILED = b"er\n"


class Broken(Exception):
    """The connection cannot be used any more, or could not be opened."""


class Channel(Protocol):
    """One connection, one call at a time. Nothing here waits, but for `close`."""

    fd: int

    def begin(self, seq: int) -> tuple[int, int]:
        """Makes the call of that number, and sends as much as goes at once: (when that began, its bytes). Raises Broken."""

    def unsent(self) -> bool:
        """Sends what is left; True while there is something. Raises Broken."""

    def take(self) -> bytes | None:
        """Takes in what has arrived: the answer in the words of whoever decodes it, which begin with FAILED where it is none;
        None while there is more to come. Raises Broken."""

    def close(self) -> None:
        """Whatever state it is in."""


class Calls(Protocol):
    """Opens channels; called in the worker's process, before the clock starts and, from a thread, for those that broke."""

    def open(self) -> Channel:
        """Ready for calls. Raises Broken."""
