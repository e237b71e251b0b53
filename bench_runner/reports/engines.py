"""Engines, models and single requests, as a person reads them in 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ..target.discovery import Health, Model
from .units import seconds

if TYPE_CHECKING:
    from tokenmark_schemas.engines import EngineConnection


def engine_table(found: Iterable[EngineConnection]) -> Table:
    table = _table("name", "engine", "address", "model")
    for each in found:
        table.add_row(each.name, each.engine, each.url, each.model or "–")
    return table


def health_table(found: Iterable[tuple[EngineConnection, Health]]) -> Table:
    table = _table("name", "", "answer", "address", "")
    for connection, health in found:
        word = Text("up", style="bold green") if health.up else Text("down", style="bold red")
        said = "" if health.up else health.said
        table.add_row(connection.name, word, seconds(health.seconds), connection.url, said)
    return table


def model_table(found: Iterable[tuple[EngineConnection, list[Model] | str]]) -> Table:
    table = _table("engine", "model", "context", "size", "quantised")
    for connection, models in found:
        if isinstance(models, str):
            table.add_row(connection.name, Text(models, style="yellow"))
        elif not models:
            table.add_row(connection.name, Text("it serves none: load or pull one first", style="yellow"))
        else:
            for model in models:
                table.add_row(
                    connection.name,
                    model.id,
                    _count(model.context),
                    model.parameters or _size(model.size_bytes),
                    model.quantization or "–",
                )
    return table


def model_lines(model: Model) -> Iterator[str]:
    facts: Mapping[str, Any] = {
        "context": _count(model.context), "parameters": model.parameters, "quantised": model.quantization,
        "size": _size(model.size_bytes) if model.size_bytes else None, "capabilities": ", ".join(model.capabilities), **model.more,
    }  # fmt: skip
    yield model.id
    for name, value in facts.items():
        yield f"  {name:<14}{value or 'not told'}"


def request_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """What one request came to; `record` has the columns of a request and the engine's own counters."""
    for title, key in (("TTFT", "ttft_s"), ("TPOT", "tpot_s"), ("E2E", "e2e_s"), ("connect", "connect_s")):
        yield f"{title:<10}{seconds(record[key])}"
    yield f"{'tokens':<10}{record['prompt_tokens'] or '–'} in, {record['output_tokens'] or '–'} out ({record['token_source'] or 'not counted'}), {record['chunks']} chunks"
    for name, value in (record.get("engine_timings") or {}).items():
        yield f"{'engine':<10}{name} {value}"
    for name, value in (record.get("steps_s") or {}).items():
        yield f"{'step':<10}{name} {seconds(value)}"


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    return "–" if value is None else f"{value / 1e9:.1f} GB" if value >= 10**9 else f"{value / 1e6:.0f} MB"
