"""What people put before an engine, for as long as a `with` block lasts: nginx from Debian, LiteLLM's proxy and an SSE server
on Starlette from PyPI, in an environment of their own.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.support.ports import free_port

from .debian import have
from .layout import CACHE, TREE, note
from .shell import ClusterError, run, wait_for

LOCK = TREE / "deploy" / "locks" / "fronts.lock"
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream engine {{ server {upstream}; }}
  server {{
    listen 127.0.0.1:{port};
    {settings}
    location / {{ proxy_pass http://engine; proxy_http_version 1.1; proxy_read_timeout 300s; }}
  }}
}}
"""
KEY = "sk-" + secrets.token_hex(24)  # of a proxy that lives as long as a test
LITELLM = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "http://{upstream}/v1", api_key: none}}
litellm_settings: {{telemetry: false}}
"""


def environment(lock: Path = LOCK, what: str = "LiteLLM and Starlette") -> Path:
    """The folder of the programs; installed once for each resolution."""
    folder = CACHE / f"{lock.stem}-{sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not (folder / "ready").exists():
        note(f"installing {what}, once")
        run([sys.executable, "-m", "venv", "--clear", folder])
        install = [folder / "bin" / "pip", "install", "--quiet", "--require-hashes", "-r", lock]
        run(install, log=CACHE / f"{lock.stem}.log")
        (folder / "ready").touch()
    return folder / "bin"


@contextmanager
def nginx(upstream: str, folder: Path, settings: str) -> Iterator[str]:
    """nginx before `host:port`, with settings of its server block: its address."""
    have({"nginx": "nginx-light"})
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, upstream=upstream, port=port, settings=settings))
    with _running(["nginx", "-p", str(folder), "-c", str(config)], folder / "nginx.log", port, "/"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def litellm(upstream: str, model: str, folder: Path) -> Iterator[str]:
    """LiteLLM's proxy before an OpenAI-style server at `host:port`: its address."""
    port, config = free_port(), folder / "litellm.yaml"
    config.write_text(LITELLM.format(model=model, upstream=upstream))
    words = [environment() / "litellm", "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    env = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "PYTHONUNBUFFERED": "1",
        "LITELLM_MASTER_KEY": KEY,
    }
    with _running([str(word) for word in words], folder / "litellm.log", port, "/health/liveliness", env):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def starlette(folder: Path) -> Iterator[str]:
    """A server on sse-starlette with answers of its own: its address."""
    port = free_port()
    words = [environment() / "uvicorn", "tests.support.starlette_sse:app", "--host", "127.0.0.1", "--port", str(port),
             "--log-level", "warning"]  # fmt: skip
    with _running([str(word) for word in words], folder / "uvicorn.log", port, "/health"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def chroma(folder: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """A real Chroma: its address."""
    program, port = environment(LOCK.with_name("chroma.lock"), "Chroma") / "chroma", free_port()
    words = [program, "run", "--path", folder / "chroma", "--host", host, "--port", port]
    with _running([str(word) for word in words], folder / "chroma.log", port, "/api/v2/heartbeat", host=host):
        yield f"http://{host}:{port}"


@contextmanager
def _running(
    words: list[str], log: Path, port: int, path: str, env: dict[str, str] | None = None, host: str = "127.0.0.1"
) -> Iterator[None]:
    with log.open("wb") as sink:
        process = subprocess.Popen(
            words, cwd=TREE, stdout=sink, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        )
        try:
            wait_for(f"{words[0]} answers", lambda: _answers(host, port, path, process), 90, f"see {log}: {_tail(log)}")
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def _answers(host: str, port: int, path: str, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise ClusterError(f"{process.args} ended with {process.returncode}")
    try:
        with urlopen(f"http://{host}:{port}{path}", timeout=2) as answer:
            return bool(answer.status < 500)
    except URLError as exc:
        return hasattr(exc, "code") and exc.code < 500
    except OSError:
        return False


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-500:] if log.exists() else ""
