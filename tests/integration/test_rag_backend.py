"""The reference RAG backend as a process: a real PostgreSQL with pgvector, a real embedding model, the simulator as its engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.layout import TREE
from tests.support.serving import in_thread, simulated

NAMES = {
    "rag_requests_total", "rag_ttft_seconds", "rag_tpot_seconds", "rag_latency_seconds", "rag_tokens_per_second", "rag_k_retrieved",
}  # fmt: skip


@contextmanager
def backend(engine: str, **more: str) -> Iterator[str]:
    """Its address, once it listens. Its PostgreSQL is nobody's where the tests are root's, and cannot enter their folders."""
    folder = Path(tempfile.mkdtemp(prefix="rag-"))
    env = {
        **os.environ, "PYTHONPATH": str(TREE / "deploy" / "rag"), "RAG_ENGINE_URL": engine, "RAG_MODEL": "sim", "RAG_HOST": "127.0.0.1",
        "RAG_PORT": "0", "RAG_DATA": str(folder), "RAG_DOCUMENTS": str(TREE / "docs"), "RAG_ENGINE_TIMEOUT_S": "5", **more,
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "tokenmark_rag"], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.search(r"listens on (http://[0-9.:]+)", line):
                    break
            else:
                raise AssertionError("it ended before it listened")
            yield found[1]
        finally:
            process.terminate()
            process.wait(20)
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with (
        simulated("--ttft-ms", "30", "--itl-ms", "2") as engine,
        backend(engine) as url,
    ):
        yield url


def ask(url: str, path: str, **body: Any) -> tuple[int, str]:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def page(url: str) -> str:
    with urllib.request.urlopen(url + "/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_steps_come_as_they_end_then_tokens_then_the_counts(served: str) -> None:
    status, text = ask(served, "/query/stream", query="What does a degraded verdict mean?", k=3, max_tokens=6)
    assert status == 200
    found = events(text)
    assert [event.get("step") for event in found[:3]] == ["embedding", "retrieval", "inference"]
    assert found[1]["retrieved"] == 3
    assert [event.get("token") for event in found[2:-1]] == [" token"] * 6
    assert found[2]["seconds"] == pytest.approx(0.03, abs=0.02)
    assert found[-1] == {"done": True, "prompt_tokens": found[-1]["prompt_tokens"], "output_tokens": 6, "model": "sim"}
    assert found[-1]["prompt_tokens"] > 100, "the passages are in the prompt"
    assert text.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("What makes a verdict degraded or invalid?", "verdict.md"),
        ("How are loss and jitter between two nodes measured?", "netprobe.md"),
        ("What does a million tokens cost?", "cost-model.md"),
    ],
)
def test_what_is_found_is_about_what_was_asked(served: str, question: str, source: str) -> None:
    found = json.loads(ask(served, "/query", query=question, k=5, max_tokens=2)[1])
    assert source in found["sources"]
    more = json.loads(ask(served, "/query", query=question, k=20, max_tokens=2)[1])
    assert (more["retrieved"], found["retrieved"]) == (20, 5)
    assert more["prompt_tokens"] > 2 * found["prompt_tokens"], "what was found is in the prompt"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "query is missing"),
        ({"query": "  "}, "query is missing"),
        ({"query": "x", "k": 0}, "k is a whole number from 1 to 50"),
        ({"query": "x", "k": True}, "k is a whole number"),
        ({"query": "x", "max_tokens": 10**9}, "max_tokens is a whole number from 1 to 4096"),
        ({"query": "x" * 9000}, "longer than 8192"),
    ],
)
def test_a_question_that_is_none_is_refused_in_a_sentence(served: str, body: dict[str, Any], said: str) -> None:
    for path in ("/query", "/query/stream"):
        status, text = ask(served, path, **body)
        assert status == 400
        assert said in json.loads(text)["error"]["message"]


def test_its_metrics_have_the_six_names_and_no_others_and_count_what_was_asked(served: str) -> None:
    before = dict(re.findall(r'rag_requests_total\{status="(\w+)"\} (\S+)', page(served)))
    ask(served, "/query", query="warm-up", k=2, max_tokens=4)
    text = page(served)
    assert set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) == NAMES
    after = dict(re.findall(r'rag_requests_total\{status="(\w+)"\} (\S+)', text))
    assert float(after["success"]) == float(before["success"]) + 1
    assert set(re.findall(r'rag_latency_seconds_count\{stage="(\w+)"\}', text)) == {
        "embedding",
        "retrieval",
        "inference",
        "total",
    }
    assert "rag_k_retrieved 2.0" in text


def test_a_run_against_it_is_valid_and_its_steps_add_up(served: str, tmp_path: Path) -> None:
    for attempt in range(3):  # a neighbour may disturb one
        words = ["run", str(TREE / "deploy" / "examples" / "rag.yaml"), "--target", served, "--repetitions", "1", "--concurrency", "2", "--requests", "120",
                 "--max-output-tokens", "8", "--name", f"r{attempt}", "--out", str(tmp_path), "--quiet"]  # fmt: skip
        done = subprocess.run([sys.executable, "-m", "bench_runner", *words], capture_output=True, text=True)
        assert done.returncode in (0, 4), done.stderr
        result = json.loads((tmp_path / f"r{attempt}" / "result.json").read_text())
        if result["verdict"]["state"] == "valid":
            break
        time.sleep(1)
    assert result["verdict"]["state"] == "valid", result["verdict"]["reasons"]
    (stage,) = result["stages"]
    steps = {name: stat["mean"] for name, stat in stage["steps"].items()}
    assert set(steps) >= {"embedding", "retrieval", "inference"}
    told = sum(value for name, value in steps.items() if name != "other")
    assert told + steps.get("other", 0.0) == pytest.approx(stage["metrics"]["ttft"]["mean"], rel=0.011)
    assert stage["retrieved"]["min"] == stage["retrieved"]["max"] == 5


def test_an_engine_that_is_away_is_an_error_that_is_counted() -> None:
    with backend("http://127.0.0.1:9") as url:
        status, text = ask(url, "/query/stream", query="anything")
        assert status == 200
        assert "the engine at http://127.0.0.1:9 did not answer" in events(text)[-1]["error"]["message"]
        assert ask(url, "/query", query="anything")[0] == 502
        assert 'rag_requests_total{status="error"} 2.0' in page(url)


class Forgetful(BaseHTTPRequestHandler):
    """Says that a connection stays, and closes it where the second request comes."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if getattr(self, "answered", False):
            self.close_connection = True
            return
        self.answered = True
        body = b'data: {"choices": [{"delta": {"content": "yes"}}]}\n\ndata: [DONE]\n\n'
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def test_a_kept_connection_that_the_engine_closes_costs_no_answer() -> None:
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Forgetful) as engine,
        in_thread(engine),
        backend(f"http://127.0.0.1:{engine.server_port}") as url,
    ):
        answers = [json.loads(ask(url, "/query", query="anything")[1]) for _ in range(4)]
    assert [answer["answer"] for answer in answers] == ["yes"] * 4


