"""Is an engine up, and what does it serve? A row an engine: the page that says so, and how its list of models reads.

Tried again after a quarter of a second, twice that, and so on, where nobody answers or the server is not ready (503, 429).
A load never comes here.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tokenmark_schemas.engines import EngineConnection
from tokenmark_schemas.rag import Retrieval
from tokenmark_schemas.run import RunTarget

from .http_get import Answer, ask

ONE_REQUEST_S = 60
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 8.0
NOT_READY = (429, 503)
MOST_MODELS = 500


@dataclass(frozen=True)
class Health:
    """`seconds` is how long the answer took that counts; `said` is what a person reads."""

    up: bool
    path: str
    status: int | None
    seconds: float | None
    attempts: int
    said: str


@dataclass(frozen=True)
class Model:
    """What an engine tells of a model; None and empty where it does not."""

    id: str
    context: int | None = None
    parameters: str | None = None
    quantization: str | None = None
    size_bytes: int | None = None
    capabilities: tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    health: str
    models: str
    read: Callable[[Any], list[Model]]


def _openai(answer: Any) -> list[Model]:
    return [
        Model(
            _text(each["id"]) or "?", context=_whole(each.get("max_model_len")) or _whole(_meta(each).get("n_ctx_train")),
            parameters=_billions(_meta(each).get("n_params")), size_bytes=_whole(_meta(each).get("size")),
        )
        for each in answer["data"][:MOST_MODELS]
    ]  # fmt: skip


def _meta(each: Any) -> Any:
    """llama-server's own."""
    return each.get("meta") or {}


def _ollama(answer: Any) -> list[Model]:
    found = []
    for each in answer["models"][:MOST_MODELS]:
        details = each.get("details") or {}
        found.append(
            Model(
                _text(each["name"]) or "?", parameters=_text(details.get("parameter_size")), quantization=_text(details.get("quantization_level")),
                size_bytes=_whole(each.get("size")), more={"family": family} if (family := _text(details.get("family"))) else {},
            )
        )  # fmt: skip
    return found


def _tgi(answer: Any) -> list[Model]:
    more = {"dtype": dtype} if (dtype := _text(answer.get("model_dtype"))) else {}
    return [Model(_text(answer["model_id"]) or "?", context=_whole(answer.get("max_total_tokens")), more=more)]


V1 = Row("/v1/models", "/v1/models", _openai)
ROWS: Mapping[str, Row] = {
    "openai": V1,
    "openai-completions": V1,
    "vllm": Row("/health", "/v1/models", _openai),
    "sglang": Row("/health", "/v1/models", _openai),
    "tgi": Row("/health", "/info", _tgi),
    "ollama": Row("/api/tags", "/api/tags", _ollama),
    "llamacpp": Row("/health", "/v1/models", _openai),
    "chroma": Row("/api/v2/heartbeat", "", lambda _: []),
}
OTHERS = Row("/health", "", lambda _: [])  # rag: it has its model, and no list


def row_of(engine: str) -> Row:
    return ROWS.get(engine, OTHERS)


def health(connection: EngineConnection, token: str | None, sleep: Callable[[float], None] = time.sleep) -> Health:
    if connection.engine == "postgres":
        return _postgres(connection)
    path = row_of(connection.engine).health
    answer, attempts = _patiently(connection, path, token, sleep)
    if isinstance(answer, str):
        return Health(False, path, None, None, attempts, answer)
    if answer.status in (401, 403):
        said = (
            "it wants a token: name the variable that holds it in tokenEnv" if token is None else "it refuses the token"
        )
        return Health(False, path, answer.status, answer.seconds, attempts, said)
    if answer.status != 200:
        hint = "; is another server on this port?" if answer.status == 404 else ""
        return Health(False, path, answer.status, answer.seconds, attempts, f"it answers {answer.status}{hint}")
    return Health(True, path, 200, answer.seconds, attempts, "up")


SSL_REQUEST = struct.pack(">ii", 8, 80877103)  # the one question that PostgreSQL answers before it knows who asks


