"""TOOLS: whose files can be read, a row a tool; and which of them a document is from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenmark_schemas.errors import InvalidInput

from . import aiperf, guidellm, inference_perf, k6, llama_bench, vllm_bench
from .found import Found


@dataclass(frozen=True)
class Tool:
    """`is_ours` tells a document by its own keys, `read` raises InvalidInput where it lacks what it should have."""

    name: str
    file: str
    is_ours: Callable[[Any], bool]
    read: Callable[[Any], Found]


TOOLS: tuple[Tool, ...] = (
    Tool("guidellm", "benchmarks.json", guidellm.is_ours, guidellm.read),
    Tool("aiperf", "profile_export_aiperf.json or profile_export.jsonl", aiperf.is_ours, aiperf.read),
    Tool("vllm", "what vllm bench serve --save-result writes", vllm_bench.is_ours, vllm_bench.read),
    Tool("inference-perf", "stage_N_lifecycle_metrics.json or summary_lifecycle_metrics.json", inference_perf.is_ours, inference_perf.read),
    Tool("llama-bench", "llama-bench -o json or -o jsonl", llama_bench.is_ours, llama_bench.read),
    Tool("k6", "k6 run --summary-export FILE, or data of handleSummary", k6.is_ours, k6.read),
)  # fmt: skip
NAMES = tuple(tool.name for tool in TOOLS)


def read_foreign(content: bytes, source: str, asked: str | None = None) -> Found:
    """Raises InvalidInput for a file of no tool that is known, of another than `asked`, and one that lacks what it should have."""
    document = _document(content, source)
    try:
        tool = next((tool for tool in TOOLS if (asked in (None, tool.name)) and tool.is_ours(document)), None)
        if tool is None:
            known = "\n".join(f"  {tool.name:<15}{tool.file}" for tool in TOOLS)
            raise InvalidInput(f"{source} is no file of {asked or 'a tool that is known'}; these are:\n{known}")
        return tool.read(document)
    except InvalidInput as exc:
        raise exc if str(exc).startswith(source) else InvalidInput(f"{source}: {exc}") from exc
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, ArithmeticError) as exc:
        raise InvalidInput(f"{source} is not as its tool writes it: {type(exc).__name__}: {exc}") from exc


def _document(content: bytes, source: str) -> Any:
    """One JSON document, or of JSON lines their list."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(f"{source} is not UTF-8 text") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        lines = []
    if not lines or not all(isinstance(line, Mapping) for line in lines):
        raise InvalidInput(f"{source} is neither JSON nor JSON lines; was it cut off?")
    return lines
