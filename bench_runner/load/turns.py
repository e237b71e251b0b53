"""Conversations inside the worker: an answer that came whole may be followed by a next turn.

What is said, and how long its speaker thinks first, is the dialogue's business; the loop only keeps the bytes of an
answer until then. Reading them waits for a pass without events, like everything that may wait.
"""

from __future__ import annotations

from .connection import Connection
from .dialogue import Dialogue, Place
from .schedule import Schedule


class Turns:
    """Between the loop and a dialogue."""

    def __init__(self, dialogue: Dialogue, schedule: Schedule) -> None:
        self.dialogue, self._schedule = dialogue, schedule

    def took(self, seq: int) -> None:
        """The request that the schedule just gave belongs to a conversation."""
        before = self._schedule.continues
        if before is None:
            self.dialogue.begin(seq, self._schedule.conversation)
        else:
            self.dialogue.goes_on(before, seq)

    def ended(self, conn: Connection, end: int, failed: bool) -> tuple[Place, int | None]:
        """Where in which conversation an exchange was, and when its slot is free: None while a turn follows.

        A turn that would come after the phase is not sent, but its speaker thinks all the same: the slot is not free
        before, or the last moments of a phase would be filled with the beginnings of conversations.
        """
        place = self.dialogue.place(conn.request.seq)
        if failed:
            return place, end
        pause = self.dialogue.answered(conn.request.seq, b"".join([*conn.kept, *conn.log[3::4]]))  # type: ignore[list-item]
        if pause is None:
            return place, end
        return place, None if self._schedule.follow(end + pause, conn.request.seq) else end + pause

    def over(self, seq: int) -> None:
        self.dialogue.over(seq)
        self._schedule.fell_silent()
