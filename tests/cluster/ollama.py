"""A real Ollama with the tests' model, on loopback, for as long as a `with` block lasts.

Built from its Go module, with the CPU backend compiled in. Go leaves folders named `vendor` out of modules, and with them
three headers that Ollama includes: two come from Debian, one from a module that has it at its root.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from .debian import have
from .layout import CACHE, TOOLS, note
from .model import model_file
from .shell import run, wait_for
from .tools import Tool, go

VERSION = "0.17.4"
MODEL = "gemma3-270m"
OLLAMA = Tool("ollama", ("ollama",))
HEADERS = {
    "/usr/include/nlohmann/json.hpp": "nlohmann-json3-dev",
    "/usr/include/stb/stb_image.h": "libstb-dev",
    "g++": "g++",
}
TEMPLATE = """{{- range .Messages }}<start_of_turn>{{ if eq .Role "assistant" }}model{{ else }}user{{ end }}
{{ .Content }}<end_of_turn>
{{ end }}<start_of_turn>model
"""


def program() -> Path:
    """Builds what the cache lacks: five minutes, once."""
    target = OLLAMA.folder / "ollama"
    if target.exists():
        return target
    note("building ollama, once; this takes some minutes")
    have(HEADERS)
    OLLAMA.folder.mkdir(parents=True, exist_ok=True)
    log, source = CACHE / "build-ollama.log", TOOLS / "ollama"
    module = run(
        [go(), "list", "-m", "-f", "{{.Dir}}", "github.com/gen2brain/malgo"], cwd=source, env=_go_env()
    ).strip()
    if not module:
        run([go(), "mod", "download", "github.com/gen2brain/malgo"], cwd=source, log=log)
        module = run([go(), "list", "-m", "-f", "{{.Dir}}", "github.com/gen2brain/malgo"], cwd=source).strip()
    headers = OLLAMA.folder / "include"
    shutil.rmtree(headers, ignore_errors=True)
    headers.mkdir()
    (headers / "miniaudio").symlink_to(module)
    fast = " -mavx2 -mfma -mf16c -mbmi2" if "avx2" in Path("/proc/cpuinfo").read_text() else ""
    env = {
        **_go_env(), "CGO_ENABLED": "1", "CPLUS_INCLUDE_PATH": str(headers), "CGO_CFLAGS": f"-O3 -g0{fast}",
        "CGO_CXXFLAGS": f"-O3 -g0{fast}",
    }  # fmt: skip
    flags = f"-s -w -X=github.com/ollama/ollama/version.Version={VERSION}"
    partial = target.with_suffix(".partial")
    run(
        [go(), "build", "-trimpath", "-ldflags", flags, "-o", partial, "github.com/ollama/ollama"],
        cwd=source,
        log=log,
        env=env,
    )
    partial.rename(target)
    return target


def _go_env() -> dict[str, str]:
    return {"GOFLAGS": "-buildvcs=false -mod=readonly"}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server that has MODEL; its models lie in `folder`."""
    binary, model = program(), model_file()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    env = {
        **os.environ, "HOME": str(folder), "OLLAMA_HOST": address, "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_NO_CLOUD": "1", "OLLAMA_CONTEXT_LENGTH": "2048", "OLLAMA_NUM_PARALLEL": "2", "GOMAXPROCS": "1",
    }  # fmt: skip
    (folder / "Modelfile").write_text(
        f'FROM {model}\nPARAMETER num_thread 1\nPARAMETER stop <end_of_turn>\nTEMPLATE """{TEMPLATE}"""\n'
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [binary, "serve"], env=env, stdout=log, stderr=log, start_new_session=True, preexec_fn=_on_one_core
        )
        try:
            url = f"http://{address}"
            wait_for("Ollama answers", lambda: _answers(url), 30)
            run([binary, "create", MODEL, "-f", folder / "Modelfile"], env=env)
            yield url
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(20)


def _on_one_core() -> None:
    """Its two processes leave the other one to the client: who loads a machine to the brim measures that."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/api/version", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
