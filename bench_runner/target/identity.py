"""What the engine says of itself: version, model, context length, quantisation. Best effort: silence is no failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tokenmark_schemas.database import DATABASES
from tokenmark_schemas.result import EngineFacts

from .http_get import Pages


def identity_of(engine: str, pages: Pages) -> EngineFacts:
    """As far as the engine tells it, in the words of its own documentation."""
    told: dict[str, Any] = {}
    for path, read in IDENTITY.get(engine, IDENTITY["openai"]):
        answer = pages.get(path)
        try:
            told |= {k: v for k, v in read(msgspec.json.decode(answer)).items() if v is not None} if answer else {}
        except (msgspec.DecodeError, KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError):
            continue  # not what the documentation shows: then it is not known
    return EngineFacts(name=engine, **told)


def _text(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


def _positive(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _models(answer: Any) -> dict[str, Any]:
    first = answer["data"][0]
    return {"served_model": _text(first.get("id")), "max_model_len": _positive(first.get("max_model_len"))}


def _props(answer: Any) -> dict[str, Any]:
    settings = answer.get("default_generation_settings") or {}
    return {"version": _text(answer.get("build_info")), "served_model": _text(answer.get("model_path")),
            "max_model_len": _positive(settings.get("n_ctx"))}  # fmt: skip


def _info(answer: Any) -> dict[str, Any]:
    return {"version": _text(answer.get("version")), "served_model": _text(answer.get("model_id")),
            "max_model_len": _positive(answer.get("max_total_tokens")), "dtype": _text(answer.get("model_dtype"))}  # fmt: skip


def _server_info(answer: Any) -> dict[str, Any]:
    return {"version": _text(answer.get("version")), "quantization": _text(answer.get("quantization")),
            "dtype": _text(answer.get("dtype"))}  # fmt: skip


def _running(answer: Any) -> dict[str, Any]:
    first = answer["models"][0]
    return {"served_model": _text(first.get("name")), "max_model_len": _positive(first.get("context_length")),
            "quantization": _text((first.get("details") or {}).get("quantization_level"))}  # fmt: skip


def _version(answer: Any) -> dict[str, Any]:
    return {"version": _text(answer.get("version"))}


IDENTITY: dict[str, tuple[tuple[str, Callable[[Any], dict[str, Any]]], ...]] = {
    "openai": (("/v1/models", _models),),
    "vllm": (("/version", _version), ("/v1/models", _models)),
    "sglang": (("/get_server_info", _server_info), ("/v1/models", _models)),
    "tgi": (("/info", _info),),
    "ollama": (("/api/version", _version), ("/api/ps", _running)),
    "llamacpp": (("/props", _props),),
    **dict.fromkeys(DATABASES, ()),  # a run asks those itself
}
