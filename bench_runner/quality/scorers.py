"""An answer and what was expected -> right or not (pure). No model judges: the same answer has the same mark tomorrow and elsewhere.

Answers come from outside and are read beside a load: every look is bounded, and none can run away.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from tokenmark_schemas.quality import Expect

MOST_CHARACTERS = 20_000  # of an answer that are looked at
LAST_CHARACTERS = 400  # among which its number stands
MOST_WORDS, MOST_NAMES = 12, 5  # around what is asked for: of several words, and of one
CLOSED = re.compile(r"</think(?:ing)?>")
OPENED = re.compile(r"\s*<think(?:ing)?>")
FENCE = re.compile(r"\A```[a-zA-Z0-9]*\n(.*?)\n?```\Z", re.DOTALL)
# thousands may be set apart by commas; what stands behind a number is its unit, and a full stop ends the sentence
NUMBER = re.compile(r"(?<![\w.,])[-\u2212]?(?:\d{1,3}(?:,\d{3}){1,6}(?!\d)|\d{1,20})(?:\.\d{1,20})?(?![.,]?\d)")
FIRST_LETTER = re.compile(r"\A[\s*(\[`\"'{]*([A-Ja-j])(?=[*)\].:,`\"'}\n]|\s*\Z)")
BARE_LETTER = re.compile(r"\A([B-H])\s")  # "B the disk was full"; A and I are words too
SAID_LETTER = re.compile(
    r"(?i:\b(?:answer|option|choice|letter|boxed)\b)[^\w\n]{0,4}(?:(?i:is|was|would be)[^\w\n]{1,4})?([A-J])(?=[\s*)\].:,`\"'}]|\Z)"
)
YES_OR_NO = {"yes", "no"}


def answer_of(text: str) -> str:
    """What a person would call the answer: without thinking before it, and without a fence around it."""
    said = without_thinking(text)[:MOST_CHARACTERS].strip()
    fenced = FENCE.match(said)
    return fenced[1].strip() if fenced else said


def without_thinking(text: str) -> str:
    """Behind the last end of thinking, whoever opened it; nothing of thinking that was cut off."""
    ends = [found.end() for found in CLOSED.finditer(text)]
    if ends:
        return text[ends[-1] :]
    return "" if OPENED.match(text) else text


def right(expect: Expect, text: str) -> bool:
    said = answer_of(text)
    if expect.number is not None:
        return _number(said) == Decimal(expect.number)
    if expect.choice is not None:
        return _choice(said) == expect.choice
    if expect.words is not None:
        return _says(said, expect.words)
    if expect.json_value is not None:
        return _same(_json(said), expect.json_value)
    return re.fullmatch(expect.pattern or "", _bare(said)) is not None


def _number(said: str) -> Decimal | None:
    """The last one that stands by itself."""
    found = NUMBER.findall(said[-LAST_CHARACTERS:])
    return Decimal(found[-1].replace(",", "").replace("\u2212", "-")) if found else None


def _choice(said: str) -> str | None:
    """A bare "A" in the middle of a sentence is an article, so a letter counts at the beginning, or where it is called the answer."""
    if found := FIRST_LETTER.match(said) or BARE_LETTER.match(said):
        return found[1].upper()
    named = SAID_LETTER.findall(said[:MOST_CHARACTERS])
    return str(named[-1]) if named else None


def _says(said: str, words: list[str]) -> bool:
    """One of them, with few words around it: a list of everything that could be meant is no answer, and neither is yes and no."""
    plain = _plain(said)
    wanted = [_plain(word) for word in words]
    if any(word in YES_OR_NO for (word, *_) in wanted) and set(plain) >= YES_OR_NO:
        return False
    most = MOST_NAMES if all(len(word) == 1 for word in wanted) and "," in said else MOST_WORDS
    return len(plain) <= most and not _is_list(said) and any(_within(word, plain) for word in wanted)


def _is_list(said: str) -> bool:
    return said.count(",") > 1 or said.count("\n") > 1


def _plain(text: str) -> list[str]:
    return re.findall(r"[\w']+", text[:MOST_CHARACTERS].casefold())


def _within(part: list[str], whole: list[str]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def _bare(said: str) -> str:
    """Without bold type or a code span around the whole, which are no part of a form unless they are asked for."""
    for mark in ("**", "`"):
        if len(said) > 2 * len(mark) and said.startswith(mark) and said.endswith(mark):
            return said[len(mark) : -len(mark)]
    return said


def _same(a: Any, b: Any) -> bool:
    """As JSON has it: true is not 1, and 1.0 is 1."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _json(said: str) -> Any:
    try:
        return json.loads(said)
    except (ValueError, RecursionError):
        return None