def _postgres(connection: EngineConnection) -> Health:
    """By the first message of its protocol, without a login."""
    parts, began = urlsplit(connection.url), time.monotonic()
    limit_s = connection.connect_timeout_seconds
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 5432), limit_s) as link:
            link.settimeout(limit_s)
            link.sendall(SSL_REQUEST)
            answer = link.recv(1)
    except TimeoutError:
        return Health(False, "SSLRequest", None, None, 1, f"no answer within {limit_s:g} s")
    except OSError as exc:
        said = "nothing listens there" if isinstance(exc, ConnectionRefusedError) else exc.strerror or str(exc)
        return Health(False, "SSLRequest", None, None, 1, said)
    up = answer in (b"S", b"N")
    said = "up" if up else "it does not answer as PostgreSQL does; is another server on this port?"
    return Health(up, "SSLRequest", None, time.monotonic() - began if up else None, 1, said)


def models(
    connection: EngineConnection, token: str | None, sleep: Callable[[float], None] = time.sleep
) -> list[Model] | str:
    """Those that it serves, or why they are not known."""
    row = row_of(connection.engine)
    if not row.models:
        return f"an engine of kind {connection.engine} has no list of models"
    answer, _ = _patiently(connection, row.models, token, sleep)
    if isinstance(answer, str):
        return answer
    if answer.status != 200:
        return f"{row.models} answers {answer.status}"
    try:
        return row.read(msgspec.json.decode(answer.body))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError):
        return f"{row.models} answers something else than {connection.engine} does; is it of that kind?"


def detailed(connection: EngineConnection, model: Model, token: str | None) -> Model:
    """With what an engine tells of one model alone: Ollama's capabilities and context."""
    if connection.engine != "ollama":
        return model
    answer = _ask(connection, "/api/show", token, body=msgspec.json.encode({"model": model.id}))
    if isinstance(answer, str) or answer.status != 200:
        return model
    try:
        said = msgspec.json.decode(answer.body)
        info = said.get("model_info") or {}
        context = next((_whole(value) for key, value in info.items() if key.endswith(".context_length")), None)
        capabilities = tuple(str(each)[:40] for each in (said.get("capabilities") or [])[:20])
    except (msgspec.DecodeError, AttributeError, TypeError, ValueError):
        return model
    return Model(model.id, context, model.parameters, model.quantization, model.size_bytes, capabilities, model.more)


def _patiently(
    connection: EngineConnection, path: str, token: str | None, sleep: Callable[[float], None]
) -> tuple[Answer | str, int]:
    pause, attempt = FIRST_PAUSE_S, 0
    while True:
        attempt += 1
        answer = _ask(connection, path, token)
        ready = isinstance(answer, Answer) and answer.status not in NOT_READY
        if ready or attempt > connection.retries:
            return answer, attempt
        sleep(pause)
        pause = min(LONGEST_PAUSE_S, 2 * pause)


def _ask(connection: EngineConnection, path: str, token: str | None, body: bytes | None = None) -> Answer | str:
    return ask(
        connection.url + path, token=token, ca_file=connection.ca_file, verify=not connection.insecure_skip_tls_verify,
        timeout_s=connection.connect_timeout_seconds, body=body,
    )  # fmt: skip


def _text(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < 2**53 else None


def _billions(value: Any) -> str | None:
    count = _whole(value)
    return None if count is None else f"{count / 1e9:.2f}B" if count >= 10**9 else f"{count / 1e6:.0f}M"


def target_of(connection: EngineConnection, model: str, timeout_s: int = ONE_REQUEST_S) -> RunTarget:
    """What a run would ask, for a few requests without one."""
    return RunTarget(
        engine=connection.engine, model=model, url=connection.url, ca_file=connection.ca_file,
        insecure_skip_tls_verify=connection.insecure_skip_tls_verify, request_timeout_s=timeout_s,
        retrieval=Retrieval() if connection.engine == "rag" else None,
    )  # fmt: skip
