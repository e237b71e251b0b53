"""The servers that we can start with a model file, one function each: their words, where they answer once they are ready, and what more they need before the first
question."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tokenmark_decisions.llama_options import llama_options
from tokenmark_decisions.sweep_cells import as_name
from tokenmark_schemas.errors import InvalidInput, RunFailed

ServerKind = Literal["llamacpp", "ollama"]
STORE = "ollama-models-"  # and a word of its own, below the folder of a server's log
SPARE_BYTES = 10**9
LOAD_S, SLOW_DISK_BYTES_S = 300.0, 20e6
NO_MEMORY = re.compile(
    rb"(failed|unable) to allocate|out of memory|cannot allocate memory|bad_alloc|requires more system memory", re.IGNORECASE
)  # fmt: skip


class Beyond(RunFailed):
    """What was asked is more than this machine has: memory, or time."""


@dataclass(frozen=True)
class Settings:
    """Of a server; None is its own default. `context` is of all `parallel` places together. `threads`: one processor fewer than there are, which
    the client needs, where it is not said."""

    context: int = 4096
    parallel: int = 1
    threads: int | None = None
    batch: int | None = None
    gpu_layers: int | None = None

    @property
    def threads_used(self) -> int:
        return self.threads or max(1, len(os.sched_getaffinity(0)) - 1)


@dataclass(frozen=True)
class Launch:
    """How a server is started on a port, and the path that it answers once it runs. `load` gives it its model, within so many seconds; `store` is a folder of its own that goes with
    it."""

    program: str
    words: Callable[[int], list[str]]
    ready: str
    environment: Callable[[int], dict[str, str]] = field(default=lambda _port: {})
    load: Callable[[int, float], None] = field(default=lambda _port, _limit_s: None)
    store: Path | None = None


def launch(kind: ServerKind, model: Path, name: str, settings: Settings, folder: Path) -> Launch:
    """`name` is what it is asked for, `folder` where it may keep what it needs. Raises InvalidInput where the program is not on PATH."""
    return llama_server(model, settings) if kind == "llamacpp" else ollama(model, name, settings, folder)


def load_limit_s(kind: ServerKind, model: Path) -> float:
    """How long a server may take to come where nobody says: one that copies its model gets the time that a slow disk needs."""
    return LOAD_S + (model.stat().st_size / SLOW_DISK_BYTES_S if kind == "ollama" else 0.0)


def model_name(kind: ServerKind, model: Path) -> str:
    """As it is called where nobody says how: Ollama takes no name but a simple one."""
    return model.stem if kind == "llamacpp" else as_name(model.stem) or "model"


def llama_server(model: Path, settings: Settings) -> Launch:
    """It answers whatever it is asked for, and calls its model as the file is called. Raises InvalidInput where the program is not on PATH."""
    program = program_of("llamacpp")
    return Launch(
        program,
        lambda port: [
            program,
            *llama_options(
                str(model), model.stem, context=settings.context, streams=settings.parallel, threads=settings.threads_used,
                gpu_layers=settings.gpu_layers, batch=settings.batch, host="127.0.0.1", port=port,
            ),
        ],
        "/health",
    )  # fmt: skip


def ollama(model: Path, name: str, settings: Settings, folder: Path) -> Launch:
    """It works on a copy of the file, in a store of its own: the one that a person has is left alone. Raises InvalidInput where the program is not on PATH."""
    program, store = program_of("ollama"), folder.absolute() / f"{STORE}{secrets.token_hex(4)}"

    def environment(port: int) -> dict[str, str]:
        return {
            "OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": str(store), "OLLAMA_NO_CLOUD": "1", "HOME": str(store),
            "OLLAMA_CONTEXT_LENGTH": str(settings.context // settings.parallel), "OLLAMA_NUM_PARALLEL": str(settings.parallel),
            "OLLAMA_KEEP_ALIVE": "-1", "OLLAMA_MAX_LOADED_MODELS": "1",
        }  # fmt: skip

    def load(port: int, limit_s: float) -> None:
        until = time.monotonic() + limit_s
        _must_have_room(model, store)
        file = store / "Modelfile"
        file.write_text(_modelfile(model, settings))
        words = [program, "create", name, "-f", str(file)]
        try:
            done = subprocess.run(
                words, env={**os.environ, **environment(port)}, capture_output=True, check=False, timeout=limit_s, stdin=subprocess.DEVNULL
            )  # fmt: skip
        except subprocess.TimeoutExpired as exc:
            raise Beyond(f"ollama had not copied {model.name} within {limit_s:.0f} s") from exc
        if done.returncode:
            raise RunFailed(f"ollama does not take {model.name}: {_last_words(done.stderr)}")
        _warm(port, name, max(1.0, until - time.monotonic()), limit_s)

    return Launch(program, lambda _port: [program, "serve"], "/api/version", environment, load, store)


def _modelfile(model: Path, settings: Settings) -> str:
    said = {"num_thread": settings.threads_used, "num_batch": settings.batch, "num_gpu": settings.gpu_layers}
    return f"FROM {model.absolute()}\n" + "".join(
        f"PARAMETER {key} {value}\n" for key, value in said.items() if value is not None
    )


def _must_have_room(model: Path, store: Path) -> None:
    """Raises RunFailed."""
    needed, free = model.stat().st_size + SPARE_BYTES, shutil.disk_usage(store).free
    if needed > free:
        raise RunFailed(
            f"ollama copies {model.name}: {needed / 1e9:.1f} GB in {store}, where {free / 1e9:.1f} GB are free"
        )


def _warm(port: int, name: str, left_s: float, limit_s: float) -> None:
    """It reads a model when it is first asked for it: nobody's first token is to wait for that. Raises RunFailed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=left_s)
    try:
        connection.request("POST", "/api/generate", json.dumps({"model": name, "stream": False, "keep_alive": -1}))
        answer = connection.getresponse()
        said = answer.read(65536)
    except TimeoutError as exc:
        raise Beyond(f"ollama had not copied and loaded the model within {limit_s:.0f} s") from exc
    except (OSError, http.client.HTTPException) as exc:
        raise RunFailed(f"ollama ended while it loaded the model: {exc}") from exc
    finally:
        connection.close()
    if answer.status != 200:
        words = f"ollama cannot load the model: {_error(said)}"
        raise Beyond(words) if NO_MEMORY.search(said) or b"signal: killed" in said else RunFailed(words)


def _error(said: bytes) -> str:
    try:
        return str(json.loads(said)["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return _last_words(said)


def _last_words(said: bytes) -> str:
    """Of a program that also draws progress bars."""
    lines = [
        line.strip()
        for line in re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode("utf-8", "replace")))
    ]
    return next((line for line in reversed(lines) if line), "nothing")[:300]


WHERE = {
    "llamacpp": ("llama-server", "llama.cpp brings it: github.com/ggml-org/llama.cpp, or Debian's package llama.cpp"),
    "ollama": ("ollama", "ollama.com has it"),
}


def program_of(kind: ServerKind) -> str:
    """Raises InvalidInput where it is not on PATH."""
    name, where = WHERE[kind]
    if found := shutil.which(name):
        return found
    raise InvalidInput(f"{name} is not on PATH; {where}")
