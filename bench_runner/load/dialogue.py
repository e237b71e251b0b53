"""What the worker asks of whoever holds conversations: the contract between the loop and what is said."""

from __future__ import annotations

from typing import Protocol

Place = tuple[int, int]  # the number of a conversation, and of the turn in it
NOWHERE: Place = (-1, -1)


class Dialogue(Protocol):
    """What is said in the conversations of one worker; requests are known by their sequence number."""

    unread: bool  # whether `read_one` has something to do

    def begin(self, seq: int, conversation: int) -> None:
        """That request opens that conversation."""

    def goes_on(self, before: int, seq: int) -> None:
        """That request is the turn after that other one."""

    def place(self, seq: int) -> Place:
        """Which conversation and turn a request is."""

    def answered(self, seq: int, answer: bytes) -> int | None:
        """Takes an answer; returns the pause before the next turn in nanoseconds, None after the last."""

    def over(self, seq: int) -> None:
        """The conversation ends with that request."""

    def read_one(self) -> None:
        """Reads one answer that was taken, so that the next turn is ready when it is due."""