def test_without_an_engine_it_says_what_is_missing(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(TREE / "deploy" / "rag"), "RAG_DOCUMENTS": str(tmp_path)}
    env.pop("RAG_ENGINE_URL", None)
    done = subprocess.run([sys.executable, "-m", "tokenmark_rag"], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "RAG_ENGINE_URL is missing" in done.stderr


def test_an_address_of_another_scheme_is_refused_without_its_password(tmp_path: Path) -> None:
    env = {
        **os.environ, "PYTHONPATH": str(TREE / "deploy" / "rag"), "RAG_ENGINE_URL": "http://127.0.0.1:1",
        "RAG_DOCUMENTS": str(tmp_path), "RAG_DATABASE_URL": "mysql://u:hush@h/db",
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "tokenmark_rag"], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode != 0
    assert "RAG_DATABASE_URL is no PostgreSQL address" in ended.stderr
    assert "hush" not in ended.stderr + ended.stdout


def test_a_mounted_folder_s_hidden_copies_are_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ConfigMap is mounted as links into a folder whose name begins with two dots."""
    monkeypatch.syspath_prepend(str(TREE / "deploy" / "rag"))
    from tokenmark_rag.passages import cut

    hidden = tmp_path / "..2030_01"
    hidden.mkdir()
    (hidden / "a.md").write_text("# A\n\none text\n")
    (tmp_path / "..data").symlink_to(hidden.name)
    (tmp_path / "a.md").symlink_to("..data/a.md")
    assert [(each.source, each.body) for each in cut(tmp_path)] == [("a.md", "A: one text")]
