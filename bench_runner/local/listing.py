"""Model files of a machine as a table: what each is, and what it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from .gguf_file import ModelFile
from .memory import need
from .store import Held

CONTEXT = 4096


def table(of_list: Sequence[Held], rest: Sequence[ModelFile], folder: Path, context: int | None) -> Table:
    """80 columns. Memory is of one place at a time."""
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head, right in (
        ("model", False),
        ("quant", False),
        ("size", True),
        ("params", True),
        ("memory", True),
        ("at", True),
        ("file", False),
    ):
        found.add_column(head, justify="right" if right else "left", overflow="fold")
    for name, model, tokens in _rows(of_list, rest, context):
        found.add_row(
            _plain(name), model.quantization, _gigabytes(model.size_bytes), f"{model.parameters / 1e9:.2f} B", _gigabytes(need(model, tokens).total),
            str(tokens), _plain(str(model.path.relative_to(folder))),
        )  # fmt: skip
    return found


def _plain(text: str) -> Text:
    """What a file calls itself is nobody's markup, and moves no cursor."""
    return Text("".join(each if each.isprintable() else "?" for each in text))


def _rows(
    of_list: Sequence[Held], rest: Sequence[ModelFile], context: int | None
) -> Iterator[tuple[str, ModelFile, int]]:
    for each in of_list:
        for model in each.files.values():
            yield each.model.name, model, context or each.model.context
    for model in rest:
        yield model.name or "–", model, context or min(CONTEXT, model.context or CONTEXT)


def document(
    of_list: Sequence[Held], rest: Sequence[ModelFile], broken: Mapping[Path, str], context: int | None
) -> dict[str, Any]:
    """The same for programs, bytes and tokens."""
    listed = {model.path for each in of_list for model in each.files.values()}
    return {
        "files": [
            {**asdict(model), "path": str(model.path), "model": name if model.path in listed else None, "context_used": tokens,
             "need_bytes": {**asdict(need(model, tokens)), "total": need(model, tokens).total}}
            for name, model, tokens in _rows(of_list, rest, context)
        ],
        "problems": problems(of_list, broken),
    }  # fmt: skip


def problems(of_list: Sequence[Held], broken: Mapping[Path, str]) -> list[str]:
    missing = [
        f"{each.model.name}: {', '.join(each.missing)} is missing; tokenmark models pull {each.model.name}"
        for each in of_list
        if each.missing
    ]
    nothing = [
        f"{each.model.name}: no file in the folder says that it is one"
        for each in of_list
        if not each.files and not each.missing
    ]
    return [*(said for each in of_list for said in each.problems), *missing, *nothing, *broken.values()]


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
