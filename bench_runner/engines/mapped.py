"""A RAG service with a protocol of its own, read by a mapping: templates and paths in the place of code."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from tokenmark_schemas.rag import RagMapping
from tokenmark_schemas.workload import WorkloadSpec

from .base import SILENT, VISIBLE, Answer, Dialect, Prompt, error_text
from .rag import sane

PART = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)|\[(\d+)\]")
Steps = list[str | int]
MOST_COUNT = 2**31
MOST_VALUE = 1e9  # beyond it no step is: a day has 86,400,000 ms


def mapped(mapping: RagMapping, k: int, docset: str | None) -> Dialect:
    template = json.loads(mapping.request)
    reader = _Reader(mapping)

    def payload(model: str, workload: WorkloadSpec, output_tokens: int) -> dict[str, Any]:
        places = {"k": k, "max_tokens": output_tokens, "docset": docset, "model": model, "stream": workload.streaming}
        found: dict[str, Any] = _filled(template, {f"{{{name}}}": value for name, value in places.items()})
        return found

    def with_prompt(body: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
        found: dict[str, Any] = _filled(body, {"{query}": prompt.as_text})
        return found

    return Dialect(
        name="rag", path=mapping.path, framing=mapping.framing, payload=payload, with_prompt=with_prompt,
        events=msgspec.json.Decoder(), read=reader.read, text=reader.text, tells_steps=True,
    )  # fmt: skip


def _filled(value: Any, places: dict[str, Any]) -> Any:
    """With every string that is a place, and nothing else, replaced."""
    if isinstance(value, dict):
        return {key: _filled(inner, places) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, places) for inner in value]
    return places.get(value, value) if isinstance(value, str) else value


def _path(text: str | None) -> Steps | None:
    return None if text is None else [name or int(index) for name, index in PART.findall(text)]


def _at(document: Any, path: Steps | None) -> Any:
    """What is there; None where nothing is."""
    if path is None:
        return None
    for part in path:
        if isinstance(part, int):
            document = document[part] if isinstance(document, list) and part < len(document) else None
        else:
            document = document.get(part) if isinstance(document, dict) else None
    return document


class _Reader:
    def __init__(self, mapping: RagMapping) -> None:
        self._text, self._done, self._error = _path(mapping.text), _path(mapping.done), _path(mapping.error)
        self._prompt, self._output = _path(mapping.prompt_tokens), _path(mapping.output_tokens)
        self._retrieved = _path(mapping.retrieved)
        self._steps = [(step.name, _path(step.path), 0.001 if step.unit == "ms" else 1.0) for step in mapping.steps]
        self._ends_by_itself = mapping.done is None

    def read(self, events: list[Any]) -> Answer:
        out = Answer(kinds=[VISIBLE if _text_at(e, self._text) else SILENT for e in events])
        steps: dict[str, float] = {}
        for e in events:
            for name, path, factor in self._steps:
                value = _at(e, path)
                if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_VALUE:
                    steps[name] = value * factor
            out.output_tokens = _count(_at(e, self._output), out.output_tokens)
            out.prompt_tokens = _count(_at(e, self._prompt), out.prompt_tokens)
            found = _at(e, self._retrieved)
            out.retrieved = _count(len(found) if isinstance(found, list) else found, out.retrieved)
            if (error := _at(e, self._error)) is not None:
                out.error = error_text({"error": error})
            out.finished = out.finished or _at(e, self._done) not in (None, False)
        out.finished = out.finished or (self._ends_by_itself and bool(events))
        out.steps = sane(steps)
        return out

    def text(self, events: list[Any]) -> str:
        return "".join(_text_at(e, self._text) for e in events)


def _text_at(event: Any, path: Steps | None) -> str:
    found = _at(event, path)
    return found if isinstance(found, str) else ""


def _count(value: Any, before: int | None) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_COUNT
    return value if whole else before
