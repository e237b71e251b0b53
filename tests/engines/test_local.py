"""A real llama-server that we start: what it needs of memory, how it ends, and that it never outlives us."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from bench_runner.local import server as servers
from bench_runner.local.gguf_file import read_model_file
from bench_runner.local.launch import Launch, Settings, llama_server, ollama
from bench_runner.local.memory import need
from bench_runner.local.server import serving
from tests.accuracy.test_truth import CLI, healthy, run
from tests.cluster import llama
from tests.cluster import ollama as ollama_build
from tokenmark_schemas.errors import RunFailed

OURS = "gemma-Q8_0.gguf"  # of the servers of this machine those that these tests start
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="llama.cpp's programs run in a root of their own")


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    return llama.quantised()


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{llama.programs()}:{os.environ['PATH']}")


def asked(url: str, tokens: int) -> None:
    """A prompt of that many tokens and more, answered."""
    body = {"prompt": "one two three four five six seven eight " * (tokens // 8), "n_predict": 2, "cache_prompt": False}
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("word", "context"),
    [
        ("Q4_K_M", 2048),
        ("Q8_0", 16384),
        pytest.param("Q5_K_M", 8192, marks=pytest.mark.trial),
        pytest.param("F16", 32768, marks=pytest.mark.trial),
    ],
)
def test_the_memory_that_a_model_needs_is_known_within_a_twentieth(
    word: str, context: int, files: dict[str, Path], tmp_path: Path
) -> None:
    model = read_model_file(files[word])
    assert model.quantization == word
    with serving(llama_server(model.path, Settings(context=context)), tmp_path) as running:
        asked(running.url, 1200)
        held = running.resident_bytes()
    assert need(model, context).total == pytest.approx(held, rel=0.05), need(model, context)


def test_a_run_brings_its_server_and_takes_it_away(files: dict[str, Path], tmp_path: Path) -> None:
    flags = ("--concurrency", "1", "--requests", "100", "--input-tokens", "4", "--max-output-tokens", "3")
    result = healthy(str(files["Q8_0"]), tmp_path, *flags)
    stage = result["stages"][0]
    assert (stage["requests"]["errors"], stage["requests"]["succeeded"]) == ({}, 100)
    assert stage["tokens"]["output_source"] == "usage"
    assert result["provenance"]["engine"]["reported_model"] == "gemma-Q8_0", "its name, and no path of this machine"
    assert OURS not in living()
    assert list(tmp_path.glob("*/server/llama-server-*.log"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_survives_us_however_we_end(how: signal.Signals, files: dict[str, Path], tmp_path: Path) -> None:
    words = [
        *CLI,
        "run",
        "--target",
        str(files["Q8_0"]),
        "--duration",
        "60",
        "--concurrency",
        "1",
        "--out",
        str(tmp_path),
        "--quiet",
    ]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as ours:
        _until(lambda: OURS in living())
        time.sleep(2)
        ours.send_signal(how)
        ours.wait(30)
    _until(lambda: OURS not in living())


def test_a_server_whose_keeper_is_killed_goes_too(files: dict[str, Path], tmp_path: Path) -> None:
    with serving(llama_server(files["Q8_0"], Settings(context=512)), tmp_path) as running:
        os.kill(running._keeper.pid, signal.SIGKILL)
        _until(lambda: running.ended() is not None)
        _until(lambda: OURS not in living())


def with_ollama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{ollama_build.program().parent}:{os.environ['PATH']}")


def test_an_ollama_of_ours_has_its_model_and_leaves_nothing(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_ollama(monkeypatch)
    (tmp_path / "ollama-models-0").mkdir()  # of one that was killed
    (tmp_path / "ollama-models-0.lock").touch()
    how = ollama(files["Q8_0"], "gemma", Settings(context=1024, parallel=2, threads=1), tmp_path)
    with serving(how, tmp_path) as running:
        with urllib.request.urlopen(f"{running.url}/api/ps", timeout=5) as answer:
            (loaded,) = json.load(answer)["models"]
        assert (loaded["name"], loaded["context_length"], loaded["details"]["quantization_level"]) == (
            "gemma:latest",
            512,
            "Q8_0",
        )
        pids = running.pids()
        assert running.resident_bytes() > 2 * 10**8, "with what it started for the model"
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".log"] == [], "no copy of a model, and no lock"


def test_two_ollamas_leave_each_others_models_alone(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_ollama(monkeypatch)
    how = [ollama(files["Q8_0"], name, Settings(context=512, threads=1), tmp_path) for name in ("one", "two")]
    with serving(how[0], tmp_path) as first:
        with serving(how[1], tmp_path):
            pass
        with urllib.request.urlopen(f"{first.url}/api/tags", timeout=5) as answer:
            assert [each["name"] for each in json.load(answer)["models"]] == ["one:latest"]
        assert len(list(tmp_path.glob("ollama-models-*/blobs"))) == 1


def test_a_run_brings_an_ollama(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_ollama(monkeypatch)
    flags = (
        "--engine",
        "ollama",
        "--concurrency",
        "1",
        "--requests",
        "20",
        "--input-tokens",
        "4",
        "--max-output-tokens",
        "3",
    )
    result = run(str(files["Q8_0"]), tmp_path, *flags)  # its two processes and we are three, for two processors
    assert result["stages"][0]["requests"]["succeeded"] == 20
    assert result["provenance"]["engine"]["version"] == ollama_build.VERSION
    assert list(tmp_path.glob("server/ollama-*.log"))
    assert [each for each in (tmp_path / "server").iterdir() if each.is_dir()] == []


def test_what_ollama_does_not_take_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_ollama(monkeypatch)
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(100))
    how = ollama(tmp_path / "x.gguf", "x", Settings(), tmp_path / "server")
    with (
        pytest.raises(RunFailed, match=r"ollama (does not take x\.gguf: Error: |cannot load the model: \W?x)"),
        serving(how, tmp_path / "server"),
    ):
        pass
    assert list((tmp_path / "server").glob("ollama-models*")) == []


def test_a_server_that_dies_is_told_of(files: dict[str, Path], tmp_path: Path) -> None:
    with serving(llama_server(files["Q8_0"], Settings(context=512)), tmp_path) as running:
        assert running.ended() is None
        os.kill(running.pids()[0], signal.SIGKILL)
        _until(lambda: running.ended() is not None)
        assert "was ended by SIGKILL; the system does so when memory runs out" in str(running.ended())


def test_a_model_that_is_none_is_told_by_the_servers_own_words(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(100))
    with (
        pytest.raises(RunFailed, match="cannot load the model"),
        serving(llama_server(tmp_path / "x.gguf", Settings()), tmp_path),
    ):
        pass


def test_too_little_memory_is_told(files: dict[str, Path], tmp_path: Path) -> None:
    """With an address space that has no room for the cache of a large context."""
    launch = llama_server(files["Q8_0"], Settings(context=32768, parallel=1))
    limited = Launch(launch.program, lambda port: ["prlimit", f"--as={10**9}", *launch.words(port)], launch.ready)
    with pytest.raises(RunFailed, match="too little memory"), serving(limited, tmp_path):
        pass


def test_a_port_that_is_taken_meanwhile_is_given_up_for_another(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], servers.free_port()]
        monkeypatch.setattr(servers, "free_port", lambda: ports.pop(0))
        with serving(llama_server(files["Q8_0"], Settings(context=512)), tmp_path) as running:
            asked(running.url, 16)
    assert ports == []


def test_a_program_that_never_answers_is_given_up(tmp_path: Path) -> None:
    silent = Launch(
        sys.executable,
        lambda _port: [sys.executable, "-c", "import time; print('loading', flush=True); time.sleep(60)"],
        "/",
    )
    with (
        pytest.raises(RunFailed, match=r"did not answer within 1 s; its last words in .*: loading"),
        serving(silent, tmp_path, 1),
    ):
        pass
    assert "time.sleep(60)" not in living()


def living() -> str:
    """The command lines of all processes but ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"pytest" not in b" ".join(words) and b"keeper.py" not in b" ".join(words):
            found.append(b" ".join(words).decode("utf-8", "replace"))
    return "\n".join(found)


def _until(fact: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < limit, living()
        time.sleep(0.1)
