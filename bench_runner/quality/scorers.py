"""An answer and what was expected -> right or not (pure). No model judges: the same answer has the same mark tomorrow and elsewhere."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from tokenmark_schemas.quality import Expect

MOST_CHARACTERS = 20_000  # of an answer that are looked at
MOST_WORDS = 12  # around one of the words that are asked for
THINKING = re.compile(r"^\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
FENCE = re.compile(r"\A```[a-zA-Z0-9]*\n(.*?)\n?```\Z", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\w,]|\.\d)|(?<![\w.])-?\d+(?:\.\d+)?(?![\w]|\.\d)")
FIRST_LETTER = re.compile(r"\A[\s*(\[]*([A-J])(?=[\s*)\].:,]|\Z)")
SAID_LETTER = re.compile(
    r"\b(?:answer|option|choice)\b[\s\w:*]{0,12}?[\s*(\[:]([A-J])(?=[\s*)\].:,]|\Z)", re.IGNORECASE
)


def answer_of(text: str) -> str:
    """What a person would call the answer: without thinking before it, and without a fence around it."""
    said = THINKING.sub("", text[:MOST_CHARACTERS]).strip()
    fenced = FENCE.match(said)
    return fenced[1].strip() if fenced else said


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
    return re.fullmatch(expect.pattern or "", said) is not None


def _number(said: str) -> Decimal | None:
    """The last one that stands by itself; thousands may be set apart by commas. A full stop behind it ends the sentence."""
    found = NUMBER.findall(said)
    return Decimal(found[-1].replace(",", "")) if found else None


def _choice(said: str) -> str | None:
    """A bare "A" in the middle of a sentence is an article, so a letter counts at the beginning, or where it is called the answer."""
    if found := FIRST_LETTER.match(said):
        return found[1]
    named = SAID_LETTER.findall(said)
    return str(named[-1]).upper() if named else None


def _says(said: str, words: list[str]) -> bool:
    plain = _plain(said)
    return len(plain) <= MOST_WORDS and any(_within(_plain(word), plain) for word in words)


def _plain(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.casefold())


def _within(part: list[str], whole: list[str]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


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
