"""Conversations: every turn's request carries all that was said before it.

What users say is decided beforehand and the same on every provider. What is said back is the engine's own answer, as a
chat application would send it again (a prefix cache then knows all of it), or a script of the same length where the
bytes of every request have to be equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tokenmark_schemas.workload import Conversation

from ..engines.base import Dialect, ProtocolError
from ..load.dialogue import Place
from ..samples.events import events_of
from .prompts import RequestFactory
from .synthetic import Lengths

MS = 1_000_000
SPACING = 61  # lengths of neighbouring conversations come from places this far apart


@dataclass
class _Thread:
    """One conversation: what was said so far, and the newest answer while nobody has read it."""

    number: int
    turns: int
    turn: int = 0
    said: list[dict[str, Any]] = field(default_factory=list)
    unread: bytes | None = None


class Conversations:
    """A worker's dialogue (see `load.talk`). `render` gives the request of a turn, by its sequence number."""

    def __init__(self, factory: RequestFactory, spec: Conversation, seed: int, salt: str, id_prefix: str) -> None:
        self._factory, self._spec, self._salt, self._prefix = factory, spec, salt, id_prefix
        self._turns = Lengths(spec.turns, seed + 2)
        self._thinks = Lengths(spec.think_milliseconds, seed + 3) if spec.think_milliseconds else None
        self._open: dict[int, _Thread] = {}
        self._unread: dict[int, _Thread] = {}  # by the request that was answered

    # --- what the loop tells and asks -------------------------------------------------------------------------------

    @property
    def unread(self) -> bool:
        return bool(self._unread)

    def begin(self, seq: int, conversation: int) -> None:
        turns = self._factory.turns_of(conversation) or self._turns[conversation]
        self._open[seq] = _Thread(conversation, turns)

    def goes_on(self, before: int, seq: int) -> None:
        thread = self._open.pop(before)
        self._unread.pop(before, None)
        self._hear(thread)
        thread.turn += 1
        self._open[seq] = thread

    def place(self, seq: int) -> Place:
        thread = self._open[seq]
        return thread.number, thread.turn

    def answered(self, seq: int, answer: bytes) -> int | None:
        thread = self._open[seq]
        if thread.turn + 1 >= thread.turns or self._is_error(answer):
            return None
        thread.unread = answer
        self._unread[seq] = thread
        return self._thinks[self._step(thread)] * MS if self._thinks else 0

    def over(self, seq: int) -> None:
        self._open.pop(seq, None)
        self._unread.pop(seq, None)

    def read_one(self) -> None:
        self._hear(self._unread.pop(next(iter(self._unread))))

    def render(self, seq: int) -> bytes:
        """The whole HTTP request. A request that goes out once more says the same once more."""
        thread = self._open[seq]
        if len(thread.said) == 2 * thread.turn:
            words = self._factory.said_by_user(thread.number, thread.turn, self._salt, self._step(thread))
            thread.said += words
        return self._factory.request(f"{self._prefix}-{seq}", thread.said, thread.number, self._step(thread))

    # --- answers ----------------------------------------------------------------------------------------------------

    def _is_error(self, answer: bytes) -> bool:
        """Whether a whole answer tells of an error inside; only what mentions one is looked at."""
        if b'"error"' not in answer:
            return False
        found = _heard(answer, self._factory.dialect, self._factory.streaming)
        return found is None or self._factory.dialect.read(found).error is not None

    @staticmethod
    def _step(thread: _Thread) -> int:
        return step_of(thread.number, thread.turn)

    def _hear(self, thread: _Thread) -> None:
        """The newest answer becomes part of what was said, once."""
        if thread.unread is None:
            return
        raw, thread.unread = thread.unread, None
        if self._spec.history == "Scripted":
            words = self._factory.scripted_answer(thread.number, thread.turn, self._step(thread))
        else:
            words = spoken(raw, self._factory.dialect, self._factory.streaming)
        thread.said.append({"role": "assistant", "content": words})


def step_of(conversation: int, turn: int) -> int:
    """Where in the sequence of lengths a turn stands."""
    return conversation * SPACING + turn


def spoken(raw: bytes, dialect: Dialect, streaming: bool) -> str:
    """The visible text of a raw answer; empty where there is none that can be read."""
    found = _heard(raw, dialect, streaming)
    return dialect.text(found) if found is not None else ""


def _heard(raw: bytes, dialect: Dialect, streaming: bool) -> list[Any] | None:
    """The decoded events of a raw answer; None where it cannot be read."""
    try:
        return events_of(raw, [len(raw)], dialect, stream=streaming).decoded
    except ProtocolError:
        return None
